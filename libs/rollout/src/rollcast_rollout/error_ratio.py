"""Is a share really above a threshold, or does it only look so in a few rows?"""

import math

__all__ = ["Z", "wilson_lower_bound"]

Z = 2.58
"""Standard deviations. A share that is truly at the threshold is taken for higher in 1 look of 200."""


def wilson_lower_bound(failures: int, rows: int, z: float = Z) -> float:
    """Lower end of Wilson's score interval for a share (E. B. Wilson, 1927): it keeps its promise with few rows and
    with shares near 0, where the usual normal interval does not.
    """
    if rows <= 0:
        return 0.0
    share = min(failures / rows, 1.0)
    square = z * z
    spread = z * math.sqrt(share * (1 - share) / rows + square / (4 * rows * rows))
    return max((share + square / (2 * rows) - spread) / (1 + square / rows), 0.0)
