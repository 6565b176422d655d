"""A second of requests for a slot: rows of the recording, drawn again and again, counted as a slot counts them."""

import hashlib
from collections import Counter

import numpy as np

from bench.simulate_rollouts.candidates import Candidate
from bench.simulate_rollouts.recording import Recording
from rollcast_common.contracts import Assignment, PredictionBins
from rollcast_common.contracts.predictor_status import TrackCounts, cost_bin
from rollcast_rollout.simulation import SimulatedSlot

__all__ = ["Traffic"]

_SAMPLES = 500
_BATCH_ROWS = 50
_COMPARED_EVERY = 20
"""In canary; in shadow each batch is compared."""


class Traffic:
    """Keys are spread over slots as over partitions: each slot sees its own entities."""

    def __init__(self, recording: Recording, candidate: Candidate, rng: np.random.Generator, *, slots: int) -> None:
        self._recording = recording
        self._candidate = candidate
        self._rng = rng
        self._rows = [np.flatnonzero(recording.keys % slots == ordinal) for ordinal in range(slots)]
        self._bins: PredictionBins | None = None
        self._stable_bins = self._candidate_bins = np.zeros(0, dtype=int)
        self._buckets: dict[str, np.ndarray] = {}
        self._batches: Counter[int] = Counter()

    def serve(self, slot: SimulatedSlot, rows: int, now: float) -> None:
        assignment = slot.assignment
        if assignment is None or assignment.candidate is None:
            return
        self._use(assignment.bins)
        drawn = self._rng.choice(self._rows[slot.ordinal], rows)
        if assignment.collect_samples:
            slot.samples.extend(self._recording.stable[drawn[: _SAMPLES - len(slot.samples)]].tolist())
        ready = slot.candidate_ready(now)
        if assignment.shadow:
            self._answer(slot.stable_counts, drawn)
            if ready:
                self._compare(slot, drawn, rows // _BATCH_ROWS)
                self._count_bins(slot.candidate_counts, self._candidate_bins, drawn[~self._candidate.bad[drawn]])
            return
        moved = self._bucket(assignment)[self._recording.keys[drawn]] < assignment.weight * 100
        moved &= ready
        self._answer(slot.stable_counts, drawn[~moved])
        self._answer_as_candidate(slot.candidate_counts, drawn[moved])
        batches = rows // _BATCH_ROWS
        before = self._batches[slot.ordinal]
        self._batches[slot.ordinal] += batches
        for _ in range((before + batches) // _COMPARED_EVERY - before // _COMPARED_EVERY):
            self._compare(slot, drawn[:_BATCH_ROWS], 1)

    def _use(self, bins: PredictionBins | None) -> None:
        """In which bin each row's prediction falls."""
        if bins is not None and bins != self._bins:
            self._bins = bins
            self._stable_bins = _binned(self._recording.stable, bins)
            self._candidate_bins = _binned(self._candidate.said, bins)

    def _bucket(self, assignment: Assignment) -> np.ndarray:
        """0 to 9,999 for each key, by the salt: evenly spread, as the slots' own hash is."""
        salt = assignment.salt or ""
        if salt not in self._buckets:
            self._buckets[salt] = np.array(
                [
                    int.from_bytes(hashlib.blake2b(f"{salt}/{key}".encode(), digest_size=8).digest()) % 10_000
                    for key in range(int(self._recording.keys.max()) + 1)
                ]
            )
        return self._buckets[salt]

    def _answer(self, counts: TrackCounts, drawn: np.ndarray) -> None:
        counts.rows += len(drawn)
        counts.predictions += len(drawn)
        self._count_bins(counts, self._stable_bins, drawn)

    def _answer_as_candidate(self, counts: TrackCounts, drawn: np.ndarray) -> None:
        bad = self._candidate.bad[drawn]
        counts.rows += len(drawn)
        counts.predictions += int((~bad).sum())
        counts.errors += int(bad.sum())
        counts.fallbacks += int(bad.sum())
        self._break(counts, int(bad.sum()))
        self._count_bins(counts, self._candidate_bins, drawn[~bad])

    def _compare(self, slot: SimulatedSlot, drawn: np.ndarray, batches: int) -> None:
        bad = self._candidate.bad[drawn]
        good = drawn[~bad]
        slot.comparison.rows += len(drawn)
        slot.comparison.errors += int(bad.sum())
        slot.comparison.disagreements += int((self._candidate.said[good] != self._recording.stable[good]).sum())
        if slot.assignment is not None and slot.assignment.shadow:
            self._break(slot.candidate_counts, int(bad.sum()))
        for ratio in self._rng.choice(self._recording.ratios, batches) * self._candidate.cost:
            slot.comparison.cost_bins[cost_bin(float(ratio))] += 1

    def _break(self, counts: TrackCounts, times: int) -> None:
        if self._candidate.fault == "timeout":
            counts.timeouts += times
        if self._candidate.fault == "death":
            counts.deaths += times

    def _count_bins(self, counts: TrackCounts, bins: np.ndarray, drawn: np.ndarray) -> None:
        if counts.bins and len(bins):
            added = np.bincount(bins[drawn], minlength=len(counts.bins))
            counts.bins = [int(a + b) for a, b in zip(counts.bins, added, strict=True)]


def _binned(said: np.ndarray, bins: PredictionBins) -> np.ndarray:
    if bins.edges:
        return np.searchsorted(np.array(bins.edges), said, side="left")
    numbers = {label: number for number, label in enumerate(bins.classes)}
    return np.array([numbers.get(value, len(numbers)) for value in said.tolist()])
