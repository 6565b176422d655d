"""One move of a rollout at a time. Every move that the slots see is an assignment with the next generation."""

from msgspec.structs import replace

from rollcast_common.contracts import Assignment, PredictionBins, ServedVersion
from rollcast_common.contracts.assignment import salt_of
from rollcast_rollout.bins import MIN_BIN_SAMPLES, bins_of, collected
from rollcast_rollout.changes import assigned, failed, taken_off, with_entry
from rollcast_rollout.desired import desired_version
from rollcast_rollout.hold import Hold, hold_of
from rollcast_rollout.model_version import ModelVersion
from rollcast_rollout.record import Entry, Failure, Record, RolloutState, Topics
from rollcast_rollout.refusal import refusal
from rollcast_rollout.tally import bases, counts
from rollcast_rollout.verdict import Verdict, verdict
from rollcast_rollout.verifying import verified
from rollcast_rollout.view import View

__all__ = ["advanced", "deadline_seconds"]


def advanced(view: View, record: Record) -> Record:
    """At most one move, and nothing that the next call could not go on from."""
    target = desired_version(view.versions, record)
    record = _without_unwanted(record, target)
    if record.rollout is not None:
        moved = _moved(view, record)
        if moved != record:
            return moved
    if target is None or record.stable == target.uid:
        return record
    if record.rollout is not None and record.rollout.uid == target.uid:
        return record
    record = verified(view, record, target)
    entry = record.entries[target.uid]
    if entry.pin is None or view.paused(record, target.uid):
        return record
    return _begun(view, record, target, entry, entry.pin)


def _without_unwanted(record: Record, target: ModelVersion | None) -> Record:
    """A candidate that something newer supersedes, or that is gone, is taken off at once.

    What is being promoted stays: it is stable, and its successor needs one.
    """
    rollout = record.rollout
    if record.fast is not None and (target is None or target.uid != record.fast):
        record = replace(record, fast=None)
    if rollout is None or rollout.stage == "promoting" or (target is not None and target.uid == rollout.uid):
        return record
    return taken_off(record)


def _begun(view: View, record: Record, version: ModelVersion, entry: Entry, pin: ServedVersion) -> Record:
    stable = record.assignment
    never_live = record.rollout is not None and record.rollout.first
    if stable is None or never_live:
        first = Assignment(model=version.model, generation=1, stable=pin)
        return _promoting(view, assigned(record, first), version, first=True)
    if stable.stable.sha256 == pin.sha256:
        # The same bytes under another name: no measure could tell them apart.
        return _promoting(view, assigned(record, _only(stable, pin)), version)
    fast = record.fast == version.uid
    shadow = version.rollout.shadow_seconds is not None and not fast
    drift = version.rollout.abort.prediction_drift_above is not None
    record = assigned(
        record,
        replace(
            stable,
            candidate=pin,
            weight=0.0,
            salt=salt_of(pin.sha256),
            shadow=shadow,
            rollout=record.generation + 1,
            bins=entry.bins if drift and not shadow else None,
            collect_samples=shadow and drift,
        ),
    )
    rollout = RolloutState(
        uid=version.uid,
        id=record.generation,
        stage="loading",
        started=view.now,
        since=view.now,
        blocked_since=view.now,
        fast=fast,
    )
    return replace(record, rollout=rollout, fast=None if fast else record.fast)


def _only(assignment: Assignment, stable: ServedVersion) -> Assignment:
    return Assignment(model=assignment.model, generation=assignment.generation, stable=stable)


def _promoting(view: View, record: Record, version: ModelVersion, *, first: bool = False) -> Record:
    rollout = RolloutState(
        uid=version.uid,
        id=record.generation,
        stage="promoting",
        started=view.now,
        since=view.now,
        blocked_since=view.now,
        first=first,
    )
    return replace(
        with_entry(record, version.uid, paused=False),
        rollout=rollout,
        stable=version.uid,
        topics=Topics(version.serving.input_topic, version.serving.output_topic),
        fast=None if record.fast == version.uid else record.fast,
    )


def _moved(view: View, record: Record) -> Record:  # noqa: PLR0911  # the order of the answers is the rule
    rollout, assignment = record.rollout, record.assignment
    if rollout is None or assignment is None:
        return record
    if rollout.stage == "promoting":
        return _promoted(view, record, rollout, assignment)
    version = view.wanted(rollout.uid)
    if version is None or assignment.candidate is None:
        return taken_off(record)
    against = _against(view, rollout, assignment.candidate, version)
    if against is not None:
        return _aborted(view, record, rollout, against)
    if assignment.collect_samples and (bins := _bins(view, rollout)) is not None:
        return assigned(record, replace(assignment, bins=bins, collect_samples=False))
    if _falls(rollout, assignment, version) and not view.paused(record, version.uid):
        return _at_step(view, record, rollout, assignment, version, rollout.step)
    hold = hold_of(view, record)
    if hold is None:
        return _next(view, record, rollout, assignment, version)
    return _held(view, record, rollout, version, hold)


