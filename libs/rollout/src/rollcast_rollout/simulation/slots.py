"""A slot as the brain sees it: follows assignments, takes time to load, counts, reports, and starts again at 0."""

from dataclasses import dataclass, field

import msgspec

from rollcast_common.contracts import Assignment, PredictorStatus, ServedVersion
from rollcast_common.contracts.assignment import Label
from rollcast_common.contracts.predictor_status import Comparison, LoadState, TrackCounts, VersionReport

__all__ = ["Refusal", "SimulatedSlot"]


@dataclass(frozen=True, slots=True)
class Refusal:
    reason: str
    message: str


@dataclass(slots=True)
class SimulatedSlot:
    """Times are in seconds, of whoever moves the world. `refusals` are by sha256."""

    ordinal: int
    load_seconds: float = 1.0
    refusals: dict[str, Refusal] = field(default_factory=dict)
    starts: int = 1
    assignment: Assignment | None = None
    loaded_at: dict[str, float] = field(default_factory=dict)
    """By sha256: when it is ready."""

    serving: str | None = None
    rollout: int = 0
    stable_counts: TrackCounts = field(default_factory=TrackCounts)
    candidate_counts: TrackCounts = field(default_factory=TrackCounts)
    comparison: Comparison = field(default_factory=Comparison)
    samples: list[Label] = field(default_factory=list)

    def restart(self) -> None:
        """Nothing but the disk outlives a process; assignments are read from the topic again."""
        self.starts += 1
        self.assignment = None
        self.loaded_at = {}
        self.serving = None
        self._count_from(0)

    def follow(self, assignment: Assignment | None, now: float) -> None:
        """Lower generations are ignored, as a real slot does. None: the topic holds nothing."""
        if assignment is None:
            self.assignment, self.serving = None, None
            return
        if self.assignment is not None and assignment.generation <= self.assignment.generation:
            return
        self.assignment = assignment
        wanted = [served.sha256 for served in (assignment.stable, assignment.candidate) if served is not None]
        self.loaded_at = {sha256: self.loaded_at.get(sha256, now + self.load_seconds) for sha256 in wanted}
        if assignment.rollout and assignment.rollout != self.rollout:
            self._count_from(assignment.rollout)
        if assignment.bins is not None and not self.stable_counts.bins:
            self.stable_counts.bins = [0] * assignment.bins.count
            self.candidate_counts.bins = [0] * assignment.bins.count

    def swap(self, now: float) -> None:
        """What is loaded takes over, as between two batches."""
        stable = self.assignment.stable if self.assignment is not None else None
        if stable is not None and self.state(stable, now) == "ready":
            self.serving = stable.sha256

    def state(self, served: ServedVersion, now: float) -> LoadState:
        if served.sha256 in self.refusals:
            return "refused"
        return "ready" if self.loaded_at.get(served.sha256, now + 1) <= now else "loading"

    def candidate_ready(self, now: float) -> bool:
        candidate = self.assignment.candidate if self.assignment is not None else None
        return candidate is not None and self.state(candidate, now) == "ready"

    def report(self, now: float) -> PredictorStatus:
        """A copy: what is counted later is not in it."""
        assignment = self.assignment
        return PredictorStatus(
            slot=f"slot-{self.ordinal}",
            ordinal=self.ordinal,
            instance=f"{self.ordinal}/{self.starts}",
            time=int(now * 1000),
            generation=assignment.generation if assignment is not None else 0,
            stable=self._version(assignment.stable if assignment is not None else None, now),
            candidate=self._version(assignment.candidate if assignment is not None else None, now),
            serving=self.serving,
            rollout=self.rollout,
            stable_counts=_copy(self.stable_counts),
            candidate_counts=_copy(self.candidate_counts),
            comparison=msgspec.structs.replace(self.comparison, cost_bins=list(self.comparison.cost_bins)),
            samples=list(self.samples),
        )

    def _count_from(self, rollout: int) -> None:
        self.rollout = rollout
        self.stable_counts = TrackCounts()
        self.candidate_counts = TrackCounts()
        self.comparison = Comparison()
        self.samples = []

    def _version(self, served: ServedVersion | None, now: float) -> VersionReport | None:
        if served is None:
            return None
        refusal = self.refusals.get(served.sha256)
        return VersionReport(
            version=served.version,
            sha256=served.sha256,
            state=self.state(served, now),
            reason=refusal.reason if refusal is not None else None,
            message=refusal.message if refusal is not None else None,
        )


def _copy(counts: TrackCounts) -> TrackCounts:
    return msgspec.structs.replace(counts, bins=list(counts.bins))
