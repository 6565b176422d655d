"""TRUSTED_TYPES is what scikit-learn's estimators need: all of it, and nothing else."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any
from unittest import SkipTest

import numpy as np
import pytest
import skops.io
from sklearn.base import clone
from sklearn.utils import all_estimators
from sklearn.utils._test_common.instance_generator import _construct_instances
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it publishes no types

from rollcast_common.models.allow_list import TRUSTED_TYPES

X = np.abs(np.random.RandomState(0).rand(60, 4))
CLASSES = np.arange(60) % 3
NUMBERS = X[:, 0] * 3 + 1

EXAMPLES = (
    (X, CLASSES),
    (X, CLASSES % 2),
    (X, NUMBERS),
    (X, np.c_[CLASSES % 2, CLASSES]),
)
RARER_EXAMPLES = (
    (X,),
    (X[:, 0], NUMBERS),
    (CLASSES,),
    (np.c_[CLASSES % 2, CLASSES % 2],),
    (["red wine", "white wine", "old port"] * 20,),
    ([{"year": 2009}, {"year": 2010}],),
    (X @ X.T,),
)

# skops cannot save it at all.
UNSUPPORTED = {"Birch"}
# Needs what its example does not hold: a dictionary of atoms, or an estimator that is fitted already.
NOT_FITTED = {"FrozenEstimator", "SparseCoder"}


# Smaller than the defaults: how many trees there are changes no type.
QUICKER = {"n_estimators": 3, "random_state": 0}


def fitted(instance: Any, examples: tuple[tuple[Any, ...], ...]) -> Iterator[Any]:
    parameters = instance.get_params(deep=False)
    instance.set_params(**{name: value for name, value in QUICKER.items() if name in parameters})
    for example in examples:
        with contextlib.suppress(Exception):  # this estimator is not for this example
            yield clone(instance).fit(*example)


def fits(estimator: Any) -> Iterator[Any]:
    """The estimator fitted with its defaults to each kind of target, and as scikit-learn's own tests make it."""
    with contextlib.suppress(TypeError):  # it needs an argument
        instance = estimator()
        yield from list(fitted(instance, EXAMPLES)) or fitted(instance, RARER_EXAMPLES)
    with contextlib.suppress(SkipTest):  # they do not make it
        for instance in _construct_instances(estimator):
            yield from list(fitted(instance, EXAMPLES[:1])) or fitted(instance, EXAMPLES[1:] + RARER_EXAMPLES)


@pytest.fixture(scope="session")
def asked() -> dict[str, set[str]]:
    """Of each estimator that can be fitted and saved: the types that skops would not load by itself."""
    result: dict[str, set[str]] = {}
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        for name, estimator in all_estimators():
            if name in UNSUPPORTED:
                continue
            for model in fits(estimator):
                types = skops.io.get_untrusted_types(data=skops.io.dumps(model))
                result.setdefault(name, set()).update(types)
    return result


def test_every_estimator_was_tried(asked: dict[str, set[str]]) -> None:
    assert {name for name, _ in all_estimators()} - set(asked) == UNSUPPORTED | NOT_FITTED


def test_no_estimator_asks_for_more(asked: dict[str, set[str]]) -> None:
    assert {name: types - TRUSTED_TYPES for name, types in asked.items() if types - TRUSTED_TYPES} == {}


def test_nothing_is_trusted_that_nobody_asks_for(asked: dict[str, set[str]]) -> None:
    ours = {name for name in TRUSTED_TYPES if name.startswith("rollcast_common.")}
    assert ours == {"rollcast_common.models.coerce.RowCoercer"}
    assert TRUSTED_TYPES - ours - set().union(*asked.values()) == set()


def test_only_numeric_libraries_and_our_own_are_trusted() -> None:
    assert {name.split(".")[0] for name in TRUSTED_TYPES} == {"numpy", "rollcast_common", "scipy", "sklearn"}
