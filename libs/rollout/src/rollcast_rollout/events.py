"""One event for each transition: the difference between the record before and the record after."""

from collections.abc import Collection

from rollcast_rollout.answer import Event
from rollcast_rollout.desired import desired_version
from rollcast_rollout.model_version import ModelVersion
from rollcast_rollout.phases import Phase, phase_of
from rollcast_rollout.record import Record
from rollcast_rollout.view import View

__all__ = ["events", "farewells"]

_Targets = tuple[ModelVersion | None, ModelVersion | None]


def events(view: View, before: Record, after: Record) -> list[Event]:
    found: list[Event] = []
    targets = (desired_version(view.versions, before), desired_version(view.versions, after))
    for uid in sorted(after.entries, key=lambda uid: after.entries[uid].sequence):
        event = _of_failure(before, after, uid) or _of_phase(view, before, after, uid, targets)
        if event is not None:
            found.append(event)
    return found


def farewells(view: View, record: Record, released: Collection[str]) -> list[Event]:
    """What becomes of the stream when a ModelVersion is deleted is worth a line, too."""
    return [_farewell(view, record, uid) for uid in released]


def _farewell(view: View, record: Record, uid: str) -> Event:
    version = view.versions[uid].version
    if record.ending_since is not None:
        message = f"{version} is deleted, and nothing answers for the model any more: its slots end"
        return Event(uid, "Normal", "ModelEnded", message)
    answers = "; it answers until another version has taken over" if record.stable == uid else ""
    return Event(uid, "Normal", "Deleted", f"{version} is deleted{answers}")


def _of_failure(before: Record, after: Record, uid: str) -> Event | None:
    failure = after.entries[uid].failure
    earlier = before.entries.get(uid)
    if failure is None or (earlier is not None and earlier.failure == failure):
        return None
    return Event(uid, "Warning", failure.reason, failure.message)


def _of_phase(view: View, before: Record, after: Record, uid: str, targets: _Targets) -> Event | None:
    version = view.versions.get(uid)
    if version is None or version.deleting:
        return None
    now = phase_of(view, after, uid, targets[1])
    was = phase_of(view, before, uid, targets[0]) if uid in before.entries else None
    if now == was and _weight(before, uid) == _weight(after, uid):
        return None
    return Event(uid, "Normal", now, _message(view, after, uid, now))


def _weight(record: Record, uid: str) -> float | None:
    rollout, assignment = record.rollout, record.assignment
    return assignment.weight if rollout is not None and rollout.uid == uid and assignment is not None else None


def _message(view: View, record: Record, uid: str, phase: Phase) -> str:
    version = view.versions[uid].version
    texts: dict[Phase, str] = {
        "Pending": f"{version} waits",
        "Verifying": f"{version}: its bytes are looked for",
        "Shadow": f"{version} scores every row beside stable, and answers none",
        "Canary": f"{version} answers {_weight(record, uid) or 0:g} % of the keys",
        "Promoting": f"{version} becomes stable",
        "Live": f"{version} answers all requests",
        "Paused": f"{version} is held where it is",
        "Superseded": f"{version} gives way to another version",
    }
    return texts.get(phase, f"{version}: {phase}")
