"""RowDecoder: any bytes in, columns and reasons out, and no row ever depends on another."""

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rollcast_common.contracts import DeadLetterReason as Reason
from rollcast_common.errors import UnusableModel
from rollcast_common.models.card import Feature, InputSchema
from rollcast_common.models.rows import DecodedRows, RowDecoder

SCHEMA = InputSchema(
    features=(
        Feature(name="year", type="number"),
        Feature(name="rating", type="number", required=False),
        Feature(name="winery", type="string"),
        Feature(name="region", type="string", required=False),
    ),
    missing_values=("", "N.V.", "-999"),
)
GOOD = b'{"year": 2009, "rating": 4.5, "winery": "Artadi", "region": "Rioja"}'

TYPED = RowDecoder(SCHEMA)
UNTYPED = RowDecoder(None, ["year", "winery"])


def row(**cells: Any) -> bytes:
    return json.dumps({"year": 2009, "rating": 4.5, "winery": "Artadi", "region": "Rioja"} | cells).encode()


def raw(year: str) -> bytes:
    return b'{"winery": "Artadi", "year": ' + year.encode() + b"}"


def cells(decoded: DecodedRows, index: int) -> dict[str, Any]:
    """One row's values, comparable: NaN equals itself, and 1.0 is not True."""
    values = {name: column[index] for name, column in decoded.columns.items()}
    return {name: (type(value), repr(value)) for name, value in values.items()}


def outcomes(decoder: RowDecoder, batch: list[bytes | None]) -> list[Any]:
    """What becomes of each row; asserts that each has exactly one fate."""
    decoded = decoder.decode(batch)
    assert sorted([*decoded.positions, *decoded.errors]) == list(range(len(batch)))
    assert decoded.positions == sorted(decoded.positions)
    assert {len(column) for column in decoded.columns.values()} == {len(decoded.positions)}
    fates: list[Any] = [decoded.errors.get(position) for position in range(len(batch))]
    for index, position in enumerate(decoded.positions):
        fates[position] = cells(decoded, index)
    return fates


class TestGood:
    def test_values_as_they_were_sent(self) -> None:
        decoded = TYPED.decode([row(), b"", row(year="1999", winery="Pingus")])
        assert decoded.positions == [0, 2]
        assert decoded.columns["year"].tolist() == [2009.0, 1999.0]
        assert decoded.columns["winery"].tolist() == ["Artadi", "Pingus"]
        assert list(decoded.columns) == ["year", "rating", "winery", "region"]

    @pytest.mark.parametrize(
        ("sent", "year"),
        [(1, 1.0), (-0.5, -0.5), ("7", 7.0), (" 7.25 ", 7.25), ("1e3", 1000.0), (2**70, 2.0**70), (10**308, 1e308)],
    )
    def test_numbers(self, sent: Any, year: float) -> None:
        assert TYPED.decode([row(year=sent)]).columns["year"].tolist() == [year]

    @pytest.mark.parametrize("sent", [None, "", " ", "N.V.", " N.V. ", "-999", "nan"])
    def test_an_optional_number_that_is_missing_is_nan(self, sent: Any) -> None:
        decoded = TYPED.decode([row(rating=sent)])
        assert decoded.positions == [0]
        assert math.isnan(decoded.columns["rating"][0])

    @pytest.mark.parametrize("sent", [None, "", " ", "N.V.", "\tN.V. "])
    def test_an_optional_text_that_is_missing_is_empty(self, sent: Any) -> None:
        assert TYPED.decode([row(region=sent)]).columns["region"].tolist() == [""]

    def test_optional_fields_that_are_absent(self) -> None:
        decoded = TYPED.decode([b'{"year": 1, "winery": "x"}'])
        assert decoded.positions == [0]
        assert math.isnan(decoded.columns["rating"][0])
        assert decoded.columns["region"].tolist() == [""]

    @pytest.mark.parametrize(
        "extra",
        [b"[]", b"{}", b'{"a": [1]}', b"true", b"1e999", b"9" * 5000, '"ñ"'.encode()],
        ids=lambda value: value[:10],
    )
    def test_an_unknown_field_is_ignored_whatever_it_holds(self, extra: bytes) -> None:
        assert TYPED.decode([GOOD[:-1] + b', "extra": ' + extra + b"}"]).positions == [0]

    def test_of_a_repeated_field_the_last_counts(self) -> None:
        assert TYPED.decode([b'{"winery": "a", "winery": "b", "year": 1}']).columns["winery"].tolist() == ["b"]

    def test_an_empty_batch(self) -> None:
        decoded = TYPED.decode([])
        assert (decoded.positions, decoded.errors) == ([], {})
        assert [len(column) for column in decoded.columns.values()] == [0, 0, 0, 0]


