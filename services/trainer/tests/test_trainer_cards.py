"""What a card says about inputs, golden rows and predictions."""

from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollcast_common.errors import UnusableModel
from rollcast_common.models.scoring import Scorer, check_golden_rows
from rollcast_trainer.cards import golden_rows, histogram, input_schema
from rollcast_trainer.pipelines import build_pipeline
from rollcast_trainer.settings import FeatureSettings

FEATURES = FeatureSettings(numbers=("size", "mean age"), strings=("kind",))
MISSING = ("", "NA")


def frame(rows: int = 80) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "size": [str(index) for index in range(rows)],
            "mean age": ["NA" if index % 10 == 3 else "7.5" for index in range(rows)],
            "kind": [f"kind {index if index < 60 else 0}" for index in range(rows)],
        },
        dtype=object,
    )


def test_the_schema_says_types_ranges_categories_and_what_may_be_lacking() -> None:
    size, age, kind = input_schema(frame(), FEATURES, MISSING).features
    assert (size.type, size.required, size.minimum, size.maximum) == ("number", True, 0.0, 79.0)
    assert (age.name, age.required, age.minimum, age.maximum) == ("mean age", False, 7.5, 7.5)
    assert (kind.type, kind.required, kind.category_count, len(kind.categories)) == ("string", True, 60, 50)
    assert kind.categories[0] == "kind 0"


@pytest.fixture
def fitted(settings_with: Any) -> Any:
    settings = settings_with(
        features={"numbers": list(FEATURES.numbers), "strings": list(FEATURES.strings)},
        missing_values=list(MISSING),
        split={},
    )
    return build_pipeline(settings, FEATURES).fit(frame(), np.arange(80.0))


def test_golden_rows_are_texts_as_the_file_has_them_and_hold_for_the_model(fitted: Any) -> None:
    schema = input_schema(frame(), FEATURES, MISSING)
    golden = golden_rows(fitted, schema, frame(), fitted.predict(frame()))
    rows = [msgspec.json.decode(row.row) for row in golden]
    assert 8 <= len(rows) <= 10
    assert all(isinstance(value, str) for row in rows for value in row.values())
    assert any(row.get("mean age") == "NA" for row in rows)
    assert any("mean age" not in row for row in rows)
    check_golden_rows(Scorer(fitted, schema), golden)


def test_a_held_out_row_that_lacks_a_required_feature_is_no_golden_row(fitted: Any) -> None:
    schema = input_schema(frame(), FEATURES, MISSING)
    test = frame()
    test.loc[:70, "size"] = "NA"
    golden = golden_rows(fitted, schema, test, np.arange(80.0))
    assert 0 < len(golden) < 8
    test["size"] = "NA"
    with pytest.raises(UnusableModel, match="none of its own held-out rows"):
        golden_rows(fitted, schema, test, np.arange(80.0))


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=200))
def test_every_prediction_is_in_one_bin(values: list[float]) -> None:
    found = histogram(np.array(values), None)
    assert sum(found.counts) == len(values)
    assert len(found.edges) == len(found.counts) - 1 <= 9
    assert list(found.edges) == sorted(set(found.edges))


def test_bins_are_deciles() -> None:
    assert histogram(np.arange(100.0), None).counts == (10,) * 10


def test_classes_are_counted() -> None:
    found = histogram(np.array(["b", "b", "a"]), np.array(["a", "b", "c"]))
    assert (found.classes, found.counts) == (("a", "b", "c"), (1, 2, 0))
