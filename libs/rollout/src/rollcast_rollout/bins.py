"""In which bins predictions are counted: made once of what stable says, then the same for both versions."""

from collections import Counter
from collections.abc import Mapping, Sequence

from rollcast_common.contracts import PredictionBins
from rollcast_common.contracts.assignment import Label
from rollcast_rollout.observed import SlotReport

__all__ = ["MIN_BIN_SAMPLES", "bins_of", "collected"]

MIN_BIN_SAMPLES = 500

_PARTS = 10
_MOST_CLASSES = 20
"""More, and most would be too rare to say anything; the rest is counted together."""


def collected(slots: Mapping[int, SlotReport], rollout: int) -> list[Label]:
    """Predictions of stable that slots have kept for this rollout."""
    return [
        sample
        for ordinal in sorted(slots)
        if slots[ordinal].status.rollout == rollout
        for sample in slots[ordinal].status.samples
    ]


def bins_of(samples: Sequence[Label]) -> PredictionBins:
    """Deciles of numbers, or the most frequent classes. `samples` is not empty.

    Few whole numbers are classes. Few different fractions are not: a small regression tree has few leaves, and its
    successor has others, close by.
    """
    numbers = [float(sample) for sample in samples if isinstance(sample, int | float) and not isinstance(sample, bool)]
    few_whole = len(set(numbers)) <= _MOST_CLASSES and all(number.is_integer() for number in numbers)
    if len(numbers) < len(samples) or few_whole:
        return PredictionBins(classes=_classes(samples))
    return PredictionBins(edges=_deciles(sorted(numbers)))


def _classes(samples: Sequence[Label]) -> tuple[Label, ...]:
    # True == 1 in Python, but not in JSON: the type is part of the class.
    frequent = Counter((type(sample).__name__, sample) for sample in samples).most_common()
    frequent.sort(key=lambda item: (-item[1], item[0][0], str(item[0][1])))
    return tuple(label for (_, label), _ in frequent[:_MOST_CLASSES])


def _deciles(values: Sequence[float]) -> tuple[float, ...]:
    """Distinct and below the largest value: no bin is empty of what they were made of."""
    last = len(values)
    edges = {values[max(-(-last * part // _PARTS) - 1, 0)] for part in range(1, _PARTS)} - {values[-1]}
    return tuple(sorted(edges)) or (values[-1],)