BAD: dict[str, tuple[bytes | None, Reason, str]] = {
    "no value": (None, Reason.EMPTY, "the record is empty; expected a JSON object of features"),
    "no bytes": (b"", Reason.EMPTY, "the record is empty; expected a JSON object of features"),
    "blank": (b" ", Reason.NOT_JSON, "not JSON: "),
    "not JSON": (b"year=2009", Reason.NOT_JSON, "not JSON: JSON is malformed: invalid character (byte 0)"),
    "cut": (GOOD[:-5], Reason.NOT_JSON, "not JSON: Input data was truncated"),
    "two objects": (GOOD + GOOD, Reason.NOT_JSON, "not JSON: JSON is malformed: trailing characters"),
    "a byte order mark": (b"\xef\xbb\xbf" + GOOD, Reason.NOT_JSON, "not JSON: "),
    "UTF-16": (GOOD.decode().encode("utf-16"), Reason.NOT_JSON, "not JSON: "),
    "not UTF-8": (b'{"winery": "\xff", "year": 1}', Reason.NOT_JSON, "not JSON: 'utf-8' codec can't decode"),
    "not UTF-8 where nobody looks": (GOOD[:-1] + b', "x": "\xff"}', Reason.NOT_JSON, "not JSON: 'utf-8' codec"),
    "a lone surrogate": (b'{"year": 1, "winery": "\\ud800"}', Reason.NOT_JSON, "not JSON: "),
    "NaN": (raw("NaN"), Reason.NOT_JSON, "not JSON: JSON is malformed: invalid character"),
    "Infinity": (raw("-Infinity"), Reason.NOT_JSON, "not JSON: JSON is malformed: invalid character"),
    "endless arrays": (b"[" * 100_000, Reason.NOT_AN_OBJECT, "expected a JSON object of features, was an array"),
    "endless arrays in a feature": (
        raw("[" * 100_000),
        Reason.WRONG_TYPE,
        "feature year: expected a number, was an array",
    ),
    "endless arrays where nobody looks": (
        b'{"x": ' + b"[" * 100_000,
        Reason.NOT_JSON,
        "not JSON that can be read: nested too deeply",
    ),
    "endless objects": (
        b'{"x": ' * 100_000,
        Reason.NOT_JSON,
        "not JSON that can be read: nested too deeply",
    ),
    "an array": (b"[1, 2]", Reason.NOT_AN_OBJECT, "expected a JSON object of features, was an array"),
    "a number": (b"17", Reason.NOT_AN_OBJECT, "expected a JSON object of features, was a number"),
    "null": (b"null", Reason.NOT_AN_OBJECT, "expected a JSON object of features, was null"),
    "a text": (b'"year"', Reason.NOT_AN_OBJECT, "expected a JSON object of features, was a text"),
    "no features": (b"{}", Reason.MISSING_FEATURE, "feature year is missing (a number)"),
    "lacks a text": (b'{"year": 1}', Reason.MISSING_FEATURE, "feature winery is missing (a text)"),
    "null for a required number": (row(year=None), Reason.MISSING_FEATURE, "feature year is missing (a number)"),
    "null for a required text": (row(winery=None), Reason.MISSING_FEATURE, "feature winery is missing (a text)"),
    "a word for missing": (row(winery=" N.V. "), Reason.MISSING_FEATURE, "feature winery is missing (a text)"),
    "a word for a missing number": (row(year="-999"), Reason.MISSING_FEATURE, "feature year is missing (a number)"),
    "nan as a text": (row(year="nan"), Reason.MISSING_FEATURE, "feature year is missing (a number)"),
    "a list for a text": (row(winery=["a"]), Reason.WRONG_TYPE, "feature winery: expected a text, was an array"),
    "an object for a text": (row(winery={}), Reason.WRONG_TYPE, "feature winery: expected a text, was an object"),
    "a number for a text": (row(winery=1), Reason.WRONG_TYPE, "feature winery: expected a text, was a number"),
    "a fraction for a text": (row(winery=1.5), Reason.WRONG_TYPE, "feature winery: expected a text, was a number"),
    "true for a text": (row(winery=True), Reason.WRONG_TYPE, "feature winery: expected a text, was true or false"),
    "true for a number": (row(year=True), Reason.WRONG_TYPE, "feature year: expected a number, was true or false"),
    "a word for a number": (row(year="abc"), Reason.WRONG_TYPE, "feature year: expected a number, was 'abc'"),
    "a word for an optional number": (
        row(rating="abc"),
        Reason.WRONG_TYPE,
        "feature rating: expected a number, was 'abc'",
    ),
    "a long word for a number": (
        row(year="a" * 100),
        Reason.WRONG_TYPE,
        f"feature year: expected a number, was '{'a' * 56}...",
    ),
    "1e999": (raw("1e999"), Reason.WRONG_TYPE, "feature year: number out of range"),
    "1e999 as a text": (row(year="1e999"), Reason.WRONG_TYPE, "feature year: expected a finite number, was '1e999'"),
    "inf as a text": (row(year="inf"), Reason.WRONG_TYPE, "feature year: expected a finite number, was 'inf'"),
    "400 digits": (raw("9" * 400), Reason.WRONG_TYPE, f"feature year: expected a number, was {'9' * 57}..."),
    "5,000 digits": (raw("9" * 5000), Reason.WRONG_TYPE, "feature year: integer value out of range"),
    "5,000 digits as a text": (
        row(year="9" * 5000),
        Reason.WRONG_TYPE,
        f"feature year: expected a finite number, was '{'9' * 56}...",
    ),
    "of a repeated field the first is wrong": (
        b'{"year": [], "year": 1, "winery": "a"}',
        Reason.WRONG_TYPE,
        "feature year: expected a number, was an array",
    ),
    "two faults": (row(year="abc", winery=None), Reason.WRONG_TYPE, "feature year: expected a number, was 'abc'"),
}


