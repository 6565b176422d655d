"""Splitting: nothing lost, no group and no twin on both sides, each class its share."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from rollcast_common.errors import DataError
from rollcast_trainer.splitting import split_rows, units_of

ROWS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["1", "2", "3", ""]), st.integers(0, 3), st.integers(0, 30)),
    min_size=20,
    max_size=120,
)


def table(rows: list[tuple[str, str, int, int]]) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    frame = pd.DataFrame([row[:2] for row in rows], columns=["x", "y"], dtype=object)
    return frame, np.array([row[2] for row in rows]), np.array([f"g{row[3]}" for row in rows], dtype=object)


@given(rows=ROWS, grouped=st.booleans(), classes=st.booleans(), seed=st.integers(0, 99))
def test_nothing_is_lost_and_nothing_is_on_both_sides(
    *, rows: list[tuple[str, str, int, int]], grouped: bool, classes: bool, seed: int
) -> None:
    frame, target, groups = table(rows)
    units = units_of(frame, target, groups if grouped else None)
    try:
        split = split_rows(units, target if classes else None, test_size=0.25, seed=seed)
    except DataError:
        reject()  # all rows hang together
    assert sorted([*split.train, *split.test]) == list(range(len(rows)))
    assert len(split.test) >= 2
    assert len(split.train) >= 1
    twins = [(x, y, label) for x, y, label, _ in rows]
    assert not {twins[i] for i in split.train} & {twins[i] for i in split.test}
    if grouped:
        assert not set(groups[split.train]) & set(groups[split.test])


@given(st.integers(20, 200), st.floats(0.1, 0.5), st.integers(0, 99))
def test_single_rows_are_split_to_size(rows: int, test_size: float, seed: int) -> None:
    split = split_rows(np.arange(rows), None, test_size=test_size, seed=seed)
    assert len(split.test) == max(1, round(rows * test_size))


@given(st.lists(st.integers(2, 40), min_size=2, max_size=5), st.integers(0, 99))
def test_each_class_is_tested_by_its_share_and_keeps_a_row_to_train_on(sizes: list[int], seed: int) -> None:
    classes = np.repeat([f"class {index}" for index in range(len(sizes))], sizes)
    split = split_rows(np.arange(len(classes)), classes, test_size=0.2, seed=seed)
    for index, size in enumerate(sizes):
        assert (classes[split.test] == f"class {index}").sum() == max(1, round(size * 0.2))
        assert (classes[split.train] == f"class {index}").any()


def test_groups_that_share_a_row_stay_together() -> None:
    frame = pd.DataFrame({"x": ["1", "2", "2", "3", "4"]}, dtype=object)
    units = units_of(frame, np.array([0, 7, 7, 0, 0]), np.array(["a", "a", "b", "b", "c"], dtype=object))
    assert len(set(units[:4])) == 1
    assert units[4] != units[0]


def test_the_same_seed_gives_the_same_split_and_another_another() -> None:
    one, same, other = (split_rows(np.arange(100), None, test_size=0.2, seed=seed) for seed in (1, 1, 2))
    assert one.test.tolist() == same.test.tolist()
    assert one.test.tolist() != other.test.tolist()


def test_one_group_cannot_be_split() -> None:
    with pytest.raises(DataError, match=r"1 groups leave too few rows to test on.*group by another column"):
        split_rows(np.zeros(50, dtype=int), None, test_size=0.2, seed=1)


def test_two_large_groups_are_split_nevertheless() -> None:
    split = split_rows(np.array([0] * 30 + [1] * 20), None, test_size=0.2, seed=1)
    assert split.test.tolist() == list(range(30, 50))
