"""Scorer: one row's trouble, the model's or its own, never costs another row its prediction."""

import json
import math
import warnings
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from sklearn.tree import DecisionTreeClassifier

from rollcast_common.contracts import DeadLetterReason as Reason
from rollcast_common.errors import GoldenRowsMismatch, UnusableModel
from rollcast_common.models.card import Feature, GoldenRow, InputSchema
from rollcast_common.models.coerce import RowCoercer
from rollcast_common.models.scoring import Scorer, check_golden_rows

SCHEMA = InputSchema(features=(Feature(name="x", type="number"), Feature(name="kind", type="string")))


class Model:
    """A model that is a function of its frame, and counts its calls."""

    def __init__(self, function: Callable[[pd.DataFrame], Any]) -> None:
        self._function = function
        self.calls = 0

    def predict(self, frame: pd.DataFrame) -> Any:
        self.calls += 1
        return self._function(frame)


def rows(*xs: Any) -> list[bytes | None]:
    return [json.dumps({"x": x, "kind": "k"}).encode() for x in xs]


def scorer(function: Callable[[pd.DataFrame], Any]) -> Scorer:
    return Scorer(Model(function), SCHEMA)


def doubled(frame: pd.DataFrame) -> np.ndarray:
    return frame["x"].to_numpy() * 2


class TestOneBadRow:
    @pytest.mark.parametrize("bad", [0, 1, 511, 512, 1023])
    def test_a_raise_costs_no_other_row_and_few_calls(self, bad: int) -> None:
        def function(frame: pd.DataFrame) -> np.ndarray:
            if bad in frame["x"].to_numpy():
                raise ValueError("cannot do this one\nand here is why")
            return doubled(frame)

        model = Model(function)
        scored = Scorer(model, SCHEMA).score(rows(*range(1024)))
        assert {position: (e.reason, e.message) for position, e in scored.errors.items()} == {
            bad: (Reason.MODEL_ERROR, "the model raised ValueError: cannot do this one")
        }
        assert scored.results == [b"" if x == bad else f"{x * 2}.0".encode() for x in range(1024)]
        assert model.calls == 1 + 2 * math.log2(1024)

    @pytest.mark.parametrize(
        "wrong",
        [
            lambda frame: doubled(frame)[frame["x"].to_numpy() != 3],
            lambda frame: [[1.0, 2.0] if x != 3 else [[], [1.0]] for x in frame["x"]],
        ],
        ids=["a row left out", "a row of another shape"],
    )
    def test_a_wrong_count_or_shape_costs_no_other_row(self, wrong: Callable[[pd.DataFrame], Any]) -> None:
        scored = scorer(wrong).score(rows(1, 2, 3, 4))
        assert list(scored.errors) == [2]
        assert scored.errors[2].reason is Reason.BAD_OUTPUT
        assert [bool(result) for result in scored.results] == [True, True, False, True]

    def test_a_good_batch_is_one_call(self) -> None:
        model = Model(doubled)
        scored = Scorer(model, SCHEMA).score([b"", *rows(1, 2), b"{"])
        assert (scored.results, sorted(scored.errors), model.calls) == ([b"", b"2.0", b"4.0", b""], [0, 3], 1)

    @pytest.mark.parametrize("values", [[], [b"", None, b"["]])
    def test_a_batch_without_a_good_row_is_no_call(self, values: list[bytes | None]) -> None:
        model = Model(doubled)
        scored = Scorer(model, SCHEMA).score(values)
        assert (len(scored.results), len(scored.errors), model.calls) == (len(values), len(values), 0)

    def test_a_model_that_always_raises(self) -> None:
        scored = scorer(lambda frame: frame["nowhere"]).score(rows(1, 2, 3))
        assert scored.results == [b""] * 3
        assert {error.message for error in scored.errors.values()} == {"the model raised KeyError: 'nowhere'"}


class _BrokenError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError(), "the model raised ValueError: "),
        (ValueError("x" * 10_000), "the model raised ValueError: " + "x" * 300),
        (ValueError("\ud800"), "the model raised ValueError: ?"),
        (_BrokenError(), "the model raised _BrokenError: "),
        (RecursionError("deep"), "the model raised RecursionError: deep"),
        (MemoryError("full"), "the model raised MemoryError: full"),
        (Warning("odd"), "the model raised Warning: odd"),
    ],
)
def test_what_a_model_raises_is_one_short_line(error: Exception, message: str) -> None:
    def function(_frame: pd.DataFrame) -> None:
        raise error

    scored = scorer(function).score(rows(1))
    assert scored.errors[0].message == message
    msgspec.json.encode(scored.errors[0])  # as a host sends it


