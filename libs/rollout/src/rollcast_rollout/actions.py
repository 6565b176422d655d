"""What somebody asks for by hand, obeyed once: the record remembers it until the annotation is gone."""

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from rollcast_rollout.answer import Event
from rollcast_rollout.changes import failed, with_entry
from rollcast_rollout.desired import desired_version
from rollcast_rollout.model_version import ModelVersion
from rollcast_rollout.record import Failure, Record
from rollcast_rollout.view import View

__all__ = ["ACTIONS", "obeyed"]


class _Refused(Exception):
    """What was asked for makes no sense now."""


def obeyed(view: View, record: Record) -> tuple[Record, list[Event]]:
    """The record after all actions, and a Warning for each that changed nothing."""
    refusals: list[Event] = []
    for uid in sorted(record.entries, key=lambda uid: record.entries[uid].sequence):
        version, handled = view.wanted(uid), record.entries[uid].handled
        asked = version.action if version is not None else None
        if version is None or asked == handled:
            continue
        if asked is not None:
            try:
                record = _obeyed(view, record, version, asked)
            except _Refused as reason:
                refusals.append(Event(uid, "Warning", "ActionRefused", f"action {asked[:40]!r}: {reason}"))
        record = with_entry(record, uid, handled=asked)
    return record, refusals


def _obeyed(view: View, record: Record, version: ModelVersion, asked: str) -> Record:
    action = ACTIONS.get(asked)
    if action is None:
        raise _Refused(f"there is no such action; may be {', '.join(ACTIONS)}")
    return action(view, record, version)


def _is_rolling(record: Record, uid: str) -> bool:
    return record.rollout is not None and record.rollout.uid == uid and record.rollout.stage != "promoting"


def _is_desired(view: View, record: Record, uid: str) -> bool:
    target = desired_version(view.versions, record)
    return target is not None and target.uid == uid and record.stable != uid


def _pause(view: View, record: Record, version: ModelVersion) -> Record:
    if not _is_desired(view, record, version.uid):
        raise _Refused("it is not being rolled out")
    rollout = record.rollout
    if rollout is not None and rollout.uid == version.uid and rollout.fast:
        record = replace(record, rollout=replace(rollout, fast=False))
    if record.fast == version.uid:
        record = replace(record, fast=None)
    return with_entry(record, version.uid, paused=True)


def _resume(_view: View, record: Record, version: ModelVersion) -> Record:
    if not record.entries[version.uid].paused:
        raise _Refused("spec.rollout.paused is true; set it to false" if version.rollout.paused else "it is not paused")
    return with_entry(record, version.uid, paused=False)


def _promote(view: View, record: Record, version: ModelVersion) -> Record:
    rollout = record.rollout
    if rollout is not None and _is_rolling(record, version.uid):
        return replace(
            with_entry(record, version.uid, paused=False), rollout=replace(rollout, fast=True, since=view.now)
        )
    if _is_desired(view, record, version.uid):
        return replace(with_entry(record, version.uid, paused=False), fast=version.uid)
    raise _Refused("it is not being rolled out")


def _abort(view: View, record: Record, version: ModelVersion) -> Record:
    if not _is_desired(view, record, version.uid):
        raise _Refused("it is not being rolled out; the live version goes back with action rollback")
    failure = Failure(
        reason="AbortedByHand",
        message="aborted by hand; action `retry` rolls it out again",
        time=view.now,
        rolled_back=_is_rolling(record, version.uid),
    )
    return failed(record, version.uid, failure)


def _retry(_view: View, record: Record, version: ModelVersion) -> Record:
    if record.entries[version.uid].failure is None:
        raise _Refused("it has not failed")
    return with_entry(record, version.uid, failure=None, problem=None)


def _rollback(view: View, record: Record, version: ModelVersion) -> Record:
    if record.stable != version.uid:
        raise _Refused("it is not live; a rollout is ended with action abort")
    failure = Failure(
        reason="RolledBackByHand",
        message="rolled back by hand; action `retry` rolls it out again",
        time=view.now,
        rolled_back=True,
    )
    first = record.rollout is not None and record.rollout.first
    after = with_entry(record, version.uid, failure=failure, paused=False)
    target = desired_version(view.versions, after)
    if target is None or first:
        raise _Refused("there is no other version to go back to")
    if record.entries[target.uid].sequence > record.entries[version.uid].sequence:
        raise _Refused("a newer version is being rolled out; abort that first")
    return replace(after, fast=target.uid, rollout=None)


ACTIONS: Mapping[str, Callable[[View, Record, ModelVersion], Record]] = {
    "promote": _promote,
    "abort": _abort,
    "retry": _retry,
    "rollback": _rollback,
    "pause": _pause,
    "resume": _resume,
}
