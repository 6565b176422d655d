"""The estimators that a training file may name: a closed list, regressors and classifiers kept apart.

A name outside its task's list is refused, so "LinearRegression" can never build a classifier. Every entry
is one whose saved file a predictor loads with the project's own list of trusted types (there is a test).
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["CLASSIFIERS", "REGRESSORS", "Encoding", "EstimatorKind", "Task", "catalogue", "estimator_class"]

Task = Literal["regression", "classification"]
Encoding = Literal["ordinal", "target", "onehot"]


@dataclass(frozen=True, slots=True)
class EstimatorKind:
    """What an estimator needs before it: without `takes_missing` numbers are imputed, `scaled` ones scaled."""

    module: str
    encoding: Encoding
    """How strings become numbers when the training file does not say."""
    takes_missing: bool = True
    scaled: bool = False


_BOOSTED = EstimatorKind("sklearn.ensemble", "target")
_FOREST = EstimatorKind("sklearn.ensemble", "target")
_TREE = EstimatorKind("sklearn.tree", "target")
_OLD_BOOSTED = EstimatorKind("sklearn.ensemble", "target", takes_missing=False)
_LINEAR = EstimatorKind("sklearn.linear_model", "onehot", takes_missing=False, scaled=True)
_NEIGHBORS = EstimatorKind("sklearn.neighbors", "onehot", takes_missing=False, scaled=True)

REGRESSORS: Mapping[str, EstimatorKind] = {
    "DecisionTreeRegressor": _TREE,
    "ElasticNet": _LINEAR,
    "ExtraTreesRegressor": _FOREST,
    "GradientBoostingRegressor": _OLD_BOOSTED,
    "HistGradientBoostingRegressor": _BOOSTED,
    "KNeighborsRegressor": _NEIGHBORS,
    "Lasso": _LINEAR,
    "LinearRegression": _LINEAR,
    "RandomForestRegressor": _FOREST,
    "Ridge": _LINEAR,
}

CLASSIFIERS: Mapping[str, EstimatorKind] = {
    "DecisionTreeClassifier": _TREE,
    "ExtraTreesClassifier": _FOREST,
    "GradientBoostingClassifier": _OLD_BOOSTED,
    "HistGradientBoostingClassifier": _BOOSTED,
    "KNeighborsClassifier": _NEIGHBORS,
    "LogisticRegression": _LINEAR,
    "RandomForestClassifier": _FOREST,
}


def catalogue(task: Task) -> Mapping[str, EstimatorKind]:
    return REGRESSORS if task == "regression" else CLASSIFIERS


def estimator_class(task: Task, name: str) -> Any:
    """The scikit-learn class called `name`. Only here is it imported: settings are checked without that wait."""
    return getattr(importlib.import_module(catalogue(task)[name].module), name)
