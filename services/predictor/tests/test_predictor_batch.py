"""The arithmetic of a batch: what is committed with it, where to go back to, and which rows the model need not see."""

from typing import Any

import pytest
from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st

from rollcast_common.contracts import DeadLetterReason
from rollcast_predictor.answers import Answers
from rollcast_predictor.batch import Batch, first_offsets

LIMIT = 10


def batch_of(messages: list[Message]) -> Batch:
    return Batch.from_messages(7, messages, "metadata", model="wine", max_request_bytes=LIMIT)


@st.composite
def polled(draw: st.DrawFn) -> list[Message]:
    """Records of up to three partitions in the order in which a consumer gives them; some offsets are markers."""
    next_offset = {partition: draw(st.integers(0, 1000)) for partition in range(3)}
    messages = []
    for partition in draw(st.lists(st.integers(0, 2), min_size=1, max_size=30)):
        next_offset[partition] += draw(st.integers(1, 3))
        value = draw(st.one_of(st.none(), st.binary(max_size=2 * LIMIT)))
        model = draw(st.sampled_from([None, "wine", "beer"]))
        headers: list[tuple[str, str | bytes | None]] | None = [("model", model.encode())] if model else None
        messages.append(
            Message(topic="r", partition=partition, offset=next_offset[partition], value=value, headers=headers)
        )
    return messages


@given(polled())
def test_the_highest_processed_offset_plus_one_is_committed(messages: list[Message]) -> None:
    expected: dict[tuple[str, int], int] = {}
    for message in messages:
        place = ("r", int(message.partition() or 0))
        expected[place] = max(expected.get(place, 0), int(message.offset() or 0) + 1)
    assert batch_of(messages).next_offsets() == expected


@given(polled())
def test_a_batch_that_did_not_happen_is_read_again_from_its_first_records(messages: list[Message]) -> None:
    lowest: dict[tuple[str, int], int] = {}
    for message in messages:
        place = ("r", int(message.partition() or 0))
        lowest[place] = min(lowest.get(place, 1 << 60), int(message.offset() or 0))
    assert batch_of(messages).first_offsets() == lowest
    assert first_offsets([]) == {}


@given(polled(), st.data())
def test_both_parts_of_a_batch_make_the_whole(messages: list[Message], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(messages)))
    whole = batch_of(messages)
    first, rest = whole.split(at)
    assert first.messages + rest.messages == messages
    assert first.values() + rest.values() == whole.values()
    assert first.failures | {row + at: failure for row, failure in rest.failures.items()} == whole.failures
    assert first.skipped | {row + at for row in rest.skipped} == whole.skipped
    assert first.next_offsets() | rest.next_offsets() == whole.next_offsets()
    # What the first part commits is where the rest begins, or before it: nothing lies between them unanswered.
    for place, offset in rest.first_offsets().items():
        assert first.next_offsets().get(place, 0) <= offset
    assert (first.sequence, rest.group_metadata) == (7, "metadata")


@given(st.lists(st.binary(max_size=3), max_size=10), st.data())
def test_scores_are_split_as_their_batch_is(results: list[bytes], data: st.DataObject) -> None:
    rows = st.integers(0, max(0, len(results) - 1))
    errors = [(row, "model-error", str(row)) for row in sorted(data.draw(st.sets(rows)))] if results else []
    at = data.draw(st.integers(0, len(results)))
    first, rest = Answers(results, errors).split(at)
    assert first.results + rest.results == results
    assert first.errors + [(row + at, reason, text) for row, reason, text in rest.errors] == errors


@pytest.mark.parametrize(
    ("header", "is_ours"),
    [(None, True), (b"wine", True), (b"beer", False), (b"Wine", False), (b"", False), (b"\xff", False)],
)
def test_a_record_for_another_model_is_passed_over(record: Any, header: bytes | None, *, is_ours: bool) -> None:
    batch = batch_of([record(b"{}", offset=4, headers=None if header is None else [("model", header)])])
    assert batch.skipped == (set() if is_ours else {0})
    assert batch.values() == [b"{}" if is_ours else None]
    assert batch.next_offsets() == {("requests", 0): 5}


@pytest.mark.parametrize(("size", "is_too_large"), [(LIMIT, False), (LIMIT + 1, True)])
def test_a_record_beyond_the_limit_never_reaches_the_model(record: Any, size: int, *, is_too_large: bool) -> None:
    batch = batch_of([record(b"x" * size), record(b"{}", offset=1)])
    assert batch.values() == [None if is_too_large else b"x" * size, b"{}"]
    if is_too_large:
        reason, message = batch.failures[0]
        assert reason is DeadLetterReason.TOO_LARGE
        assert message == "the record has 11 bytes; at most 10 are taken"
    else:
        assert batch.failures == {}
