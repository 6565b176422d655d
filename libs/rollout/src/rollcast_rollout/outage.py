"""Kafka cannot be asked: nothing moves, and the time is held against nobody."""

from msgspec.structs import replace

from rollcast_rollout.record import Record
from rollcast_rollout.view import View

__all__ = ["in_outage", "is_away"]


def is_away(view: View) -> bool:
    return view.observed.kafka_problem is not None


def in_outage(view: View, record: Record) -> Record:
    """Remembers when an outage began, and when it is over, lets the clocks of the rollout go on from there."""
    rollout = record.rollout
    if is_away(view):
        if rollout is None or record.outage_since is not None:
            return record
        return replace(record, outage_since=view.now)
    if record.outage_since is None:
        return record
    if rollout is None:
        return replace(record, outage_since=None)
    lost = max(view.now - record.outage_since, 0.0)
    blocked = rollout.blocked_since
    return replace(
        record,
        outage_since=None,
        rollout=replace(
            rollout, since=rollout.since + lost, blocked_since=blocked + lost if blocked is not None else None
        ),
    )
