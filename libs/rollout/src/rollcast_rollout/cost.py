"""Is the candidate slower than stable on the same rows? From ratios of scoring times, one for each compared batch."""

import math
from collections.abc import Sequence

from rollcast_common.contracts.predictor_status import cost_ratio
from rollcast_rollout.error_ratio import Z

__all__ = ["MIN_BATCHES", "median_lower_bound"]

MIN_BATCHES = 20
"""With fewer, the bound below is one of the three smallest ratios: a single quick batch would decide."""


def median_lower_bound(bins: Sequence[int], z: float = Z) -> float | None:
    """Lower confidence bound of the median ratio; None with too few batches.

    The median of n values lies above the k-th smallest with the probability that more than k of n coin tosses fall
    on one side; k = (n - z·√n) / 2 by the normal approximation. It needs no assumption about how times are spread,
    and a few batches that met a busy machine do not move it.
    """
    batches = sum(bins)
    if batches < MIN_BATCHES:
        return None
    rank = max(math.floor((batches - z * math.sqrt(batches)) / 2), 1)
    seen = 0
    for index, count in enumerate(bins):
        seen += count
        if seen >= rank:
            return cost_ratio(index)
    return None  # pragma: no cover  # rank is at most the number of batches
