"""A condition means what SQL says of one prediction, and nothing else gets through."""

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.env.predictions import a_prediction

from rollcast_notifier.rules.conditions import WrongCondition, parse_condition
from rollcast_notifier.rules.facts import facts_of
from rollcast_notifier.rules.matching import Matcher

ROOT = Path(__file__).resolve().parents[3]
FEATURES = {
    "country": "Spain",
    "winery": "Vega Sicilia",
    "year": "2009",
    "rating": 4.7,
    "gone": None,
    "flag": True,
    "sold": "24.12.2026",
}


def is_true(condition: str, **others: Any) -> bool:
    prediction = a_prediction(**{"value": 60.5, "features": FEATURES, "headers": {"tier": "gold"}, **others})
    return Matcher([parse_condition(condition)]).matches([facts_of(prediction)]) == [[0]]


def refusal(condition: str) -> str | None:
    try:
        parse_condition(condition)
    except WrongCondition as refused:
        return str(refused)
    return None


@pytest.mark.parametrize(
    "condition",
    [
        "prediction > 50 and features.country = 'Spain'",
        "prediction between 60 and 61",
        "round(prediction) in (60, 61)",
        "features.rating >= 4.5",
        "features.rating in (4.6, 4.7)",
        "features.year > 2005",
        "features.year in (2009, 2010)",
        "features.year = '2009'",
        "cast(features.year as int) = 2009",
        "cast(features.winery as int) is null",
        "date(features.sold, '%d.%m.%Y') between date '2026-01-01' and date '2026-12-31'",
        "date(features.winery, '%Y') is null",
        "features.winery like 'Vega%'",
        "features.winery ~ '^V.*a$'",
        "upper(left(features.winery, 4)) = 'VEGA'",
        "features.winery || '!' = 'Vega Sicilia!'",
        "features.gone is null and features.absent is null and features.rating is not null",
        "coalesce(features.gone, 5) = 5",
        "features.flag",
        "not fallback",
        "headers.tier = 'gold' and headers.other is null",
        "key = 'wine-7' and model = 'wine-price' and version = '2022-08-19' and track = 'stable' and request_id = 'r1'",
        "abs(prediction - features.rating) > 50",
        "case when features.country = 'Spain' then features.rating else 0 end > 4",
        "features.country = 'Spain' -- and nothing else",
        "(prediction > 1000) or (features.country in ('Spain', 'Italy'))",
        '"features"."country" = \'Spain\'',
    ],
)
def test_what_is_true(condition: str) -> None:
    assert is_true(condition)


@pytest.mark.parametrize(
    "condition",
    [
        "prediction > 60.5",
        "features.country = 'spain'",
        "features.absent > 1",
        "not features.absent > 1",
        "features.absent = 'x' or features.gone != 'x'",
        "features.country > 5",
        "prediction = 'malignant'",
        "fallback",
        "headers.tier > 5",
    ],
)
def test_what_is_false_or_not_known(condition: str) -> None:
    assert not is_true(condition)


@pytest.mark.parametrize(
    ("value", "condition", "expected"),
    [
        ("malignant", "prediction = 'malignant'", True),
        ("malignant", "prediction > 5", False),
        (True, "prediction", True),
        (True, "prediction = 1", False),
        (1, "prediction = 1", True),
        ([1, 7.5], "prediction[2] > 7", True),
        ([1, 7.5], "prediction > 0", False),
        (["a", "b"], "array_contains(prediction, 'b')", True),
        (None, "prediction is null", True),
    ],
)
def test_a_prediction_may_be_of_any_kind(*, value: Any, condition: str, expected: bool) -> None:
    assert is_true(condition, value=value) is expected


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({"a": "x", "b": "x"}, True),
        ({"a": "007", "b": "7"}, False),
        ({"a": 7, "b": 7.0}, True),
        ({"a": "7", "b": 7}, True),
        ({"a": True, "b": True}, True),
        ({"a": 7, "b": 8}, False),
        ({"a": None, "b": None}, False),
    ],
)
def test_two_columns_are_compared_as_what_both_are(*, features: dict[str, Any], expected: bool) -> None:
    assert is_true("features.a = features.b", features=features) is expected


@pytest.mark.parametrize("text", ["N.V.", "", "nan", "inf", "1_000", " ", "2009-01"])
def test_a_text_that_is_no_number_is_as_if_it_were_not_there(text: str) -> None:
    """NaN above all: SQL holds it for greater than every number."""
    assert not is_true("features.year > 0", features={"year": text})
    assert is_true("features.year is null or features.year > 0", features={"year": text})


