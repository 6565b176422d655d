"""One record goes out for each one that came in, and it says all that it should."""

from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import Message

from rollcast_common.contracts import DeadLetterReason, decode_prediction
from rollcast_common.contracts.dead_letter import parse_dead_letter
from rollcast_predictor.answers import Answers, Origin
from rollcast_predictor.batch import Batch
from rollcast_predictor.outputs import Output, OutputMaker, Voice

NOW_MS = 1_700_000_000_500
MAKER = OutputMaker(
    identity="local/default/wine",
    model="wine",
    stable=Voice("2022-08-19", "ab" * 32),
    candidate=Voice("2022-09-02", "cd" * 32, "candidate"),
    generation=3,
    app_messages="app_messages",
    dead_letters="dead_letters",
    include_features=True,
    max_dead_letter_bytes=1024,
)


def outputs_for(
    messages: list[Message], answers: Answers, maker: OutputMaker = MAKER, refused: dict[int, str] | None = None
) -> list[Output]:
    batch = Batch.from_messages(1, messages, None, model="wine", max_request_bytes=10_000)
    return maker.outputs(batch, answers, now_ms=NOW_MS, refused=refused)


def test_a_prediction_says_who_what_and_when(record: Any) -> None:
    headers = [("request-id", b"r-1"), ("reply-to", b"here"), ("odd", b"\xff")]
    message = record(b'{"x": 1, "y": "\xc3\xa9"}', partition=2, offset=41, key=b"k\xc3\xa9", headers=headers)
    (output,) = outputs_for([message], Answers([b"12.5"], []))
    assert (output.topic, output.key, output.headers, output.reason) == ("app_messages", b"k\xc3\xa9", None, None)
    assert output.value is not None
    prediction = decode_prediction(output.value)
    assert prediction.prediction_id == "local/default/wine:r-1"
    assert (prediction.request_id, prediction.key, prediction.value()) == ("r-1", "ké", 12.5)
    assert (prediction.model, prediction.version, prediction.sha256) == ("wine", "2022-08-19", "ab" * 32)
    assert (prediction.generation, prediction.track, prediction.fallback) == (3, "stable", False)
    assert (prediction.request_time, prediction.prediction_time) == (1_700_000_000_000, NOW_MS)
    assert bytes(prediction.features) == b'{"x": 1, "y": "\xc3\xa9"}'
    assert prediction.headers == {"request-id": "r-1", "reply-to": "here", "odd": "\N{REPLACEMENT CHARACTER}"}


@pytest.mark.parametrize("headers", [None, [], [("other", b"1")], [("request-id", b"")]])
def test_without_an_id_of_the_client_the_place_of_the_record_is_the_id(record: Any, headers: Any) -> None:
    (output,) = outputs_for([record(partition=2, offset=41, headers=headers)], Answers([b"1"], []))
    assert output.value is not None
    prediction = decode_prediction(output.value)
    assert prediction.request_id == "requests-2-41"
    assert prediction.prediction_id == "local/default/wine:requests-2-41"


@pytest.mark.parametrize(
    ("key", "text"), [(None, None), (b"", ""), (b"\xff\x00k", "\N{REPLACEMENT CHARACTER}\x00k"), (b"a b", "a b")]
)
def test_the_key_goes_out_byte_for_byte_and_is_readable_inside(record: Any, key: bytes | None, text: Any) -> None:
    (output,) = outputs_for([record(key=key)], Answers([b"1"], []))
    assert output.key == key
    assert output.value is not None
    assert decode_prediction(output.value).key == text


def test_predictions_carry_features_only_where_that_is_wanted(record: Any) -> None:
    (output,) = outputs_for([record()], Answers([b"1"], []), replace(MAKER, include_features=False))
    assert output.value is not None
    assert bytes(decode_prediction(output.value).features) == b"null"


