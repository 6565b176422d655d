"""From settings to an unfitted scikit-learn Pipeline that takes raw rows.

    RowCoercer ─► model: [ numbers ─► (impute, scale) ┐ ─► estimator ], on log1p of the target if so set
                         [ strings ─► encoder ────────┘

Everything that learns from data, encoders included, is inside: it can only be fitted on what the whole
pipeline is fitted on, the training rows, and it travels in the model file.
"""

from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.impute import SimpleImputer
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler, TargetEncoder
from sklearn.utils._param_validation import InvalidParameterError

from rollcast_common.errors import ConfigError
from rollcast_common.models.coerce import RowCoercer
from rollcast_trainer.estimators import estimator_class
from rollcast_trainer.settings import FeatureSettings, TrainSettings

__all__ = ["build_pipeline"]

_CROSS_FITTING_FOLDS = 5


def build_pipeline(settings: TrainSettings, features: FeatureSettings) -> Pipeline:
    """Unfitted. Fit it on a frame of texts with the columns of `features`.

    Raises ConfigError when the estimator does not know a parameter, or not such a value of it.
    """
    model: Any = Pipeline([("encode", _columns(settings, features)), ("estimator", _estimator(settings))])
    if settings.target_transform == "log1p":
        # Around encoder and estimator, so that a target encoder averages the same target that is learned.
        model = TransformedTargetRegressor(model, func=np.log1p, inverse_func=np.expm1, check_inverse=False)
    coercer = RowCoercer(
        number_features=list(features.numbers),
        string_features=list(features.strings),
        missing_values=list(settings.missing_values),
    )
    return Pipeline([("coerce", coercer), ("model", model)])


def _estimator(settings: TrainSettings) -> Any:
    name, params = settings.estimator.type, dict(settings.estimator.params)
    estimator = estimator_class(settings.task, name)()
    allowed = sorted(estimator.get_params())
    if unknown := sorted(set(params) - set(allowed)):
        raise ConfigError(f"estimator.params.{unknown[0]} is not a parameter of {name}; may be {', '.join(allowed)}")
    if "random_state" in allowed:
        params.setdefault("random_state", settings.split.seed)
    estimator.set_params(**params)
    try:
        estimator._validate_params()  # noqa: SLF001  # fit() calls it too, but only after everything was read
    except InvalidParameterError as error:
        raise ConfigError(f"estimator.params: {error}") from None
    return estimator


def _columns(settings: TrainSettings, features: FeatureSettings) -> ColumnTransformer:
    parts: list[tuple[str, Any, list[str]]] = []
    if features.numbers:
        parts.append(("numbers", _numbers(settings), list(features.numbers)))
    if features.strings:
        parts.append(("strings", _strings(settings), list(features.strings)))
    return ColumnTransformer(parts, sparse_threshold=0)


def _numbers(settings: TrainSettings) -> Any:
    if settings.kind.takes_missing:
        return "passthrough"
    impute = SimpleImputer(strategy="median", keep_empty_features=True)
    return Pipeline([("impute", impute), ("scale", StandardScaler())]) if settings.kind.scaled else impute


def _strings(settings: TrainSettings) -> Any:
    encoding = settings.encoding or settings.kind.encoding
    if encoding == "target":
        # Cross-fitting: a training row's own target is not in the average that it is trained with.
        return TargetEncoder(cv=KFold(_CROSS_FITTING_FOLDS, shuffle=True, random_state=settings.split.seed))
    if encoding == "onehot":
        return OneHotEncoder(
            handle_unknown="infrequent_if_exist", max_categories=settings.max_categories, sparse_output=False
        )
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, max_categories=settings.max_categories)
