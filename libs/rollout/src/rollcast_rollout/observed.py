"""What a shell has seen of one model, gathered without judging it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from rollcast_common.contracts import Assignment, PredictionBins, PredictorStatus, ServedVersion
from rollcast_rollout.record import Record

__all__ = ["ArtifactProblem", "Observed", "Pinned", "SlotReport"]


@dataclass(frozen=True, slots=True)
class Pinned:
    """A version whose bytes were found, read once and hashed. `bins` are its card's, if it has one."""

    served: ServedVersion
    bins: PredictionBins | None = None


@dataclass(frozen=True, slots=True)
class ArtifactProblem:
    """Why there is no pin. `reason` is a word such as DigestMismatch; with `may_pass` it is tried again."""

    reason: str
    message: str
    may_pass: bool
    version: str | None = None
    """The version that was asked for, so that an answer that an edit has overtaken is not taken for a new one."""


@dataclass(frozen=True, slots=True)
class SlotReport:
    """The last status of a slot, and how long ago it came by the shell's own monotonic clock.

    A report that was in the topic before the shell began to read counts as old: `age_seconds` is infinite.
    """

    status: PredictorStatus
    age_seconds: float


@dataclass(frozen=True, slots=True)
class Observed:
    record: Record | None = None
    """What was written last; None only when nothing was ever written."""

    artifacts: Mapping[str, Pinned | ArtifactProblem] = field(default_factory=dict)
    """By the ModelVersion's uid: the answers to the plan's `resolve`."""

    slots: Mapping[int, SlotReport] = field(default_factory=dict)
    """By ordinal; also of slots that are no longer expected."""

    replicas: int | None = None
    """Slots that should run now; None while there is no workload."""

    published: int | None = None
    """The generation that topic `assignments` holds; None when it holds nothing of this model, 0 for a tombstone."""

    topic_assignment: Assignment | None = None
    """What topic `assignments` holds; needed only where there is no record, which is then rebuilt from it."""

    kafka_problem: str | None = None
    """Set while Kafka cannot be asked; then `published` and `slots` are what was known before."""

    live_error_ratio: Mapping[str, float] = field(default_factory=dict)
    """By sha256: live error relative to stable's. Absent: no verdict."""

    watched_seconds: float = math.inf
    """How long the shell has been looking at the slots without a break. What it did not see, while it was not
    running, is held against nobody."""
