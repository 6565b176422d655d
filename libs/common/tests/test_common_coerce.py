"""RowCoercer: the first step of our pipelines."""

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from rollcast_common.models.coerce import RowCoercer
from rollcast_common.models.files import load_model, save_model


def coercer() -> RowCoercer:
    return RowCoercer(["year"], ["winery"], ["", "N.V."])


def years(values: Any) -> list[float]:
    frame = pd.DataFrame({"winery": "x", "year": values})
    result = coercer().fit_transform(frame)["year"]
    assert result.dtype == np.float64
    return list(result)


def wineries(values: Any) -> list[str]:
    return list(coercer().fit_transform(pd.DataFrame({"year": 0, "winery": values}))["winery"])


class TestNumbers:
    @pytest.mark.parametrize(
        "values",
        [
            ["2009", " 1.5 "],
            [2009, 1.5],
            [2009, "1.5"],
            pd.array(["2009", "1.5"], dtype="string"),
            pd.array(["2009", "1.5"], dtype="str"),
            pd.array(["2009", "1.5"], dtype="category"),
            np.array([2009, 1.5], dtype=np.float32),
            pd.array([2009, 1.5], dtype="Float64"),
        ],
        ids=lambda values: str(getattr(values, "dtype", values)),
    )
    def test_from_whatever_holds_them(self, values: Any) -> None:
        assert years(values) == [2009.0, 1.5]

    @pytest.mark.parametrize(
        "values",
        [
            [1.0, None],
            [1, np.nan],
            ["1", ""],
            ["1", " N.V. "],
            ["1", None],
            pd.array([1, None], dtype="Int64"),
            pd.array([1, None], dtype="Float64"),
            pd.array(["1", None], dtype="string"),
            pd.array(["1", None], dtype="str"),
            np.array([1, np.float32("nan")], dtype=object),
        ],
        ids=lambda values: str(getattr(values, "dtype", values)),
    )
    def test_what_is_missing_is_nan(self, values: Any) -> None:
        first, second = years(values)
        assert first == 1.0
        assert math.isnan(second)

    def test_bools_are_numbers_as_numpy_has_it(self) -> None:
        assert years([True, False]) == [1.0, 0.0]

    @pytest.mark.parametrize("values", [["1", "abc"], ["1", object()], ["1", 10**400]])
    def test_what_is_no_number_names_its_column(self, values: Any) -> None:
        with pytest.raises(ValueError, match="column year: "):
            years(values)


class TestTexts:
    @pytest.mark.parametrize("dtype", ["object", "str", "string", "category"])
    def test_from_whatever_holds_them(self, dtype: Any) -> None:
        column = pd.Series(["Artadi", " N.V. ", "", None, " x "]).astype(dtype)
        assert wineries(column) == ["Artadi", "", "", "", " x "]

    @pytest.mark.parametrize("nothing", [None, np.nan, np.float32("nan"), pd.NA])
    def test_what_is_missing_is_empty(self, nothing: Any) -> None:
        assert wineries(np.array(["a", nothing], dtype=object)) == ["a", ""]

    def test_numbers_become_their_text_one_by_one(self) -> None:
        assert wineries(np.array([1, 1.0, True, "1"], dtype=object)) == ["1", "1.0", "True", "1"]

    def test_a_column_of_short_floats(self) -> None:
        assert wineries(np.array([1.5, np.nan], dtype=np.float32)) == ["1.5", ""]


class TestEstimator:
    def test_columns_come_out_in_the_declared_order_and_no_others(self) -> None:
        frame = pd.DataFrame({"extra": [1], "winery": ["a"], "year": ["2"]}, index=[7])
        result = coercer().fit(frame).transform(frame)
        assert list(result.columns) == ["year", "winery"]
        assert list(result.index) == [7]
        assert list(coercer().get_feature_names_out()) == ["year", "winery"]

    def test_fitted_attributes(self) -> None:
        fitted = coercer().fit(pd.DataFrame({"year": [1], "winery": ["a"]}))
        assert list(fitted.feature_names_in_) == ["year", "winery"]
        assert fitted.n_features_in_ == 2
        assert list(make_pipeline(fitted).feature_names_in_) == ["year", "winery"]

    def test_it_learns_nothing(self) -> None:
        one = coercer().fit(pd.DataFrame({"year": [1], "winery": ["a"]}))
        other = coercer().fit(pd.DataFrame({"year": [5, 6], "winery": ["b", "c"]}), [1, 2])
        assert pickle.dumps(one) == pickle.dumps(other)

    def test_parameters_and_clone(self) -> None:
        assert coercer().get_params() == {
            "number_features": ["year"],
            "string_features": ["winery"],
            "missing_values": ["", "N.V."],
        }
        original = coercer().fit(pd.DataFrame({"year": [1], "winery": ["a"]}))
        copy = clone(original)
        assert copy.get_params() == original.get_params()
        assert not hasattr(copy, "feature_names_in_")
        assert copy.set_params(number_features=["age"]).number_features == ["age"]
        assert RowCoercer().fit_transform(pd.DataFrame({"a": [1]})).shape == (1, 0)

    def test_an_empty_frame(self) -> None:
        result = coercer().fit_transform(pd.DataFrame({"year": [], "winery": []}))
        assert result.shape == (0, 2)

    def test_the_input_is_not_changed(self) -> None:
        frame = pd.DataFrame({"year": ["1", ""], "winery": ["N.V.", "a"]})
        before = frame.copy(deep=True)
        coercer().fit_transform(frame)
        pd.testing.assert_frame_equal(frame, before)

    def test_a_lacking_column_is_named(self) -> None:
        with pytest.raises(ValueError, match="the DataFrame lacks year, winery"):
            coercer().fit(pd.DataFrame()).transform(pd.DataFrame({"a": [1]}))

    def test_an_array_is_refused(self) -> None:
        with pytest.raises(TypeError, match="expected a DataFrame with named columns, was ndarray"):
            coercer().transform(np.zeros((1, 2)))  # type: ignore[arg-type]  # what a notebook may do

    def test_skops_round_trip_with_our_own_list(self, tmp_path: Path) -> None:
        frame = pd.DataFrame({"year": ["1", "2"], "winery": ["a", "b"]})
        pipeline = make_pipeline(RowCoercer(["year"], [], ["", "N.V."]), StandardScaler()).fit(frame)
        save_model(pipeline, tmp_path / "m.skops")
        loaded = load_model(tmp_path / "m.skops", "skops")
        np.testing.assert_array_equal(loaded.transform(frame), pipeline.transform(frame))
        assert loaded[0].get_params() == pipeline[0].get_params()