@pytest.mark.parametrize(("value", "reason", "message"), BAD.values(), ids=BAD)
def test_a_bad_row(value: bytes | None, reason: Reason, message: str) -> None:
    decoded = TYPED.decode([GOOD, value, GOOD])
    assert decoded.positions == [0, 2]
    assert decoded.errors[1].reason is reason
    assert decoded.errors[1].message.startswith(message)
    assert len(decoded.errors[1].message) < 200
    assert decoded.columns["year"].tolist() == [2009.0, 2009.0]


def test_all_bad_rows_in_one_batch_fail_as_they_fail_alone() -> None:
    batch = [value for value, _, _ in BAD.values()]
    alone = [outcomes(TYPED, [value])[0] for value in batch]
    assert outcomes(TYPED, batch) == alone
    assert [error.reason for error in alone] == [reason for _, reason, _ in BAD.values()]


class TestWithoutASchema:
    def test_values_keep_their_type(self) -> None:
        batch: list[bytes | None] = [
            b'{"year": %s, "winery": %s}' % pair
            for pair in [(b"1", b'"a"'), (b"1.5", b"null"), (b'"2"', b"true"), (b"false", b"3")]
        ]
        decoded = UNTYPED.decode(batch)
        assert decoded.columns["year"].tolist() == [1.0, 1.5, "2", False]
        assert decoded.columns["winery"].tolist() == ["a", None, True, 3.0]
        assert [type(value) for value in decoded.columns["year"]] == [float, float, str, bool]

    @pytest.mark.parametrize(
        ("value", "reason", "message"),
        [
            (b'{"year": 1}', Reason.MISSING_FEATURE, "feature winery is missing"),
            (
                b'{"year": [], "winery": 1}',
                Reason.WRONG_TYPE,
                "feature year: expected a number, a text, true, false or null, was an array",
            ),
            (raw("9" * 400), Reason.WRONG_TYPE, "feature year: expected a finite number, was 999"),
            (raw("9" * 5000), Reason.WRONG_TYPE, "feature year: integer value out of range"),
        ],
    )
    def test_a_bad_row(self, value: bytes, reason: Reason, message: str) -> None:
        decoded = UNTYPED.decode([value])
        assert decoded.errors[0].reason is reason
        assert decoded.errors[0].message.startswith(message)


