"""The first step of our pipelines: from what a request holds to columns that estimators understand."""

from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin

__all__ = ["RowCoercer"]


class RowCoercer(TransformerMixin, BaseEstimator):
    """Numbers become float64 (also from their text), everything else text; what is missing, NaN or "".

    It learns nothing from the data, so it cannot leak: it is a type declaration that travels in the
    model file, and makes the pipeline take a raw row in a notebook too.

    Parameters are lists of column names; `missing_values` are texts that mean "not known".
    """

    def __init__(
        self,
        number_features: list[str] | None = None,
        string_features: list[str] | None = None,
        missing_values: list[str] | None = None,
    ) -> None:
        self.number_features = number_features
        self.string_features = string_features
        self.missing_values = missing_values

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:  # noqa: ARG002, N803  # scikit-learn's signature
        self.feature_names_in_ = np.asarray(self._names(), dtype=object)
        self.n_features_in_ = len(self.feature_names_in_)
        return self

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:  # noqa: N803  # scikit-learn's signature
        """The named columns, numbers first. Raises TypeError or ValueError naming what does not fit."""
        if not isinstance(X, pd.DataFrame):
            raise TypeError(f"RowCoercer expected a DataFrame with named columns, was {type(X).__name__}")
        if absent := [name for name in self._names() if name not in X.columns]:
            raise ValueError(f"the DataFrame lacks {', '.join(absent)}")
        missing = set(self.missing_values or ())
        columns: dict[str, Any] = {}
        for name in self.number_features or ():
            columns[name] = _numbers(X[name], missing)
        for name in self.string_features or ():
            columns[name] = _texts(X[name], missing)
        return pd.DataFrame(columns, index=X.index)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:  # noqa: ARG002  # scikit-learn's
        return np.asarray(self._names(), dtype=object)

    def _names(self) -> list[str]:
        return [*(self.number_features or ()), *(self.string_features or ())]


def _numbers(column: pd.Series, missing: set[str]) -> np.ndarray:
    if column.dtype == np.float64:
        return column.to_numpy()
    if column.dtype.kind in "iufb":
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    cleaned = [None if _is_missing(value, missing) else value for value in column.tolist()]
    try:
        return np.array(cleaned, dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"column {column.name}: {error}") from None


def _texts(column: pd.Series, missing: set[str]) -> np.ndarray:
    result = np.empty(len(column), dtype=object)
    result[:] = [
        ("" if value.strip() in missing else value)  # the common case without a call: this runs for each row served
        if isinstance(value, str)
        else ("" if _is_missing(value, missing) else str(value))
        for value in column.tolist()
    ]
    return result


def _is_missing(value: Any, missing: set[str]) -> bool:
    if isinstance(value, str):
        return value.strip() in missing
    return value is None or value is pd.NA or (isinstance(value, float) and value != value)  # noqa: PLR0124  # NaN
