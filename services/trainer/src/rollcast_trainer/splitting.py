"""Which rows are held out. Pure: the same rows and seed give the same split."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import coo_array  # type: ignore[import-untyped]  # publishes no types
from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]  # the same

from rollcast_common.errors import DataError

__all__ = ["Split", "split_rows", "units_of"]

_FEWEST_TEST_ROWS = 2
"""r2 is not defined on fewer."""


@dataclass(frozen=True, slots=True)
class Split:
    """Positions of rows, ascending; every row is in exactly one of the two."""

    train: np.ndarray
    test: np.ndarray


def units_of(frame: pd.DataFrame, target: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """A number for each of the n rows; rows with the same number must stay on one side.

    These are rows of one group, and rows that the model could not tell apart: same features and target.
    It chains: where two groups share such a row, both stay together.
    """
    cells = frame.to_numpy(dtype=object)
    twins = _codes([(*row, label) for row, label in zip(map(tuple, cells), target.tolist(), strict=True)])
    if groups is None:
        return twins
    of_group = _codes(groups.tolist())
    # Rows are edges of a graph between groups and kinds of row; a unit is a connected part of it.
    nodes = len(frame) * 2
    edges = coo_array((np.ones(len(frame)), (of_group, len(frame) + twins)), shape=(nodes, nodes))
    _, parts = connected_components(edges, directed=False)
    return np.asarray(parts[of_group])


def split_rows(units: np.ndarray, classes: np.ndarray | None, *, test_size: float, seed: int) -> Split:
    """Hold out about `test_size` of the rows, whole units only, of each class its share.

    `classes` (n labels) is None for regression. Every class keeps a row to train on, so a class with one row
    is not tested. Raises DataError when the units are too large to hold any of them out.
    """
    labels = np.zeros(len(units), dtype=np.int64) if classes is None else np.unique(classes, return_inverse=True)[1]
    totals = np.bincount(labels)
    quota = np.minimum(np.maximum(np.round(totals * test_size), 1), totals - 1).astype(np.int64)
    order = np.argsort(units, kind="stable")
    names, starts = np.unique(units[order], return_index=True)
    members = np.split(order, starts[1:])
    held_out: list[np.ndarray] = []
    taken = np.zeros_like(quota)
    for index in np.random.default_rng(seed).permutation(len(names)):
        rows = members[index]
        with_it = taken + np.bincount(labels[rows], minlength=len(quota))
        if (with_it <= quota).all():
            taken = with_it
            held_out.append(rows)
    if taken.sum() < _FEWEST_TEST_ROWS:
        smallest = min(members, key=len)
        if len(smallest) < _FEWEST_TEST_ROWS or len(names) == 1:
            raise DataError(
                f"{len(units)} rows in {len(names)} groups leave too few rows to test on: a group is never cut, and "
                f"test_size {test_size:g} has room for {int(quota.sum())}; group by another column, or raise test_size"
            )
        held_out = [smallest]
    test = np.sort(np.concatenate(held_out))
    train = np.setdiff1d(np.arange(len(units)), test)
    return Split(train, test)


def _codes(values: Sequence[object]) -> np.ndarray:
    """0, 1, 2, … by first appearance."""
    seen: dict[object, int] = {}
    return np.array([seen.setdefault(value, len(seen)) for value in values], dtype=np.int64)
