"""The status of each ModelVersion: what a person reads. Nothing is decided from it.

It changes with transitions, not with counters: a status that is written with every report of every slot would load
the API server for nobody's sake.
"""

from collections.abc import Mapping
from typing import Any

from rollcast_common.contracts import PredictorStatus, ServedVersion
from rollcast_rollout.conditions import Condition, earlier, shown_conditions
from rollcast_rollout.desired import conflict_of, desired_version
from rollcast_rollout.gate import expected_slots
from rollcast_rollout.hold import Hold, hold_of
from rollcast_rollout.model_version import ModelVersion
from rollcast_rollout.phases import Phase, phase_of
from rollcast_rollout.record import Entry, Record, RolloutState
from rollcast_rollout.tally import counts
from rollcast_rollout.timestamps import rfc3339
from rollcast_rollout.view import View

__all__ = ["PRESENT_SECONDS", "status_of", "statuses"]

PRESENT_SECONDS = 15.0
"""A slot that has not reported for so long is shown as gone. The gate is stricter; this is for people, and a display
that flickers with a late report is worse than one that is late."""

_PARTS_SHOWN = 10
"""Samples are shown in tenths of what a step needs."""


def statuses(view: View, record: Record) -> dict[str, Mapping[str, Any]]:
    """Of all but those under deletion: what they say last is how they were served."""
    target = desired_version(view.versions, record)
    return {
        uid: status_of(view, record, version, target)
        for uid, version in view.versions.items()
        if uid in record.entries and not version.deleting
    }


def status_of(view: View, record: Record, version: ModelVersion, target: ModelVersion | None) -> dict[str, Any]:
    entry = record.entries[version.uid]
    phase = phase_of(view, record, version.uid, target)
    status: dict[str, Any] = {
        "observedGeneration": version.generation,
        "sequence": entry.sequence,
        "phase": phase,
        "conditions": shown_conditions(version, _conditions(view, record, version, entry, phase, target), view.now),
    }
    rollout = record.rollout
    if rollout is not None and rollout.uid == version.uid:
        status["rollout"] = _rollout(view, record, rollout, version)
    slots = _slots(view, record, version)
    if slots is not None:
        status["predictor"] = slots
    if entry.failure is not None:
        status["lastFailure"] = {
            "reason": entry.failure.reason,
            "message": entry.failure.message,
            "time": rfc3339(entry.failure.time),
            "version": version.version,
        }
    elif "lastFailure" in version.status:
        status["lastFailure"] = version.status["lastFailure"]
    return status


def _rollout(view: View, record: Record, rollout: RolloutState, version: ModelVersion) -> dict[str, Any]:
    assignment = record.assignment
    steps = version.rollout.steps
    shown: dict[str, Any] = {"step": _step(record, rollout, version)}
    if rollout.stage == "promoting":
        return shown | {"weight": 100, "since": rfc3339(rollout.since)}
    shown["weight"] = _plain(assignment.weight) if assignment is not None else 0
    shown["since"] = rfc3339(rollout.since)
    if rollout.stage == "canary" and rollout.step < len(steps) and (least := steps[rollout.step].min_predictions):
        have = min(counts(view.observed.slots, rollout.id, rollout.base).total.predictions, least)
        shown["samples"] = have * _PARTS_SHOWN // least * least // _PARTS_SHOWN
    return shown


def _plain(weight: float) -> float:
    """5, not 5.0: it is the same, and reads better."""
    return int(weight) if float(weight).is_integer() else weight


def _step(record: Record, rollout: RolloutState, version: ModelVersion) -> str:
    if rollout.stage == "promoting":
        return "Promoting"
    if rollout.stage == "canary":
        return f"Canary {rollout.step + 1}/{max(len(version.rollout.steps), rollout.step + 1)}"
    if record.assignment is not None and record.assignment.shadow:
        return "Shadow"
    return "Promoting" if rollout.fast else f"Canary 0/{len(version.rollout.steps)}"


def _slots(view: View, record: Record, version: ModelVersion) -> dict[str, int] | None:
    """How many slots serve it (the stable one), or have it ready (the candidate)."""
    pin = _serving_pin(record, version.uid)
    if pin is None:
        return None
    before = version.status.get("predictor")
    expected = expected_slots(view.observed)
    if view.observed.kafka_problem is not None and before is not None:
        return dict(before)
    if _has_just_begun(view, expected) and before is not None and before.get("slots") == len(expected):
        return dict(before)
    ready = sum(1 for ordinal in expected if _has(view, ordinal, pin, stable=record.stable == version.uid))
    return {"readySlots": ready, "slots": len(expected)}


def _has_just_begun(view: View, expected: range) -> bool:
    """A shell that has just started has not heard of every slot yet: that is no news about the slots."""
    return view.observed.watched_seconds < PRESENT_SECONDS and any(
        (report := view.observed.slots.get(ordinal)) is None or report.age_seconds > PRESENT_SECONDS
        for ordinal in expected
    )


def _has(view: View, ordinal: int, pin: ServedVersion, *, stable: bool) -> bool:
    report = view.observed.slots.get(ordinal)
    if report is None or report.age_seconds > PRESENT_SECONDS:
        return False
    return _serves(report.status, pin) if stable else _is_ready(report.status, pin)


def _serves(status: PredictorStatus, pin: ServedVersion) -> bool:
    return status.serving == pin.sha256


def _is_ready(status: PredictorStatus, pin: ServedVersion) -> bool:
    found = status.candidate
    return found is not None and found.sha256 == pin.sha256 and found.state == "ready"


def _serving_pin(record: Record, uid: str) -> ServedVersion | None:
    if record.assignment is None:
        return None
    if record.stable == uid:
        return record.assignment.stable
    rollout = record.rollout
    return record.assignment.candidate if rollout is not None and rollout.uid == uid else None


