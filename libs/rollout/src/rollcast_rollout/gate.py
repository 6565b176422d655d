"""The gate: a weight moves only when every expected slot has just said that it is ready for it."""

from collections.abc import Callable

from rollcast_common.contracts import Assignment, PredictorStatus
from rollcast_rollout.observed import Observed

__all__ = ["FRESH_SECONDS", "candidate_is_ready", "expected_slots", "missing", "stable_is_served"]

FRESH_SECONDS = 3.0
"""Slots report at least once a second; a report older than this says nothing about now."""


def expected_slots(observed: Observed) -> range:
    return range(observed.replicas or 0)


def missing(observed: Observed, holds: Callable[[PredictorStatus], bool]) -> list[int]:
    """Ordinals of expected slots that have not just reported that it holds."""
    return [
        ordinal
        for ordinal in expected_slots(observed)
        if (report := observed.slots.get(ordinal)) is None
        or report.age_seconds > FRESH_SECONDS
        or not holds(report.status)
    ]


def candidate_is_ready(assignment: Assignment) -> Callable[[PredictorStatus], bool]:
    wanted = assignment.candidate

    def holds(status: PredictorStatus) -> bool:
        return (
            wanted is not None
            and status.generation == assignment.generation
            and status.candidate is not None
            and status.candidate.sha256 == wanted.sha256
            and status.candidate.state == "ready"
        )

    return holds


def stable_is_served(assignment: Assignment) -> Callable[[PredictorStatus], bool]:
    wanted = assignment.stable

    def holds(status: PredictorStatus) -> bool:
        return (
            status.generation == assignment.generation
            and status.stable is not None
            and status.stable.sha256 == wanted.sha256
            and status.stable.state == "ready"
            and status.serving == wanted.sha256
        )

    return holds
