"""Whose answer a row gets when two versions were asked."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollcast_predictor.answers import Answers, Origin, merged
from rollcast_predictor.wire import Scored

ERROR = ("model-error", "no")


def scored(*results: bytes | None) -> Scored:
    """None is a row that failed."""
    errors = [(row, *ERROR) for row, result in enumerate(results) if result is None]
    return Scored(1, [result or b"" for result in results], errors)


# Stable and candidate were asked for rows 0 to 3; 1 and 3 are the candidate's.
CASES: dict[
    str, tuple[Scored, Scored | None, list[int], Scored | None, list[bytes], dict[int, Origin], set[int], int]
] = {
    "each answers its rows": (
        scored(b"s0", None, b"s2", None),
        scored(None, b"c1", None, b"c3"),
        [],
        None,
        [b"s0", b"c1", b"s2", b"c3"],
        {1: Origin.CANDIDATE, 3: Origin.CANDIDATE},
        set(),
        0,
    ),
    "what the candidate fails stable answers, asked again": (
        scored(b"s0", None, b"s2", None),
        scored(None, b"c1", None, None),
        [3],
        scored(b"s3"),
        [b"s0", b"c1", b"s2", b"s3"],
        {1: Origin.CANDIDATE, 3: Origin.FALLBACK},
        set(),
        1,
    ),
    "stable had been asked for all rows anyway": (
        scored(b"s0", b"s1", b"s2", b"s3"),
        scored(b"c0", b"c1", b"c2", None),
        [3],
        None,
        [b"s0", b"c1", b"s2", b"s3"],
        {1: Origin.CANDIDATE, 3: Origin.FALLBACK},
        set(),
        1,
    ),
    "what both fail is nobody's error": (
        scored(b"s0", None, b"s2", None),
        scored(None, b"c1", None, None),
        [3],
        scored(None),
        [b"s0", b"c1", b"s2", b""],
        {1: Origin.CANDIDATE, 3: Origin.FALLBACK},
        {3},
        0,
    ),
    "a candidate that could not be asked has failed nothing": (
        scored(b"s0", b"s1", b"s2", b"s3"),
        None,
        [1, 3],
        None,
        [b"s0", b"s1", b"s2", b"s3"],
        {1: Origin.FALLBACK, 3: Origin.FALLBACK},
        set(),
        0,
    ),
    "a candidate that was asked and did not answer has failed all of its rows": (
        scored(b"s0", None, b"s2", None),
        Scored(0, [], []),
        [1, 3],
        scored(b"s1", b"s3"),
        [b"s0", b"s1", b"s2", b"s3"],
        {1: Origin.FALLBACK, 3: Origin.FALLBACK},
        set(),
        2,
    ),
    "a row of stable's that fails is dead, whatever the candidate says of it": (
        scored(None, b"s1", b"s2", b"s3"),
        scored(b"c0", b"c1", b"c2", b"c3"),
        [],
        None,
        [b"", b"c1", b"s2", b"c3"],
        {1: Origin.CANDIDATE, 3: Origin.CANDIDATE},
        {0},
        0,
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_merged(case: Any) -> None:
    stable, candidate, again, answered_again, results, origins, dead, errors = case
    answers = merged(stable, candidate, rows={1, 3}, again=again, answered_again=answered_again)
    assert answers.results == results
    assert answers.origins == origins
    assert {row for row, _, _ in answers.errors} == dead
    assert answers.candidate_errors == errors


def test_results_by_who_gave_them() -> None:
    answers = Answers([b"1", b"", b"3", b"4"], [(1, *ERROR)], {2: Origin.CANDIDATE, 3: Origin.FALLBACK})
    assert answers.of(Origin.STABLE) == [b"1"]
    assert answers.of(Origin.STABLE, Origin.FALLBACK) == [b"1", b"4"]
    assert answers.of(Origin.CANDIDATE) == [b"3"]


@given(st.lists(st.sampled_from(list(Origin)), max_size=12), st.data())
def test_origins_are_split_as_their_batch_is(origins: list[Origin], data: st.DataObject) -> None:
    results = [b"%d" % row for row in range(len(origins))]
    whole = Answers(results, [], dict(enumerate(origins)), candidate_errors=2)
    first, rest = whole.split(data.draw(st.integers(0, len(origins))))
    assert first.results + rest.results == results
    assert [*first.origins.values(), *rest.origins.values()] == origins
    assert (first.candidate_errors, rest.candidate_errors) == (2, 0)
