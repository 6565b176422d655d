"""The decision: from what is desired and what was observed to what is done next."""

from collections.abc import Sequence

from rollcast_common.contracts import Assignment
from rollcast_rollout.actions import obeyed
from rollcast_rollout.advance import advanced
from rollcast_rollout.answer import Event, Plan, Tombstone, Workload
from rollcast_rollout.desired import desired_version
from rollcast_rollout.ending import ended, is_over, released
from rollcast_rollout.entries import bounded, noted
from rollcast_rollout.events import events, farewells
from rollcast_rollout.model_version import ModelVersion
from rollcast_rollout.observed import Observed
from rollcast_rollout.outage import in_outage, is_away
from rollcast_rollout.record import Record
from rollcast_rollout.restoring import current_record
from rollcast_rollout.status import statuses
from rollcast_rollout.verifying import is_asked
from rollcast_rollout.view import View
from rollcast_rollout.waking import seconds_until_news
from rollcast_rollout.workload import with_serving, workload, workload_of_statuses

__all__ = ["Event", "Plan", "Tombstone", "Workload", "plan"]


def plan(desired: Sequence[ModelVersion], observed: Observed, now: float) -> Plan:
    """What to do next for one model.

    `desired` are all its ModelVersions, those under deletion too. `now` is in seconds since the epoch and never runs
    backwards within a process. The same arguments give the same plan. A model whose record is left is planned for
    even when it has no ModelVersion any more.
    """
    view = View({version.uid: version for version in desired}, observed, now)
    before = current_record(view, desired[0].model if desired else "")
    if before is None or (observed.record is None and not desired):
        return _unknown(view)
    record, refusals = _decided(view, before)
    target = desired_version(view.versions, record)
    record = bounded(with_serving(view, record, target), target.uid if target is not None else None)
    over, gone = is_over(view, record), released(view, record)
    return Plan(
        record=None if over else record,
        publish=_to_publish(observed, record),
        workload=workload(view, record),
        resolve=(target.uid,) if target is not None and _asks(view, before, record, target) else (),
        statuses=statuses(view, record),
        handled_actions=tuple(
            uid for uid, entry in record.entries.items() if entry.handled is not None and uid in view.versions
        ),
        released=gone,
        events=(*events(view, before, record), *refusals, *farewells(view, record, gone)),
        wake_after=0.0 if record != observed.record and not over else seconds_until_news(view, record),
    )


def _unknown(view: View) -> Plan:
    """Nothing is known of what is assigned, so nothing is changed. Only finalizers go."""
    return Plan(
        record=None,
        workload=workload_of_statuses(view),
        released=tuple(uid for uid, version in view.versions.items() if version.deleting),
    )


def _decided(view: View, record: Record) -> tuple[Record, list[Event]]:
    record = in_outage(view, ended(view, noted(view, record)))
    if is_away(view) or record.ending_since is not None:
        return record, []
    record, refusals = obeyed(view, record)
    return advanced(view, record), refusals


def _asks(view: View, before: Record, record: Record, target: ModelVersion) -> bool:
    return record.stable != target.uid and is_asked(view, before, record, target)


def _to_publish(observed: Observed, record: Record) -> Assignment | Tombstone | None:
    if observed.kafka_problem is not None:
        return None
    if record.assignment is None:
        return Tombstone() if observed.published else None
    return record.assignment if (observed.published or 0) < record.assignment.generation else None
