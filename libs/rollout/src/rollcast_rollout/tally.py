"""Counters of the slots, added up: over a whole rollout, and since a step began.

A slot counts from 0 again when its process starts, so a slot's base is worth something only for the instance that
it was taken from. A restart makes samples fewer, never negative.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from itertools import zip_longest
from operator import add

import msgspec

from rollcast_common.contracts import PredictorStatus
from rollcast_rollout.observed import SlotReport
from rollcast_rollout.record import SlotBase, Tally

__all__ = ["Counts", "bases", "counts"]


class Counts(msgspec.Struct, frozen=True):
    """`slots` are the parts that `total` is the sum of."""

    total: Tally
    slots: tuple[Tally, ...]


def counts(slots: Mapping[int, SlotReport], rollout: int, base: Mapping[int, SlotBase] | None = None) -> Counts:
    """What was counted for the rollout that began with generation `rollout`, since `base` if there is one.

    Slots that are no longer expected count too: their rows were scored.
    """
    parts = tuple(
        _since(tally_of(status), status.instance, (base or {}).get(ordinal))
        for ordinal, status in _of_rollout(slots, rollout)
    )
    return Counts(_sum(parts), parts)


def bases(slots: Mapping[int, SlotReport], rollout: int) -> dict[int, SlotBase]:
    """Where the counters stand now, to be subtracted later."""
    return {
        ordinal: SlotBase(status.instance, tally_of(status))
        for ordinal, status in _of_rollout(slots, rollout)
        if tally_of(status) != Tally()
    }


def tally_of(status: PredictorStatus) -> Tally:
    candidate, compared = status.candidate_counts, status.comparison
    return Tally(
        rows=candidate.rows,
        errors=candidate.errors,
        predictions=candidate.predictions,
        timeouts=candidate.timeouts,
        deaths=candidate.deaths,
        compared_rows=compared.rows,
        compared_errors=compared.errors,
        disagreements=compared.disagreements,
        candidate_bins=tuple(candidate.bins),
        stable_bins=tuple(status.stable_counts.bins),
        cost_bins=_without_end_zeros(compared.cost_bins),
    )


def _of_rollout(slots: Mapping[int, SlotReport], rollout: int) -> list[tuple[int, PredictorStatus]]:
    return [(ordinal, slots[ordinal].status) for ordinal in sorted(slots) if slots[ordinal].status.rollout == rollout]


def _without_end_zeros(values: Iterable[int]) -> tuple[int, ...]:
    """Most of a cost histogram is empty, and a base is written down for each slot."""
    values = list(values)
    while values and values[-1] == 0:
        values.pop()
    return tuple(values)


def _since(now: Tally, instance: str, base: SlotBase | None) -> Tally:
    if base is None or base.instance != instance:
        return now
    return _combined(now, base.tally, lambda count, before: max(count - before, 0))


def _sum(parts: Iterable[Tally]) -> Tally:
    return reduce(lambda a, b: _combined(a, b, add), parts, Tally())


def _combined(a: Tally, b: Tally, combine: Callable[[int, int], int]) -> Tally:
    def bins(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(combine(x, y) for x, y in zip_longest(one, other, fillvalue=0))

    return Tally(
        rows=combine(a.rows, b.rows),
        errors=combine(a.errors, b.errors),
        predictions=combine(a.predictions, b.predictions),
        timeouts=combine(a.timeouts, b.timeouts),
        deaths=combine(a.deaths, b.deaths),
        compared_rows=combine(a.compared_rows, b.compared_rows),
        compared_errors=combine(a.compared_errors, b.compared_errors),
        disagreements=combine(a.disagreements, b.disagreements),
        candidate_bins=bins(a.candidate_bins, b.candidate_bins),
        stable_bins=bins(a.stable_bins, b.stable_bins),
        cost_bins=bins(a.cost_bins, b.cost_bins),
    )