def _promoted(view: View, record: Record, rollout: RolloutState, assignment: Assignment) -> Record:
    if rollout.first and rollout.uid:
        against = refusal(view, rollout, assignment.stable.sha256)
        if against is not None:
            return _aborted(view, record, rollout, against)
    return replace(record, rollout=None) if hold_of(view, record) is None else record


def _against(view: View, rollout: RolloutState, pin: ServedVersion, version: ModelVersion) -> Verdict | None:
    """Judged at every call, whatever the rollout waits for."""
    refused = refusal(view, rollout, pin.sha256)
    if refused is not None:
        return refused
    limits = version.rollout.abort
    shadowed = version.rollout.shadow_seconds is not None and not rollout.fast
    paired = rollout.stage in ("loading", "shadow")
    slots = view.observed.slots
    whole = counts(slots, rollout.id)
    for window in (whole, counts(slots, rollout.id, rollout.base)) if rollout.base else (whole,):
        found = verdict(window, whole, limits, paired=paired, shadowed=shadowed)
        if found is not None:
            return found
    live = view.observed.live_error_ratio.get(pin.sha256)
    if live is not None and limits.live_error_ratio_above is not None and live > limits.live_error_ratio_above:
        return Verdict(
            "LiveErrorRatioExceeded",
            f"its live error is {live:.3g} times stable's, allowed {limits.live_error_ratio_above:g}",
        )
    return None


def _aborted(view: View, record: Record, rollout: RolloutState, against: Verdict) -> Record:
    failure = Failure(
        reason=against.reason,
        message=against.message[:300],
        time=view.now,
        rolled_back=rollout.stage != "promoting",
    )
    return failed(record, rollout.uid, failure)


def _bins(view: View, rollout: RolloutState) -> PredictionBins | None:
    samples = collected(view.observed.slots, rollout.id)
    return bins_of(samples) if len(samples) >= MIN_BIN_SAMPLES else None


def _falls(rollout: RolloutState, assignment: Assignment, version: ModelVersion) -> bool:
    """The step's weight was edited to less than the candidate has: no gate is needed for that."""
    steps = version.rollout.steps
    return rollout.stage == "canary" and rollout.step < len(steps) and steps[rollout.step].weight < assignment.weight


def _held(view: View, record: Record, rollout: RolloutState, version: ModelVersion, hold: Hold) -> Record:
    """Only waiting for slots counts against the deadline: neither samples nor a pause are the candidate's fault."""
    if hold.reason != "WaitingForSlots":
        return replace(record, rollout=replace(rollout, blocked_since=None))
    if rollout.blocked_since is None:
        return replace(record, rollout=replace(rollout, blocked_since=view.now))
    left = deadline_seconds(view, record)
    if left is None or left > 0:
        return record
    limit = version.rollout.progress_deadline_seconds
    return _aborted(view, record, rollout, Verdict("ProgressDeadlineExceeded", f"for {limit:g} s, {hold.message}"))


def deadline_seconds(view: View, record: Record) -> float | None:
    """How long the slots still have; None when they are not waited for. What the shell did not see does not count."""
    rollout = record.rollout
    version = view.wanted(rollout.uid) if rollout is not None else None
    if rollout is None or version is None or rollout.blocked_since is None:
        return None
    waited = min(view.now - rollout.blocked_since, view.observed.watched_seconds)
    return version.rollout.progress_deadline_seconds - waited


def _next(view: View, record: Record, rollout: RolloutState, assignment: Assignment, version: ModelVersion) -> Record:
    if rollout.fast:
        return _promotion(view, record, assignment, version)
    if rollout.stage == "loading" and assignment.shadow:
        return replace(record, rollout=replace(rollout, stage="shadow", since=view.now, blocked_since=None))
    steps = version.rollout.steps
    step = rollout.step
    if rollout.stage == "canary" and step < len(steps) and steps[step].weight == assignment.weight:
        step += 1
    if step >= len(steps):
        return _promotion(view, record, assignment, version)
    return _at_step(view, record, rollout, assignment, version, step)


def _at_step(
    view: View, record: Record, rollout: RolloutState, assignment: Assignment, version: ModelVersion, step: int
) -> Record:
    state = replace(
        rollout,
        stage="canary",
        step=step,
        since=view.now,
        blocked_since=None,
        base=bases(view.observed.slots, rollout.id),
    )
    weight = version.rollout.steps[step].weight
    return assigned(record, replace(assignment, weight=weight, shadow=False, collect_samples=False), rollout=state)


def _promotion(view: View, record: Record, assignment: Assignment, version: ModelVersion) -> Record:
    pin = assignment.candidate or assignment.stable
    return _promoting(view, assigned(record, _only(assignment, pin)), version)