@pytest.mark.parametrize(
    ("condition", "why"),
    [
        ("", "unable to parse"),
        ("prediction >", "unable to parse"),
        ("(((", "unable to parse"),
        ("'x", "Unterminated string"),
        ("prediction > 50; drop table x", "unexpected token"),
        ("prediction > 50 limit 1", "limit"),
        ("prediction + 1", "number|true or false"),
        ("prediction > 5 or 1", "true or false"),
        ("true", "looks at no column"),
        ("1 = 1", "looks at no column"),
        ("nosuch = 1", "no column 'nosuch'; a feature is written features.nosuch"),
        ("Prediction > 1", "did you mean prediction?"),
        ('key = "Spain"', "single quotes"),
        ("features is null", "whole group"),
        ("features.a.b = 1", "features.<name>"),
        ("version = 2022", "version for a number; it is a text"),
        ("features.a > 5 and features.a = 'x'", "for a number and for a text"),
        ("key ~ '('", "regex"),
        ("key ~ 'a{1000}{1000}{1000}'", "regex"),
        ("sum(prediction) > 1", "other rows"),
        ("count(*) > 1", "other rows"),
        ("first(prediction) > 1", "other rows"),
        ("prediction > all(1)", "other rows"),
        ("row_number() over (order by prediction) = 1", "other rows|conditions have not"),
        ("rank() over (order by prediction) = 1", "conditions have not"),
        ("sum(prediction) over (partition by key) > 1", "other rows"),
        ("lag(prediction) over (order by key) > 1", "other rows"),
        ("lag(prediction) > 1", "OVER"),
        ("date(features.a) > date '2020-01-01'", "without saying how it is written"),
        ("try_cast(features.a as date) > date '2020-01-01'", "cannot be computed: .* read by DATE"),
        ("unnest(key) = 'a'", "several rows"),
        ("columns('a.*') > 1", "several columns"),
        ('features."^.*$" = 1', "conditions have not"),
        ('"^pred.*$" > 1', "several columns"),
        ("*", "unable to parse"),
        ("exists (select 1)", "SELECT"),
        ("prediction > (SELECT 1)", "SELECT"),
        ("key in (select key from self)", "SELECT"),
        ("select * from read_csv('/etc/passwd')", "SELECT"),
        ("prediction > 1 union select 1", "SELECT"),
        ("read_csv('/etc/passwd') = 'x'", "read_csv"),
        ("read_parquet('/etc/passwd')", "read_parquet"),
        ("random() > 0.5", "random"),
        ("prediction > current_date", "current_date would be the time"),
        ("now() > timestamp '2020-01-01 00:00:00'", "now would be the time"),
        ("prediction > 0 and " * 200 + "fallback", "has 3808 characters, may have 2000"),
    ],
)  # fmt: skip
def test_what_is_refused(condition: str, why: str) -> None:
    with pytest.raises(WrongCondition, match=why) as refused:
        parse_condition(condition)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "condition",
    ["+".join(["prediction"] * 180) + " > 1", " or ".join(["key = 'a'"] * 150), "(" * 900 + "key = 'a'" + ")" * 900,
     "not " * 400 + "fallback", "-" * 1900 + "1 = prediction", "case when true then " * 60 + "key = 'a'" + " end" * 60],
)  # fmt: skip
def test_what_is_long_or_nested_ends_in_a_condition_or_an_error(condition: str) -> None:
    assert len(refusal(condition) or "") < 400


@settings(max_examples=100)
@given(st.text(st.sampled_from("()'\"`., ><=-+*/%abpredictionfeatures1205_ \n"), max_size=40))
def test_any_text_is_a_condition_or_an_error(text: str) -> None:
    assert refusal(text) != ""


def test_one_thread_is_enough() -> None:
    """It would start one for each core of the machine, whatever the pod may use."""
    environment = {name: value for name, value in os.environ.items() if name != "POLARS_MAX_THREADS"}
    program = "import rollcast_notifier.rules.matching, polars; print(polars.thread_pool_size())"
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "1"


CONDITIONS = [
    "prediction > 50",
    "features.a > 2",
    "features.a = 'x' and prediction <= 50",
    "features.a is null or features.b is not null",
    "features.a = features.b",
    "coalesce(features.a, features.b, 7) = 7",
    "cast(prediction as int) = 3",
    "cast(features.a || '' as int) = 3",
    "not (features.b like 'x%')",
    "features.b",
    "key = features.a",
    "date(features.a, '%Y-%m-%d') > date '2020-01-01'",
    "position(features.b in features.a) > 0",
    "lpad(key, cast(features.a as int), 'x') = 'x3'",
]


@cache
def matchers() -> tuple[list[Matcher], Matcher]:
    conditions = [parse_condition(condition) for condition in CONDITIONS]
    return [Matcher([condition]) for condition in conditions], Matcher(conditions)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 100),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["x", "xy", "(", "3", "3.5", "", "nan", "2021-05-01", "ü"]),
    st.lists(st.integers(0, 3), max_size=2),
    st.integers(10**300, 10**301),
)
ROWS = st.lists(
    st.tuples(VALUES, st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES), st.sampled_from(["3", "x", None])),
    max_size=6,
)


@settings(max_examples=60)
@given(ROWS)
def test_a_row_is_judged_alone_also_among_others(rows: list[tuple[Any, dict[str, Any], str | None]]) -> None:
    """Column by column gives what row by row gives, whatever else is in the batch, and whatever else is asked."""
    facts = [facts_of(a_prediction(value, features, key=key)) for value, features, key in rows]
    alone, together = matchers()
    for alone_for_itself, found in zip(alone, together.matches(facts), strict=True):
        assert found == [position for position, row in enumerate(facts) if alone_for_itself.matches([row]) == [[0]]]


def test_a_condition_that_fails_for_a_row_harms_no_other_row_and_no_other_condition() -> None:
    facts = [facts_of(a_prediction(1, {"a": text})) for text in ["1", "-5", "2", "3", "-1", "2"]]
    matcher = Matcher(
        [parse_condition("lpad(key, cast(features.a as int), 'x') = 'wi'"), parse_condition("prediction = 1")]
    )
    failed: list[tuple[int, str]] = []
    assert matcher.matches(facts, lambda *failure: failed.append(failure)) == [[2, 5], [0, 1, 2, 3, 4, 5]]
    assert [(number, "conversion" in why) for number, why in failed] == [(0, True), (0, True)]


def test_the_conditions_in_the_documentation_are_conditions() -> None:
    page = (ROOT / "docs" / "how-to" / "notify-people.md").read_text(encoding="utf-8")
    table = page.partition("| you want | write |")[2].partition("\n\n")[0]
    written = re.findall(r"`([^`]+)`", table)
    assert len(written) >= 12
    for condition in written:
        parse_condition(condition)