@pytest.mark.parametrize("names", [["a", "a"], ['say "hi"'], ["a\\b"], ["a\nb"], []])
def test_features_that_no_request_can_hold(names: list[str]) -> None:
    with pytest.raises(UnusableModel):
        RowDecoder(None, names)
    with pytest.raises(UnusableModel):
        RowDecoder(InputSchema(features=tuple(Feature(name=name, type="number") for name in names)))


@pytest.mark.parametrize("name", ["a b", "precio €", "a.b", "", "f1", "$", "`", "class", "a - at `$.b"])
def test_unusual_names(name: str) -> None:
    decoder = RowDecoder(InputSchema(features=(Feature(name=name, type="number"),)))
    decoded = decoder.decode([msgspec.json.encode({name: 7}), msgspec.json.encode({name: True})])
    assert decoded.columns[name].tolist() == [7.0]
    assert decoded.errors[1].message == f"feature {name}: expected a number, was true or false"


# Texts that come close to being numbers or missing: where two ways of reading could differ.
_TEXTS = st.one_of(
    st.sampled_from(
        ["", " ", "N.V.", " N.V.", "-999", " -999 ", "nan", "inf", "-inf", "1_000", "0x1", "1\0", "\u0661", "1e999"]
    ),
    st.text(alphabet="0123456789.eE+-_ \t\0naif\u0661", max_size=8),
    st.text(max_size=5),
)
_CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, -(10**400), 2**63, 2**64, -(2**63) - 1]),
    st.floats(allow_nan=True, allow_infinity=True),
    _TEXTS,
    st.lists(st.integers(), max_size=1),
    st.dictionaries(st.text(max_size=1), st.integers(), max_size=1),
)
_ROWS = st.one_of(
    st.dictionaries(st.sampled_from(["year", "rating", "winery", "region", "extra"]), _CELLS).map(
        lambda cells: json.dumps(cells).encode("utf-8", "surrogatepass")
    ),
    st.just(GOOD),
    st.none(),
    st.binary(max_size=30),
    st.sampled_from([value for value, _, _ in BAD.values()]),
    st.tuples(st.just(GOOD), st.integers(0, len(GOOD)), st.binary(max_size=3)).map(
        lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] :]
    ),
)


@pytest.mark.parametrize("decoder", [TYPED, UNTYPED], ids=["schema", "no schema"])
@given(batch=st.lists(_ROWS, max_size=8))
@example(batch=[row(rating="-999"), row(rating="")])  # a missing text that is a number
@example(batch=[row(rating=None), row(rating="1_000"), row(rating="x")])
@example(batch=[row(year=1), row(year="1"), row(year=True), row(year=None)])
def test_a_rows_fate_never_depends_on_the_others(decoder: RowDecoder, batch: list[bytes | None]) -> None:
    alone = [outcomes(decoder, [value])[0] for value in batch]
    assert outcomes(decoder, batch) == alone


@pytest.mark.parametrize("decoder", [TYPED, UNTYPED], ids=["schema", "no schema"])
@given(value=st.binary())
def test_any_bytes_have_a_fate(decoder: RowDecoder, value: bytes) -> None:
    assert len(outcomes(decoder, [value])) == 1
