"""The end of a model: its last ModelVersion is deleted. A finalizer waits for the tombstone, but not for ever."""

from msgspec.structs import replace

from rollcast_rollout.record import Record
from rollcast_rollout.view import View

__all__ = ["LONGEST_WAIT_SECONDS", "ended", "is_over", "released", "seconds_until_released"]

LONGEST_WAIT_SECONDS = 60.0
"""How long the deletion of a model's last ModelVersion may be held up by a Kafka that is away."""


def ended(view: View, record: Record) -> Record:
    """With no ModelVersion left, nothing is assigned; with one again, the end is off."""
    if any(not version.deleting for version in view.versions.values()):
        return replace(record, ending_since=None) if record.ending_since is not None else record
    return replace(
        record,
        ending_since=view.now if record.ending_since is None else record.ending_since,
        assignment=None,
        rollout=None,
        stable=None,
        topics=None,
        serving=None,
        fast=None,
    )


def is_over(view: View, record: Record) -> bool:
    """The topic holds nothing: the record is not needed to remind anyone of it."""
    known = view.observed.kafka_problem is None
    return record.ending_since is not None and known and not view.observed.published


def released(view: View, record: Record) -> tuple[str, ...]:
    """While others remain, no deletion waits: what serves is pinned in the record, not by its ModelVersion."""
    waits = record.ending_since is not None and bool(view.observed.published) and seconds_until_released(view, record)
    return () if waits else tuple(uid for uid, version in view.versions.items() if version.deleting)


def seconds_until_released(view: View, record: Record) -> float:
    since = record.ending_since if record.ending_since is not None else view.now
    return max(since + LONGEST_WAIT_SECONDS - view.now, 0.0)