OUTPUTS: dict[str, tuple[Any, bytes]] = {
    "a float": (np.array([1.5]), b"1.5"),
    "a short float": (np.array([0.5], dtype=np.float32), b"0.5"),
    "an int": (np.array([3]), b"3"),
    "a bool": (np.array([True]), b"true"),
    "a class name": (np.array(["red"]), b'"red"'),
    "a class name as an object": (np.array(["red"], dtype=object), b'"red"'),
    "numpy's own inside objects": (np.array([np.float64(2.5)], dtype=object), b"2.5"),
    "numpy's own text": ([np.str_("añejo")], '"añejo"'.encode()),
    "a list": ([7], b"7"),
    "a series": (pd.Series([7.5]), b"7.5"),
    "several": (np.array([[1.0, 2.0]]), b"[1.0,2.0]"),
    "a frame": (pd.DataFrame({"a": [1.0], "b": [2.0]}), b"[1.0,2.0]"),
    "deeper": (np.zeros((1, 2, 1)), b"[[0.0],[0.0]]"),
    "mixed": (np.array([["red", 1]], dtype=object), b'["red",1]'),
}


@pytest.mark.parametrize(("output", "result"), OUTPUTS.values(), ids=OUTPUTS)
def test_outputs(output: Any, result: bytes) -> None:
    scored = scorer(lambda _frame: output).score(rows(1))
    assert (scored.results, scored.errors) == ([result], {})


BAD_OUTPUTS: dict[str, tuple[Any, str]] = {
    "NaN": (np.array([np.nan]), "the model's result: is nan"),
    "infinity": (np.array([-np.inf]), "the model's result: is -inf"),
    "NaN among several": (np.array([[1.0, np.nan]]), "the model's result: is nan"),
    "NaN as an object": (np.array([np.float32("nan")], dtype=object), "the model's result: is nan"),
    "nothing": (None, "the model gave NoneType, not one result for each row"),
    "a bare number": (1.5, "the model gave float, not one result for each row"),
    "no result": ([], "the model gave 0 results for 1 rows"),
    "too many": ([1, 2], "the model gave 2 results for 1 rows"),
    "None": (np.array([None]), "the model's result: is of type NoneType"),
    "a mapping": (np.array([{"a": 1}]), "the model's result: is of type dict"),
    "bytes": (np.array([b"red"]), "the model's result: is of type bytes"),
    "a complex number": (np.array([1j]), "the model's result: is of type complex"),
    "a lone surrogate": (np.array(["\ud800"], dtype=object), "the model's result: 'utf-8' codec can't encode"),
}


@pytest.mark.parametrize(("output", "message"), BAD_OUTPUTS.values(), ids=BAD_OUTPUTS)
def test_bad_outputs(output: Any, message: str) -> None:
    scored = scorer(lambda _frame: output).score(rows(1))
    assert scored.results == [b""]
    assert scored.errors[0].reason is Reason.BAD_OUTPUT
    assert scored.errors[0].message.startswith(message)


def test_a_bad_output_costs_no_other_row() -> None:
    scored = scorer(lambda frame: np.sqrt(frame["x"])).score(rows(4, -1, 9))
    assert (scored.results, list(scored.errors)) == ([b"2.0", b"", b"3.0"], [1])


def test_warnings_do_not_break_scoring() -> None:
    def function(frame: pd.DataFrame) -> np.ndarray:
        warnings.warn("found unknown categories", UserWarning, stacklevel=1)
        return doubled(frame)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scored = scorer(function).score(rows(1, 2))
        assert scored.results == [b"2.0", b"4.0"]
        with pytest.raises(UserWarning, match="the filters are back"):
            warnings.warn("the filters are back", UserWarning, stacklevel=1)