@pytest.mark.parametrize("reason", list(DeadLetterReason))
def test_each_reason_becomes_a_dead_letter_with_the_original(record: Any, reason: DeadLetterReason) -> None:
    original = [("request-id", b"r-1"), ("trace", b"\xff\x00"), ("trace", b"2")]
    message = record(b"\xffnot json", partition=3, offset=9, key=b"\xfe", headers=original)
    (output,) = outputs_for([message], Answers([b""], [(0, reason.value, "because\nof this")]))
    assert (output.topic, output.key, output.value) == ("dead_letters", b"\xfe", b"\xffnot json")
    assert output.reason is reason
    assert output.headers is not None
    assert output.headers[:3] == original
    letter = parse_dead_letter(output.headers)
    assert (letter.reason, letter.message) == (reason, "because\nof this")
    assert (letter.source_topic, letter.source_partition, letter.source_offset) == ("requests", 3, 9)
    assert (letter.model, letter.version, letter.request_id) == ("wine", "2022-08-19", "r-1")
    assert (letter.truncated, letter.original_size_bytes) == (False, None)


@pytest.mark.parametrize(("size", "is_cut"), [(1024, False), (1025, True)])
def test_what_is_too_large_for_the_topic_is_cut_and_says_so(record: Any, size: int, *, is_cut: bool) -> None:
    (output,) = outputs_for([record(b"x" * size)], Answers([b""], [(0, "not-json", "no")]))
    assert output.value == b"x" * 1024
    assert output.headers is not None
    letter = parse_dead_letter(output.headers)
    assert (letter.truncated, letter.original_size_bytes) == (is_cut, size if is_cut else None)


def test_an_empty_record_and_none_stay_what_they_were(record: Any) -> None:
    errors = [(0, "empty", "nothing"), (1, "empty", "nothing")]
    outputs = outputs_for([record(b""), record(None, offset=1)], Answers([b"", b""], errors))
    assert [output.value for output in outputs] == [b"", None]


def test_every_record_of_ours_is_answered_once_and_in_order(record: Any) -> None:
    """Scored, failed, too large, for another model, and refused by Kafka; of two reasons the last one counts."""
    messages = [
        record(offset=0),
        record(offset=1),
        record(b"x" * 10_001, offset=2),
        record(offset=3, headers=[("model", b"beer")]),
        record(offset=4),
    ]
    # The model never saw rows 2 and 3: the host calls them empty.
    errors = [(1, "wrong-type", "no number"), (2, "empty", "empty"), (3, "empty", "empty")]
    outputs = outputs_for(messages, Answers([b"1", b"", b"", b"", b"5"], errors), refused={4: "too large"})
    assert [(output.row, output.reason) for output in outputs] == [
        (0, None),
        (1, DeadLetterReason.WRONG_TYPE),
        (2, DeadLetterReason.TOO_LARGE),
        (4, DeadLetterReason.OUTPUT_REFUSED),
    ]
    assert outputs[3].headers is not None
    assert parse_dead_letter(outputs[3].headers).message == "Kafka refused the prediction: too large"


def test_each_row_names_who_answered_it_and_whose_it_was(record: Any) -> None:
    messages = [record(offset=row) for row in range(4)]
    origins = {1: Origin.CANDIDATE, 2: Origin.FALLBACK, 3: Origin.FALLBACK}
    answers = Answers([b"1", b"2", b"3", b""], [(3, "model-error", "both failed it")], origins)
    outputs = outputs_for(messages, answers)
    told = [decode_prediction(output.value) for output in outputs[:3] if output.value is not None]
    assert [(p.value(), p.version, p.sha256[:2], p.track, p.fallback) for p in told] == [
        (1, "2022-08-19", "ab", "stable", False),
        (2, "2022-09-02", "cd", "candidate", False),
        (3, "2022-08-19", "ab", "candidate", True),
    ]
    assert parse_dead_letter(outputs[3].headers or []).version == "2022-08-19"


def test_what_is_said_in_shadow_leaves_out_what_has_no_result(record: Any) -> None:
    messages = [record(offset=row) for row in range(3)]
    batch = Batch.from_messages(1, messages, None, model="wine", max_request_bytes=10_000)
    batch.skipped.add(2)
    (output,) = MAKER.shadow_outputs(batch, [b"7", b"", b"9"], "shadow_predictions", now_ms=NOW_MS)
    assert (output.topic, output.row) == ("shadow_predictions", 0)
    assert output.value is not None
    prediction = decode_prediction(output.value)
    assert (prediction.value(), prediction.version, prediction.track) == (7, "2022-09-02", "candidate")
