"""Do two versions say different things? PSI over the bins of the assignment.

PSI = Σ (p - q)·ln(p / q), the symmetric Kullback-Leibler divergence of two histograms; by convention below 0.1 is no
change, above 0.25 a large one (N. Siddiqi, Credit Risk Scorecards, 2006).
"""

import math
from collections.abc import Sequence

from rollcast_rollout.error_ratio import Z

__all__ = ["MIN_SAMPLES", "design_effect", "psi", "psi_noise"]

MIN_SAMPLES = 500
"""On each track. The same model, split at random, shows a PSI of up to 0.28 with 100."""

_SMOOTHING = 0.5
"""Added to each count (Jeffreys' prior): an empty bin is a rare one, not an impossible one."""


def psi(candidate: Sequence[int], stable: Sequence[int]) -> float:
    bins = max(len(candidate), len(stable))
    p, q = _shares(candidate, bins), _shares(stable, bins)
    return sum((a - b) * math.log(a / b) for a, b in zip(p, q, strict=True))


def psi_noise(candidate: Sequence[int], stable: Sequence[int], effect: float = 1.0) -> float:
    """How much PSI two samples of one distribution may show by chance.

    It is approximately (1/n + 1/m) times a χ² with k = bins - 1 degrees of freedom (B. Yurdakul, 2018), of which the
    mean is k and the variance 2k; this is its mean and z standard deviations. `effect` is as of `design_effect`.
    """
    used = sum(1 for index in range(max(len(candidate), len(stable))) if _at(candidate, index) + _at(stable, index))
    n, m = sum(candidate), sum(stable)
    freedom = max(used - 1, 0)
    return effect * (freedom + Z * math.sqrt(2 * freedom)) * (1 / n + 1 / m) if n and m else math.inf


def design_effect(slots: Sequence[Sequence[int]]) -> float | None:
    """By how much predictions vary more between groups of keys than independent rows would; None with one slot.

    The canary is a choice of keys, not of rows: an entity that asks often counts often, and what is said about it is
    nearly the same each time. Slots have different keys too, so how much stable's own histograms differ between them
    tells the size of that: χ² of homogeneity over its degrees of freedom (first-order correction of J. N. K. Rao and
    A. J. Scott, 1984). At least 1.
    """
    groups = [group for group in slots if sum(group)]
    bins = max((len(group) for group in groups), default=0)
    totals = [sum(_at(group, index) for group in groups) for index in range(bins)]
    used = [index for index in range(bins) if totals[index]]
    freedom = (len(groups) - 1) * (len(used) - 1)
    if freedom < 1:
        return None
    rows = sum(totals)
    square = sum(
        (_at(group, index) - sum(group) * totals[index] / rows) ** 2 / (sum(group) * totals[index] / rows)
        for group in groups
        for index in used
    )
    return max(square / freedom, 1.0)


def _shares(counts: Sequence[int], bins: int) -> list[float]:
    total = sum(counts) + _SMOOTHING * bins
    return [(_at(counts, index) + _SMOOTHING) / total for index in range(bins)]


def _at(counts: Sequence[int], index: int) -> int:
    return counts[index] if index < len(counts) else 0