class TestModels:
    def test_a_fitted_pipeline_with_a_card(self) -> None:
        frame = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0], "kind": ["a", "b", "a", "b"]})
        model = make_pipeline(
            RowCoercer(["x"], ["kind"]),
            make_column_transformer(
                (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["kind"]),
                remainder="passthrough",
            ),
            DecisionTreeClassifier(random_state=0),
        ).fit(frame, ["low", "low", "high", "high"])
        scored = Scorer(model, SCHEMA).score([b'{"x": "0", "kind": "a"}', b'{"kind": "never seen", "x": 9}'])
        assert (scored.results, scored.errors) == ([b'"low"', b'"high"'], {})

    def test_without_a_card_the_names_are_the_models_own(self) -> None:
        model = LinearRegression().fit(pd.DataFrame({"b": [0.0, 1.0], "a": [0.0, 0.0]}), [0.0, 2.0])
        scored = Scorer(model, None).score([b'{"a": 5, "b": 3}', b'{"x0": 1, "x1": 2}'])
        assert json.loads(scored.results[0]) == pytest.approx(6.0)
        assert scored.errors[1].message.startswith("feature b is missing")

    def test_without_a_card_and_names_they_are_numbered(self) -> None:
        model = LinearRegression().fit(np.array([[0.0, 0.0], [1.0, 0.0]]), [0.0, 2.0])
        scored = Scorer(model, None).score([b'{"x0": 3, "x1": 1}'])
        assert json.loads(scored.results[0]) == pytest.approx(6.0)

    def test_without_a_card_null_is_a_missing_number(self) -> None:
        frame = pd.DataFrame({"x": [0.0, 1.0, np.nan] * 20})
        model = HistGradientBoostingRegressor(learning_rate=1.0, max_iter=3, min_samples_leaf=1).fit(
            frame, [0.0, 1.0, 5.0] * 20
        )
        scored = Scorer(model, None).score([b'{"x": null}', b'{"x": 1}'])
        assert [round(json.loads(result)) for result in scored.results] == [5, 1]

    def test_a_model_fitted_on_an_array_takes_a_card_too(self) -> None:
        model = LinearRegression().fit(np.array([[0.0], [1.0]]), [0.0, 2.0])
        schema = InputSchema(features=(Feature(name="x", type="number"),))
        assert json.loads(Scorer(model, schema).score(rows(3)).results[0]) == pytest.approx(6.0)

    @pytest.mark.parametrize(
        ("model", "says"),
        [
            (object(), r"object has no predict\(\)"),
            ([1, 2], r"list has no predict\(\)"),
            (Model(doubled), "does not know its features"),
            (LinearRegression(), "does not know its features"),
        ],
    )
    def test_what_cannot_predict_is_refused(self, model: Any, says: str) -> None:
        with pytest.raises(UnusableModel, match=says):
            Scorer(model, None)


class _Descriptive(Model):
    """Tells how its input looked: where a batch could show through."""

    feature_names_in_ = ("x", "kind")

    def __init__(self) -> None:
        super().__init__(
            lambda frame: [
                f"{frame.dtypes['x']} {x!r} {frame.dtypes['kind']} {kind!r}"
                for x, kind in zip(frame["x"], frame["kind"], strict=True)
            ]
        )


_CELL = st.sampled_from(["1", "1.5", '"2"', '"a"', '""', "null", "true", "[]", "1e999", "9" * 400])
_ROW = st.tuples(_CELL, _CELL).map(lambda cells: f'{{"x": {cells[0]}, "kind": {cells[1]}}}'.encode())


@pytest.mark.parametrize("schema", [SCHEMA, None], ids=["card", "no card"])
@given(batch=st.lists(_ROW, max_size=8))
def test_what_the_model_sees_of_a_row_never_depends_on_the_others(
    schema: InputSchema | None, batch: list[bytes | None]
) -> None:
    together = Scorer(_Descriptive(), schema).score(batch)
    for position, value in enumerate(batch):
        alone = Scorer(_Descriptive(), schema).score([value])
        assert together.results[position] == alone.results[0]
        assert together.errors.get(position) == alone.errors.get(0)


class TestGoldenRows:
    @staticmethod
    def golden(x: float, prediction: bytes) -> GoldenRow:
        return GoldenRow(row=msgspec.Raw(rows(x)[0] or b""), prediction=msgspec.Raw(prediction))

    @pytest.mark.parametrize("promise", [b"6.0", b"6", b"6.0000001"])
    def test_kept(self, promise: bytes) -> None:
        check_golden_rows(scorer(doubled), [self.golden(3, promise)])

    def test_lists_are_compared_number_by_number(self) -> None:
        check_golden_rows(scorer(lambda _frame: [[1.0, 2.0]]), [self.golden(3, b"[1.00000001, 2]")])

    @pytest.mark.parametrize(
        ("function", "promise", "says"),
        [
            (doubled, b"6.001", "the card promises 6.001, this model says 6.0"),
            (doubled, b'"red"', "the card promises 'red', this model says 6.0"),
            (lambda _frame: ["white"], b'"red"', "the card promises 'red', this model says 'white'"),
            (lambda _frame: [[1.0, 2.0]], b"[1.0]", r"the card promises \[1.0\], this model says \[1.0, 2.0\]"),
            (lambda _frame: [[1.0]], b"[2.0]", r"the card promises \[2.0\], this model says \[1.0\]"),
            (lambda _frame: [1.0], b"[1.0]", r"the card promises \[1.0\], this model says 1.0"),
            (lambda frame: frame["nowhere"], b"1", "model-error: the model raised KeyError: 'nowhere'"),
        ],
    )
    def test_broken(self, function: Callable[[pd.DataFrame], Any], promise: bytes, says: str) -> None:
        good = self.golden(3, b"6.0")
        with pytest.raises(GoldenRowsMismatch, match=f"golden row .: {says}.*train it again"):
            check_golden_rows(scorer(function), [self.golden(3, promise), good])

    def test_the_row_is_named(self) -> None:
        with pytest.raises(GoldenRowsMismatch, match="golden row 1: "):
            check_golden_rows(scorer(doubled), [self.golden(3, b"6.0"), self.golden(3, b"7.0")])