# Conditions.


def _conditions(
    view: View, record: Record, version: ModelVersion, entry: Entry, phase: Phase, target: ModelVersion | None
) -> list[Condition]:
    progressing = _progressing(view, record, version, entry, phase, target)
    available = _available(view, record, version)
    return [
        _ready(version, entry, phase, progressing, available),
        _artifact(version, entry),
        available,
        progressing,
    ]


def _ready(
    version: ModelVersion, entry: Entry, phase: Phase, progressing: Condition, available: Condition
) -> Condition:
    if entry.failure is not None:
        return Condition("Ready", "False", entry.failure.reason, entry.failure.message)
    if phase == "Live":
        if available.status != "True":
            return Condition("Ready", available.status, available.reason, available.message)
        if progressing.reason == "ServingConflict":
            return Condition("Ready", "False", progressing.reason, progressing.message)
        return Condition("Ready", "True", "Live", f"{version.version} answers all requests")
    if phase == "Promoting" and available.status == "True" and progressing.reason == "Promoting":
        return Condition("Ready", "False", "Promoting", progressing.message)
    return Condition("Ready", "False", progressing.reason, progressing.message)


def _artifact(version: ModelVersion, entry: Entry) -> Condition:
    if entry.verified:
        return Condition("ArtifactVerified", "True", "Pinned", f"{version.artifact.uri} was found and pinned")
    if entry.failure is not None and entry.failure.reason != "AbortedByHand":
        return Condition("ArtifactVerified", "False", entry.failure.reason, entry.failure.message)
    if entry.problem is not None:
        return Condition(
            "ArtifactVerified", "Unknown", entry.problem.reason, f"{entry.problem.message}; it is tried again"
        )
    return Condition("ArtifactVerified", "Unknown", "NotResolved", f"{version.artifact.uri} has not been read yet")


def _available(view: View, record: Record, version: ModelVersion) -> Condition:
    before = earlier(version).get("Available")
    if view.observed.kafka_problem is not None and before is not None:
        return Condition("Available", before["status"], before["reason"], before["message"])
    slots = _slots(view, record, version)
    if slots is None:
        return Condition("Available", "False", "NotServed", "no request is answered with it")
    share = f"{slots['readySlots']} of {slots['slots']} slots"
    if record.stable == version.uid:
        if slots["readySlots"]:
            return Condition("Available", "True", "Serving", f"{share} serve it")
        return Condition("Available", "False", "NoSlotServes", f"{share} serve it")
    weight = record.assignment.weight if record.assignment is not None else 0
    if weight and slots["readySlots"]:
        return Condition("Available", "True", "Canary", f"it answers {weight:g} % of the keys, on {share}")
    return Condition("Available", "False", "NotServed", f"no request is answered with it yet; {share} have it ready")


def _progressing(  # noqa: PLR0911  # the order of the answers is the rule
    view: View, record: Record, version: ModelVersion, entry: Entry, phase: Phase, target: ModelVersion | None
) -> Condition:
    if entry.failure is not None:
        return Condition("Progressing", "False", entry.failure.reason, entry.failure.message)
    if view.observed.kafka_problem is not None and phase not in ("Live", "Superseded"):
        return Condition("Progressing", "Unknown", "KafkaUnavailable", view.observed.kafka_problem)
    conflict = conflict_of(version, record)
    if conflict is not None:
        return Condition("Progressing", "False", "ServingConflict", conflict.message)
    if phase == "Superseded":
        return Condition("Progressing", "False", "Superseded", _by(target))
    if phase == "Live":
        return Condition("Progressing", "True", "RolloutComplete", f"{version.version} is live")
    if phase == "Paused":
        return Condition(
            "Progressing", "Unknown", "Paused", "paused; action `resume`, or spec.rollout.paused: false, goes on"
        )
    if phase == "Verifying":
        if entry.problem is not None:
            return Condition("Progressing", "True", entry.problem.reason, f"{entry.problem.message}; it is tried again")
        return Condition("Progressing", "True", "Verifying", f"{version.artifact.uri} is being looked for")
    return _rolling(view, record, version, phase)


def _rolling(view: View, record: Record, version: ModelVersion, phase: Phase) -> Condition:
    rollout = record.rollout
    if rollout is None or rollout.uid != version.uid:
        return Condition("Progressing", "Unknown", phase, "it waits for its turn")
    hold = hold_of(view, record)
    message = (hold.message if hold is not None else "the next step begins") + _unjudged(record, version)
    if hold is not None and _is_late(view, rollout, version, hold):
        limit = version.rollout.progress_deadline_seconds
        return Condition("Progressing", "False", "ProgressDeadlineExceeded", f"for more than {limit:g} s, {message}")
    if hold is None or hold.reason == "Observing":
        return Condition("Progressing", "True", phase, message)
    return Condition("Progressing", "True", hold.reason, message)


def _is_late(view: View, rollout: RolloutState, version: ModelVersion, hold: Hold) -> bool:
    """While it is promoted, being late is only said: there is nothing better to go back to."""
    return (
        rollout.stage == "promoting"
        and hold.reason == "WaitingForSlots"
        and view.now - rollout.since >= version.rollout.progress_deadline_seconds
    )


def _unjudged(record: Record, version: ModelVersion) -> str:
    """Drift is wanted, and there is nothing to measure it with."""
    assignment = record.assignment
    if (
        assignment is None
        or assignment.candidate is None
        or version.rollout.abort.prediction_drift_above is None
        or assignment.bins is not None
        or assignment.collect_samples
    ):
        return ""
    return "; prediction drift is not judged: there was no shadow, and the card has no histogram"


def _by(target: ModelVersion | None) -> str:
    return f"version {target.version} is desired" if target is not None else "another version is desired"
