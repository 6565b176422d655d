"""Candidates to roll: one that is as good as stable, and ones with a fault that the criteria promise to catch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from bench.simulate_rollouts.recording import Recording

__all__ = ["CANDIDATES", "Candidate"]

_BAD_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Candidate:
    """`said[i]` is its prediction for row i; `bad[i]`: it fails on that row, in the way that `fault` says."""

    said: np.ndarray
    bad: np.ndarray
    fault: str | None = None
    cost: float = 1.0


def _none(recording: Recording) -> np.ndarray:
    return np.zeros(len(recording.stable), dtype=bool)


def _some(recording: Recording, rng: np.random.Generator) -> np.ndarray:
    return rng.random(len(recording.stable)) < _BAD_SHARE


def _shifted(recording: Recording) -> np.ndarray:
    """Numbers: up by half of their standard deviation. Classes: always the first one."""
    if recording.classes:
        return np.zeros_like(recording.stable)
    return np.asarray(recording.stable + recording.stable.std() / 2)


CANDIDATES: Mapping[str, Callable[[Recording, np.random.Generator], Candidate]] = {
    "identical": lambda recording, _: Candidate(recording.stable, _none(recording)),
    "retrained": lambda recording, _: Candidate(recording.retrained, _none(recording)),
    "fails 5 % of rows": lambda recording, rng: Candidate(recording.stable, _some(recording, rng), "error"),
    "times out on 5 %": lambda recording, rng: Candidate(recording.stable, _some(recording, rng), "timeout"),
    "crashes on 5 %": lambda recording, rng: Candidate(recording.stable, _some(recording, rng), "death"),
    "3 times as slow": lambda recording, _: Candidate(recording.stable, _none(recording), cost=3.0),
    "shifted predictions": lambda recording, _: Candidate(_shifted(recording), _none(recording)),
}
