"""The figures that verdicts are made of, against what is known of them."""

import math
import random

import hypothesis.strategies as st
import pytest
from hypothesis import given

from rollcast_common.contracts import PredictionBins
from rollcast_common.contracts.predictor_status import COST_BINS, cost_bin
from rollcast_rollout.bins import bins_of
from rollcast_rollout.cost import median_lower_bound
from rollcast_rollout.drift import design_effect, psi, psi_noise
from rollcast_rollout.error_ratio import wilson_lower_bound

COUNTS = st.lists(st.integers(0, 2_000), min_size=1, max_size=20)


def test_wilson_is_as_published() -> None:
    # 95 %: 10 of 100 is 0.0552 to 0.1744.
    assert wilson_lower_bound(10, 100, z=1.96) == pytest.approx(0.0552, abs=1e-4)


@given(st.integers(0, 5_000), st.integers(0, 5_000))
def test_the_bound_is_a_ratio_below_the_ratio(failures: int, more: int) -> None:
    rows = failures + more
    bound = wilson_lower_bound(failures, rows)
    assert 0 <= bound <= (failures / rows if rows else 0) + 1e-12


def test_a_true_ratio_at_the_threshold_is_rarely_above_it() -> None:
    rng = random.Random(1)  # noqa: S311  # a test with a seed
    above = sum(wilson_lower_bound(sum(rng.random() < 0.01 for _ in range(2_000)), 2_000) > 0.01 for _ in range(400))
    assert above <= 8


def test_cost_is_judged_from_twenty_batches_on() -> None:
    bins = [0] * COST_BINS
    bins[cost_bin(3.0)] = 19
    assert median_lower_bound(bins) is None
    bins[cost_bin(3.0)] = 20
    assert median_lower_bound(bins) == pytest.approx(3.0, rel=0.1)


def test_a_few_slow_batches_do_not_make_a_model_slow() -> None:
    bins = [0] * COST_BINS
    bins[cost_bin(1.0)], bins[cost_bin(8.0)] = 60, 40
    bound = median_lower_bound(bins)
    assert bound is not None
    assert bound < 1.1


@given(COUNTS, COUNTS)
def test_psi_is_a_distance(a: list[int], b: list[int]) -> None:
    assert psi(a, b) == pytest.approx(psi(b, a))
    assert psi(a, b) >= -1e-12
    assert psi(a, a) == pytest.approx(0)


def test_psi_as_computed_by_hand() -> None:
    expected = (0.6 - 0.5) * math.log(0.6 / 0.5) + (0.4 - 0.5) * math.log(0.4 / 0.5)
    assert psi([6_000_000, 4_000_000], [5_000_000, 5_000_000]) == pytest.approx(expected, abs=1e-6)


def test_chance_explains_the_psi_of_one_distribution() -> None:
    rng = random.Random(1)  # noqa: S311  # a test with a seed
    exceeded = 0
    for _ in range(300):
        a, b = ([0] * 10 for _ in range(2))
        for bins in (a, b):
            for _ in range(500):
                bins[rng.randrange(10)] += 1
        exceeded += psi(a, b) > psi_noise(a, b)
    assert exceeded <= 6


def test_rows_have_no_design_effect_and_entities_have() -> None:
    rng = random.Random(1)  # noqa: S311  # a test with a seed
    rows = [[0] * 10 for _ in range(6)]
    entities = [[0] * 10 for _ in range(6)]
    for slot in range(6):
        for _ in range(1_000):
            rows[slot][rng.randrange(10)] += 1
        for _ in range(20):
            entities[slot][rng.randrange(10)] += 50
    independent, clustered = design_effect(rows), design_effect(entities)
    assert independent is not None
    assert clustered is not None
    assert independent < 2
    assert clustered > 10
    assert design_effect(rows[:1]) is None


def test_numbers_are_binned_by_deciles() -> None:
    assert bins_of([value / 2 for value in range(1, 101)]) == PredictionBins(edges=tuple(range(5, 50, 5)))


def test_a_model_that_says_few_different_numbers_has_few_bins() -> None:
    assert bins_of([0.5] * 600) == PredictionBins(edges=(0.5,))
    assert bins_of([0.5] * 300 + [1.5] * 300) == PredictionBins(edges=(0.5,))


def test_classes_are_binned_by_name_the_frequent_first() -> None:
    assert bins_of(["b"] * 3 + ["a"] * 2) == PredictionBins(classes=("b", "a"))
    assert bins_of([0, 1, 1]) == PredictionBins(classes=(1, 0))
    assert bins_of([True, False, True]) == PredictionBins(classes=(True, False))
    assert bins_of([str(number) for number in range(100)]).count == 21


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=600))
def test_edges_ascend(samples: list[float]) -> None:
    bins = bins_of(samples)
    assert bool(bins.edges) != bool(bins.classes)
    assert list(bins.edges) == sorted(set(bins.edges))
