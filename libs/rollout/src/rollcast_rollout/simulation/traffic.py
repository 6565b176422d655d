"""Requests for simulated slots: the same rows in every run, and candidates that misbehave as they are told."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass

from rollcast_common.contracts import PredictionBins
from rollcast_common.contracts.predictor_status import TrackCounts, cost_bin
from rollcast_rollout.simulation.slots import SimulatedSlot
from rollcast_rollout.simulation.world import World

__all__ = ["Behaviour", "serve"]

_MOST_SAMPLES = 500
_BATCH_ROWS = 50
_STEP = 0.618034
_KEY_STEP = 0.754878
"""Multiples of either, modulo 1, are spread evenly and apart from each other: predictions and keys without chance."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Of one version: every n-th row fails, and what each batch does besides."""

    error_every: int = 0
    time_outs: int = 0
    deaths: int = 0
    cost: float = 1.0
    shift: float = 0.0


def serve(world: World, rows: int, behaviours: Mapping[str, Behaviour] | None = None) -> None:
    """Each running slot that serves scores `rows` rows. `behaviours` are by sha256."""
    for slot in world.running():
        if slot.serving is not None:
            _serve(slot, rows, world.now, behaviours or {})


def _serve(slot: SimulatedSlot, rows: int, now: float, behaviours: Mapping[str, Behaviour]) -> None:
    assignment = slot.assignment
    if assignment is None or assignment.candidate is None or not rows:
        return
    behaviour = behaviours.get(assignment.candidate.sha256, Behaviour())
    ready = slot.candidate_ready(now)
    for row in range(rows):
        said = row * _STEP % 1
        if assignment.collect_samples and len(slot.samples) < _MOST_SAMPLES:
            slot.samples.append(said)
        fails = behaviour.error_every > 0 and row % behaviour.error_every == 0
        if assignment.shadow:
            _count(slot.stable_counts, said, assignment.bins)
            if ready:
                _compare(slot, said + behaviour.shift, assignment.bins, fails=fails)
        elif ready and row * _KEY_STEP % 1 * 100 < assignment.weight:
            _count(slot.candidate_counts, said + behaviour.shift, assignment.bins, fails=fails)
        else:
            _count(slot.stable_counts, said, assignment.bins)
    if ready and (assignment.shadow or assignment.weight):
        slot.candidate_counts.timeouts += behaviour.time_outs
        slot.candidate_counts.deaths += behaviour.deaths
        slot.comparison.cost_bins[cost_bin(behaviour.cost)] += rows // _BATCH_ROWS


def _count(counts: TrackCounts, said: float, bins: PredictionBins | None, *, fails: bool = False) -> None:
    counts.rows += 1
    if fails:
        counts.errors += 1
        counts.fallbacks += 1
        return
    counts.predictions += 1
    if bins is not None and counts.bins:
        counts.bins[bisect_left(bins.edges, said)] += 1


def _compare(slot: SimulatedSlot, said: float, bins: PredictionBins | None, *, fails: bool) -> None:
    slot.comparison.rows += 1
    if fails:
        slot.comparison.errors += 1
    elif bins is not None and slot.candidate_counts.bins:
        slot.candidate_counts.bins[bisect_left(bins.edges, said)] += 1
