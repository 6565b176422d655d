"""The phase of a ModelVersion: derived from the record, for display, and which ones may follow which."""

from collections.abc import Mapping
from typing import Literal

from rollcast_rollout.model_version import ModelVersion
from rollcast_rollout.record import Record
from rollcast_rollout.view import View

__all__ = ["ANY", "TRANSITIONS", "Phase", "is_legal", "phase_of"]

Phase = Literal[
    "Pending",
    "Verifying",
    "Shadow",
    "Canary",
    "Promoting",
    "Live",
    "RolledBack",
    "Failed",
    "Paused",
    "Superseded",
]

TRANSITIONS: Mapping[Phase, Mapping[Phase, str]] = {
    "Pending": {"Verifying": "it is desired", "Superseded": "something newer is desired"},
    "Verifying": {
        "Shadow": "bytes pinned",
        "Canary": "bytes pinned, no shadow",
        "Promoting": "bytes pinned, and nothing to compare with",
        "Failed": "artifact refused, or aborted by hand",
    },
    "Shadow": {
        "Canary": "compared, every slot ready",
        "Promoting": "no steps, or promoted by hand",
        "RolledBack": "verdict, or aborted by hand",
    },
    "Canary": {"Promoting": "last step passed", "RolledBack": "verdict, or aborted by hand"},
    "Promoting": {
        "Live": "every slot serves it",
        "RolledBack": "rolled back by hand, or a verdict",
        "Failed": "the first version, and refused",
    },
    "Live": {"RolledBack": "rolled back by hand", "Superseded": "a newer one is promoted"},
    "Superseded": {"Verifying": "the newer ones failed or were deleted"},
    "Failed": {"Verifying": "retry", "Superseded": "retry, and something newer is desired"},
    "RolledBack": {
        "Verifying": "retry",
        "Superseded": "retry, and something newer is desired",
        "Live": "retry, before another one took over",
    },
    "Paused": {"Failed": "aborted by hand", "RolledBack": "verdict, or aborted by hand"},
}
"""From each phase to those that may follow, with the reason. What holds for several is in `ANY`."""

ANY: Mapping[tuple[Phase, ...], Mapping[Phase, str]] = {
    ("Verifying", "Shadow", "Canary", "Promoting"): {
        "Paused": "pause",
        "Superseded": "something newer is desired",
        "Verifying": "its artifact is edited",
        "Pending": "its topics conflict",
    },
    ("Live",): {"Verifying": "its artifact is edited", "Pending": "the same, and its topics conflict"},
    ("Pending", "Superseded", "Failed", "RolledBack"): {
        "Shadow": "desired again, its bytes are pinned already",
        "Canary": "the same, no shadow",
        "Promoting": "the same, rolled back to",
        "Paused": "the same, and paused",
        "Failed": "desired again, its artifact is refused",
        "Pending": "its topics conflict",
    },
    ("Paused",): {
        "Verifying": "resume",
        "Shadow": "resume",
        "Canary": "resume",
        "Promoting": "resume, or promoted by hand",
        "Superseded": "something newer is desired",
        "Pending": "its topics conflict",
    },
}


def is_legal(before: Phase, after: Phase) -> bool:
    return (
        before == after
        or after in TRANSITIONS[before]
        or any(before in several and after in to for several, to in ANY.items())
    )


def phase_of(view: View, record: Record, uid: str, target: ModelVersion | None) -> Phase:
    """`target` is the desired version of this record: found once for all, there may be a thousand of them."""
    entry, rollout = record.entries.get(uid), record.rollout
    version = view.versions.get(uid)
    if entry is None or version is None:
        return "Pending"
    if entry.failure is not None:
        return "RolledBack" if entry.failure.rolled_back else "Failed"
    if rollout is not None and rollout.uid == uid:
        return _rolling(view, record, uid)
    if record.stable == uid:
        return "Live"
    if target is not None and target.uid == uid:
        return "Paused" if entry.pin is not None and view.paused(record, uid) else "Verifying"
    stable = record.entries.get(record.stable) if record.stable is not None else None
    highest = max((each.sequence for each in (stable, target and record.entries[target.uid]) if each), default=0)
    return "Superseded" if entry.sequence < highest else "Pending"


def _rolling(view: View, record: Record, uid: str) -> Phase:
    rollout, assignment = record.rollout, record.assignment
    if rollout is None or assignment is None or rollout.stage == "promoting":
        return "Promoting"
    if view.paused(record, uid):
        return "Paused"
    if assignment.shadow:
        return "Shadow"
    return "Promoting" if rollout.fast else "Canary"
