"""Accepted requests against answers: the sentence "0 lost, 0 doubled" is worth what this arithmetic is worth."""

import json
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcast_cli.reckoning import Accepted, Reckoning, read_journal, reckon
from rollcast_cli.results import Results

IDS = [f"run-{number}" for number in range(6)]


def accepted(ids: Iterable[str], planted: Iterable[str] = ()) -> Accepted:
    return Accepted(frozenset(ids), frozenset(planted))


def results(predicted: Iterable[str] = (), dead: Iterable[str] = ()) -> Results:
    found = Results()
    for number, request_id in enumerate(predicted):
        found.add_prediction(request_id, "wine", "v1", latency_ms=float(number + 1), now=0.0)
    for request_id in dead:
        found.add_dead_letter(request_id, "not-json")
    return found


def facts(count: Reckoning) -> tuple[int, int, int, int, bool]:
    """(lost, doubled, planted that came back, dead letters that nobody planted, clean)."""
    return count.lost, count.doubled, count.planted_answered, count.unplanted_dead_letters, count.clean


@pytest.mark.parametrize(
    ("predicted", "dead", "planted", "expected"),
    [
        ("ab", "", "", (0, 0, 0, 0, True)),
        ("a", "b", "b", (0, 0, 1, 0, True)),
        ("a", "b", "", (0, 0, 0, 1, True)),
        ("a", "", "", (1, 0, 0, 0, False)),
        ("", "", "", (2, 0, 0, 0, False)),
        ("aab", "", "", (0, 1, 0, 0, False)),
        ("aaabb", "", "", (0, 3, 0, 0, False)),
        ("ab", "b", "b", (0, 1, 1, 0, False)),
        ("a", "bb", "b", (0, 1, 1, 0, False)),
        ("ab", "", "b", (0, 0, 0, 0, False)),
        ("aa", "", "", (1, 1, 0, 0, False)),
        ("abx", "y", "", (0, 0, 0, 0, True)),
        ("abxx", "yy", "", (0, 0, 0, 0, True)),
    ],
    ids=[
        "each once",
        "the planted one comes back",
        "a dead letter that nobody planted",
        "one lost",
        "all lost",
        "one doubled",
        "three too many",
        "predicted and refused",
        "refused twice",
        "planted but predicted",
        "one lost behind one doubled",
        "somebody else's requests",
        "somebody else's doubles",
    ],
)
def test_what_is_lost_doubled_and_planted(
    predicted: str, dead: str, planted: str, expected: tuple[int, int, int, int, bool]
) -> None:
    assert facts(reckon(accepted("ab", planted), results(predicted, dead))) == expected


@settings(derandomize=True, database=None, deadline=None, max_examples=300)
@given(
    st.sets(st.sampled_from(IDS)),
    st.sets(st.sampled_from(IDS)),
    st.lists(st.sampled_from([*IDS, "stranger"]), max_size=12),
    st.lists(st.sampled_from([*IDS, "stranger"]), max_size=12),
)
def test_clean_means_each_request_once_and_each_planted_one_a_dead_letter(
    ids: set[str], planted: set[str], predicted: list[str], dead: list[str]
) -> None:
    planted &= ids
    answers = [*predicted, *dead]
    each_once = all(answers.count(request_id) == 1 for request_id in ids)
    assert reckon(accepted(ids, planted), results(predicted, dead)).clean == (each_once and planted <= set(dead))


@settings(derandomize=True, database=None, deadline=None)
@given(st.sets(st.sampled_from(IDS)), st.lists(st.sampled_from(IDS), max_size=20))
def test_every_answer_to_a_request_is_counted_in_exactly_one_place(ids: set[str], predicted: list[str]) -> None:
    count = reckon(accepted(ids), results(predicted))
    assert len([answer for answer in predicted if answer in ids]) == count.requests - count.lost + count.doubled


def test_totals_and_latencies_are_those_of_the_reader() -> None:
    count = reckon(accepted(["a", "b", "c"], ["c"]), results(["a", "b"], ["c"]))
    assert (count.requests, count.predictions, count.dead_letters, count.planted) == (3, 2, 1, 1)
    assert (count.p50_ms, count.p99_ms) == (1.0, 2.0)
    nothing = reckon(accepted([]), results())
    assert (nothing.p50_ms, nothing.p99_ms, nothing.clean) == (None, None, True)


def test_a_journal_is_read_as_it_was_written() -> None:
    lines = [json.dumps({"id": request_id, "planted": request_id == "b"}) + "\n" for request_id in "abca"]
    assert read_journal(lines) == accepted("abc", "b")
    assert read_journal([]) == accepted("")
