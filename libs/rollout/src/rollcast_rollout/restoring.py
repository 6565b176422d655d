"""The record to plan from: the written one, or where it is lost, one made of what the topic and the statuses say."""

from typing import Any

from msgspec.structs import replace

from rollcast_common.contracts import ServedVersion
from rollcast_rollout.artifact_identity import digest_of, fingerprint_of
from rollcast_rollout.model_version import ModelVersion
from rollcast_rollout.record import Entry, Failure, Record, RolloutState, Topics
from rollcast_rollout.tally import bases
from rollcast_rollout.timestamps import seconds_of
from rollcast_rollout.view import View

__all__ = ["current_record"]


def current_record(view: View, model: str) -> Record | None:
    """None: something is assigned, and nobody has said yet what. Until then nothing may be decided."""
    observed = view.observed
    written = observed.record
    if written is not None:
        return _above(written, observed.published or 0)
    if observed.published is None and observed.kafka_problem is not None:
        return None
    seen = max((report.status.generation for report in observed.slots.values()), default=0)
    if observed.published == 0:
        # The model has lived before, and nobody remembers how far it came: seconds have passed it in any case.
        seen = max(seen, int(view.now))
    record = _above(_remembered(view, Record(model=model)), max(seen, observed.published or 0))
    if not observed.published:
        return record
    return _rebuilt(view, record) if observed.topic_assignment is not None else None


def _above(record: Record, generation: int) -> Record:
    """Slots never go back to a lower generation, so what they have seen is never used again."""
    if record.generation >= generation:
        return record
    assignment = record.assignment
    if assignment is None:
        return replace(record, generation=generation)
    return replace(record, generation=generation + 1, assignment=replace(assignment, generation=generation + 1))


def _remembered(view: View, record: Record) -> Record:
    """Sequences and failures, as the resources' own statuses have them."""
    entries: dict[str, Entry] = {}
    for uid, version in view.versions.items():
        sequence = version.status.get("sequence")
        same = version.status.get("observedGeneration") == version.generation
        if isinstance(sequence, int) and same and not version.deleting:
            entries[uid] = Entry(
                sequence=sequence,
                fingerprint=fingerprint_of(version),
                digest=digest_of(version),
                failure=_failure(version.status),
            )
    following = max((entry.sequence for entry in entries.values()), default=0) + 1
    return replace(record, entries=entries, next_sequence=following)


def _failure(status: Any) -> Failure | None:
    phase, failure = status.get("phase"), status.get("lastFailure")
    if phase not in ("Failed", "RolledBack") or not isinstance(failure, dict):
        return None
    return Failure(
        reason=str(failure.get("reason")),
        message=str(failure.get("message")),
        time=seconds_of(failure.get("time")),
        rolled_back=phase == "RolledBack",
    )


def _rebuilt(view: View, record: Record) -> Record:
    assignment = view.observed.topic_assignment
    assert assignment is not None  # noqa: S101  # the caller has looked
    record = replace(record, assignment=assignment, generation=max(record.generation, assignment.generation))
    stable = _matching(view, assignment.stable)
    if stable is not None:
        record = _owned(record, stable, assignment.stable)
        record = replace(
            record,
            stable=stable.uid,
            topics=Topics(stable.serving.input_topic, stable.serving.output_topic),
            serving=stable.serving,
        )
    candidate = _matching(view, assignment.candidate)
    if candidate is None or assignment.candidate is None:
        return record
    record = _owned(record, candidate, assignment.candidate)
    weights = [step.weight for step in candidate.rollout.steps]
    rollout = RolloutState(
        uid=candidate.uid,
        id=assignment.rollout,
        stage="canary" if assignment.weight in weights else "loading",
        started=view.now,
        step=weights.index(assignment.weight) if assignment.weight in weights else 0,
        since=view.now,
        blocked_since=None if assignment.weight in weights else view.now,
        base=bases(view.observed.slots, assignment.rollout) if assignment.weight in weights else {},
    )
    return replace(record, rollout=rollout)


def _matching(view: View, served: ServedVersion | None) -> ModelVersion | None:
    """The latest one that names this version and no other bytes."""
    if served is None:
        return None
    found = [
        version
        for version in view.versions.values()
        if not version.deleting
        and version.version == served.version
        and version.artifact.sha256 in (None, served.sha256)
    ]
    return max(found, key=lambda version: (version.created, version.name), default=None)


def _owned(record: Record, version: ModelVersion, pin: ServedVersion) -> Record:
    entry = record.entries.get(version.uid)
    sequence = entry.sequence if entry is not None else record.next_sequence
    fresh = Entry(
        sequence=sequence,
        fingerprint=fingerprint_of(version),
        digest=digest_of(version),
        verified=True,
        pin=pin,
        failure=entry.failure if entry is not None else None,
    )
    return replace(
        record,
        entries={**record.entries, version.uid: fresh},
        versions={**record.versions, pin.version: pin.sha256},
        next_sequence=max(record.next_sequence, sequence + 1),
    )
