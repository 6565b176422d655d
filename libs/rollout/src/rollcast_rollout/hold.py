"""What a rollout waits for before its next move."""

from dataclasses import dataclass
from typing import Literal

from rollcast_common.contracts import Assignment
from rollcast_rollout.drift import MIN_SAMPLES
from rollcast_rollout.gate import candidate_is_ready, expected_slots, missing, stable_is_served
from rollcast_rollout.model_version import ModelVersion
from rollcast_rollout.record import Record, RolloutState, Tally
from rollcast_rollout.tally import counts
from rollcast_rollout.view import View

__all__ = ["Hold", "hold_of"]

_SLOTS_NAMED = 5


@dataclass(frozen=True, slots=True)
class Hold:
    """`seconds`: until time alone ends it; None where news does."""

    reason: Literal["Paused", "Observing", "WaitingForSlots", "WaitingForSamples"]
    message: str
    seconds: float | None = None


def hold_of(view: View, record: Record) -> Hold | None:  # noqa: PLR0911  # the order of the answers is the rule
    """None: it may move, or there is no rollout."""
    rollout, assignment = record.rollout, record.assignment
    if rollout is None or assignment is None:
        return None
    if rollout.stage == "promoting":
        return _slots(view, missing(view.observed, stable_is_served(assignment)), assignment.stable.version)
    version = view.wanted(rollout.uid)
    if version is None or assignment.candidate is None:
        return None
    if view.paused(record, rollout.uid):
        return Hold("Paused", "paused; resume it with action `resume`, or set spec.rollout.paused to false")
    if rollout.stage != "loading" and not rollout.fast and (left := _seconds_left(rollout, version, view.now)) > 0:
        return Hold("Observing", f"{_name(rollout)} is observed for {_duration(rollout, version):g} s", left)
    closed = _slots(view, missing(view.observed, candidate_is_ready(assignment)), assignment.candidate.version)
    if closed is not None or rollout.stage == "loading" or rollout.fast:
        return closed
    return _samples(view, rollout, assignment, version)


def _name(rollout: RolloutState) -> str:
    return "shadow" if rollout.stage == "shadow" else f"step {rollout.step + 1}"


def _duration(rollout: RolloutState, version: ModelVersion) -> float:
    if rollout.stage == "shadow":
        return version.rollout.shadow_seconds or 0.0
    steps = version.rollout.steps
    return steps[rollout.step].for_seconds if rollout.step < len(steps) else 0.0


def _seconds_left(rollout: RolloutState, version: ModelVersion, now: float) -> float:
    return rollout.since + _duration(rollout, version) - now


def _slots(view: View, ordinals: list[int], version: str) -> Hold | None:
    expected = len(expected_slots(view.observed))
    if not expected:
        return Hold("WaitingForSlots", "no slot is expected to run yet")
    if not ordinals:
        return None
    named = ", ".join(map(str, ordinals[:_SLOTS_NAMED])) + (", …" if len(ordinals) > _SLOTS_NAMED else "")
    return Hold("WaitingForSlots", f"slots {named} of {expected} have not reported that they are ready with {version}")


def _samples(view: View, rollout: RolloutState, assignment: Assignment, version: ModelVersion) -> Hold | None:
    if rollout.stage == "shadow":
        if version.rollout.abort.prediction_drift_above is None:
            return None
        if assignment.bins is None:
            return Hold("WaitingForSamples", f"{MIN_SAMPLES} predictions of stable are needed to compare with")
        total = counts(view.observed.slots, rollout.id).total
        if min(sum(total.candidate_bins), sum(total.stable_bins)) < MIN_SAMPLES:
            return Hold("WaitingForSamples", f"{MIN_SAMPLES} predictions of each version are compared in shadow")
        return None
    total = counts(view.observed.slots, rollout.id, rollout.base).total
    return _few(total, version, rollout.step)


def _few(total: Tally, version: ModelVersion, step: int) -> Hold | None:
    steps = version.rollout.steps
    least = steps[step].min_predictions if step < len(steps) else 0
    if total.predictions >= least:
        return None
    return Hold("WaitingForSamples", f"step {step + 1} needs {least} predictions of the candidate")
