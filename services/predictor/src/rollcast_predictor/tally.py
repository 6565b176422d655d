"""What a slot counts while a candidate is there: written by the stream, read by whoever reports it."""

import math
import threading
from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from rollcast_common.contracts import Assignment, PredictionBins
from rollcast_common.contracts.assignment import Label
from rollcast_common.contracts.predictor_status import Comparison, TrackCounts, cost_bin

__all__ = ["Binner", "Compared", "Tally", "TallyCounts"]

_MOST_SAMPLES = 1000

_decode = msgspec.json.Decoder().decode


class Binner:
    """The bin of a prediction, from its JSON."""

    def __init__(self, bins: PredictionBins) -> None:
        self._edges = bins.edges
        self._classes = {label: index for index, label in enumerate(bins.classes)}
        self.count = bins.count

    def __call__(self, result: bytes) -> int | None:
        """None for what is no single number or label."""
        if self._edges:
            try:
                return bisect_left(self._edges, float(result))
            except ValueError:
                return None
        label = _decode(result)
        return self._classes.get(label, self.count - 1) if isinstance(label, Label) else None


class TallyCounts(msgspec.Struct):
    """All of it, as of one moment."""

    rollout: int
    stable: TrackCounts
    candidate: TrackCounts
    comparison: Comparison
    samples: list[Label]


class Compared(NamedTuple):
    """Rows of one batch that both versions scored, by what the candidate said."""

    same: int
    different: int
    failed: int


class Tally:
    """Counts begin anew with each rollout; histograms also when the bins change."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bins: PredictionBins | None = None
        self._binner: Binner | None = None
        self._collects = False
        self._counts = TallyCounts(0, TrackCounts(), TrackCounts(), Comparison(), [])

    def follow(self, assignment: Assignment) -> None:
        with self._lock:
            if assignment.rollout != self._counts.rollout:
                self._counts = TallyCounts(assignment.rollout, TrackCounts(), TrackCounts(), Comparison(), [])
                self._bins = None
            if assignment.bins != self._bins or (assignment.bins is None and self._binner is not None):
                self._bins = assignment.bins
                self._binner = Binner(assignment.bins) if assignment.bins is not None else None
                for track in (self._counts.stable, self._counts.candidate):
                    track.bins = [0] * self._binner.count if self._binner else []
            self._collects = assignment.collect_samples
            if not self._collects:
                self._counts.samples = []

    def snapshot(self) -> TallyCounts:
        with self._lock:
            copy: TallyCounts = msgspec.convert(msgspec.to_builtins(self._counts), TallyCounts)
            return copy

    def outputs(self, *, stable: list[bytes], candidate: list[bytes], errors: int, fallbacks: int) -> None:
        """A committed batch: results by the version that gave them, rows that the candidate failed, and rows of its
        that stable answered (those among them).
        """
        with self._lock:
            counts = self._counts
            counts.stable.rows += len(stable) - fallbacks
            counts.stable.predictions += len(stable)
            counts.candidate.rows += len(candidate) + errors
            counts.candidate.predictions += len(candidate)
            counts.candidate.errors += errors
            counts.candidate.fallbacks += fallbacks
            self._count_bins(counts.stable, stable)
            self._count_bins(counts.candidate, candidate)
            self._sample(stable)

    def compared(
        self, pairs: Iterable[tuple[bytes, bytes]], *, in_shadow: bool, seconds: tuple[float, float]
    ) -> Compared:
        """Rows that both versions were given: (stable's result, the candidate's); an error is an empty result.

        `seconds` is what each took over the batch. In shadow the candidate's predictions are counted here, as it has
        no outputs.
        """
        said: list[bytes] = []
        failed = different = 0
        for stable, candidate in pairs:
            if not stable:
                continue  # neither can be blamed
            if not candidate:
                failed += 1
                continue
            said.append(candidate)
            different += not _same(stable, candidate)
        with self._lock:
            comparison = self._counts.comparison
            comparison.rows += len(said) + failed
            comparison.errors += failed
            comparison.disagreements += different
            if in_shadow:
                self._count_bins(self._counts.candidate, said)
            if min(seconds) > 0 and said:
                comparison.cost_bins[cost_bin(seconds[1] / seconds[0])] += 1
        return Compared(same=len(said) - different, different=different, failed=failed)

    def skipped(self, rows: int) -> None:
        with self._lock:
            self._counts.comparison.skipped += rows

    def candidate_failed(self, *, timed_out: bool) -> None:
        with self._lock:
            if timed_out:
                self._counts.candidate.timeouts += 1
            else:
                self._counts.candidate.deaths += 1

    def _count_bins(self, track: TrackCounts, results: list[bytes]) -> None:
        if self._binner is None:
            return
        for result in results:
            if (index := self._binner(result)) is not None:
                track.bins[index] += 1

    def _sample(self, results: list[bytes]) -> None:
        if not self._collects:
            return
        room = _MOST_SAMPLES - len(self._counts.samples)
        if room > 0:
            values = (_decode(result) for result in results[:room])
            self._counts.samples += [value for value in values if isinstance(value, Label)]


def _same(stable: bytes, candidate: bytes) -> bool:
    if stable == candidate:
        return True
    try:
        return math.isclose(float(stable), float(candidate), rel_tol=1e-9)
    except ValueError:
        return False
