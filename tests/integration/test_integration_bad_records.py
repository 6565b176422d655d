"""Records that cannot be answered: each becomes one dead letter that says why, and costs no other its prediction."""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from tests.env.predictor import Requests, Sent, Slot, World, line_of
from tests.env.records import announced_with_card, check_answered_once, set_largest_message

from rollcast_common.contracts import Prediction
from rollcast_common.contracts.dead_letter import DeadLetterReason
from rollcast_common.models.card import Feature

_FEATURES = (Feature(name="x", type="number"),)
_HEADERS: list[tuple[str, bytes | str | None]] = [
    ("trace", b"\x00\xff"),
    ("empty", b""),
    ("nothing", None),
    ("twice", b"1"),
    ("twice", b"2"),
]


@dataclass(frozen=True)
class Bad:
    """A record, why it is refused, and what its sender must be told."""

    value: bytes | None
    reason: DeadLetterReason
    message: str


BAD = {
    "not-json": Bad(b"x=1", DeadLetterReason.NOT_JSON, r"^not JSON: .+"),
    "cut-off": Bad(b'{"x": 1', DeadLetterReason.NOT_JSON, r"^not JSON: .+"),
    "not-utf-8": Bad(b'{"x": 1, "name": "\xff"}', DeadLetterReason.NOT_JSON, r"^not JSON: .+utf-8"),
    "a-list": Bad(b"[1]", DeadLetterReason.NOT_AN_OBJECT, r"expected a JSON object of features, was an array"),
    "json-null": Bad(b"null", DeadLetterReason.NOT_AN_OBJECT, r"expected a JSON object of features, was null"),
    "lacks-x": Bad(b'{"y": 1}', DeadLetterReason.MISSING_FEATURE, r"feature x is missing \(a number\)"),
    "x-unknown": Bad(b'{"x": "NA"}', DeadLetterReason.MISSING_FEATURE, r"feature x is missing \(a number\)"),
    "x-is-a-word": Bad(b'{"x": "seven"}', DeadLetterReason.WRONG_TYPE, r"feature x: expected a number, was 'seven'"),
    "x-is-a-list": Bad(b'{"x": [1]}', DeadLetterReason.WRONG_TYPE, r"feature x: expected a number, was an array"),
    "x-is-true": Bad(b'{"x": true}', DeadLetterReason.WRONG_TYPE, r"feature x: expected a number, was true or false"),
    "empty": Bad(b"", DeadLetterReason.EMPTY, r"the record is empty; expected a JSON object of features"),
    "no-value": Bad(None, DeadLetterReason.EMPTY, r"the record is empty; expected a JSON object of features"),
    "2-megabytes": Bad(
        b'{"x": 1, "blob": "%s"}' % secrets.token_hex(1_000_000).encode(),
        DeadLetterReason.TOO_LARGE,
        r"the record has 2000020 bytes; at most 1048576 are taken",
    ),
}


def serve(world: World) -> Slot:
    """A model whose card says that x is a number."""
    ref = world.upload(line_of(2), "v1")
    world.announce(announced_with_card(world, ref, "v1", features=_FEATURES, golden={'{"x": 3}': 6.0}))
    return world.serve("v1")


def by_key(requests: Requests) -> dict[bytes | None, Sent]:
    return {sent.key: sent for sent in requests.sent}


def check_good(predictions: Sequence[tuple[bytes | None, Prediction]], count: int) -> None:
    """Keys good-0, good-1, …: each predicted once, and by its own x."""
    told = {key: prediction.value() for key, prediction in predictions}
    assert told == pytest.approx({b"good-%d" % number: 2.0 * number for number in range(count)})
    assert len(predictions) == count


def test_each_bad_record_becomes_a_dead_letter_that_says_why(world: World) -> None:
    set_largest_message(world.kafka, world.names.full("requests"), 8_000_000)
    slot = serve(world)
    requests = world.requests()
    good = 0
    for name, bad in BAD.items():
        # In between and in the same batches.
        for _ in range(5):
            requests.send(b'{"x": %d}' % good, b"good-%d" % good)
            good += 1
        requests.send(bad.value, name.encode(), headers=[*_HEADERS, ("request-id", name)])
    for key, model in (("others", "another"), ("ours", "line")):
        requests.send(b'{"x": 1}', key.encode(), headers=[("model", model)])
    requests.send(b"no key either", None)
    world.wait_answered(requests, [slot])

    sent = by_key(requests)
    topic = world.names.full("requests")
    answers = world.read()
    check_good([answer for answer in answers.predictions if answer[0] != b"ours"], good)
    assert [prediction.value() for key, prediction in answers.predictions if key == b"ours"] == pytest.approx([2.0])

    letters = {message.key(): (letter, message) for letter, message in answers.dead_letters}
    assert len(answers.dead_letters) == len(BAD) + 1
    assert letters.keys() == {None, *(name.encode() for name in BAD)}
    for name, bad in BAD.items():
        letter, message = letters[name.encode()]
        assert letter.reason is bad.reason, name
        assert re.search(bad.message, letter.message), letter.message
        assert "\n" not in letter.message
        place = sent[name.encode()]
        assert (letter.source_topic, letter.source_partition, letter.source_offset) == (
            topic,
            place.partition,
            place.offset,
        )
        assert (letter.model, letter.version, letter.request_id) == ("line", "v1", name)
        assert not letter.truncated
        assert message.value() == bad.value, name
        # The client's own type is wider than what it gives.
        headers = list(message.headers() or [])
        originals = [(key, value.encode() if isinstance(value, str) else value) for key, value in _HEADERS]
        assert headers[: len(_HEADERS) + 1] == [*originals, ("request-id", name.encode())]
        assert all(str(key).startswith("rollcast-") for key, *_ in headers[len(_HEADERS) + 1 :])
    letter, message = letters[None]
    assert (letter.reason, message.value()) == (DeadLetterReason.NOT_JSON, b"no key either")
    assert letter.request_id == f"{topic}-{letter.source_partition}-{letter.source_offset}"

    # Also the record that was passed over: the group is past it.
    ends: dict[int, int] = {}
    for record in requests.sent:
        ends[record.partition] = max(ends.get(record.partition, 0), record.offset + 1)
    assert {partition: offset for partition, offset in world.committed().items() if offset >= 0} == ends
    slot.wait(lambda: slot.metric("predictions_total")[""] == good + 1, "all answers are counted")
    reasons = [letter.reason.value for letter, _ in answers.dead_letters]
    wanted = {f'reason="{reason}"': reasons.count(reason) for reason in reasons}
    slot.wait(lambda: slot.counted("dead_letters_total") == wanted, "all dead letters are counted")
    slot.wait(lambda: slot.metric("skipped_records_total") == {"": 1}, "the one that was passed over is counted")


def test_a_dead_letter_larger_than_its_topic_takes_is_cut_and_says_so(world: World) -> None:
    set_largest_message(world.kafka, world.names.full("requests"), 9_000_000)
    slot = serve(world)
    requests = world.requests()
    value = secrets.token_hex(3_000_000).encode()
    requests.send(b'{"x": 0}', b"good-0")
    requests.send(value, b"huge")
    world.wait_answered(requests, [slot])
    answers = check_answered_once(world, requests)
    check_good(answers.predictions, 1)
    [(letter, message)] = answers.dead_letters
    assert (letter.reason, letter.truncated, letter.original_size_bytes) == (
        DeadLetterReason.TOO_LARGE,
        True,
        6_000_000,
    )
    assert message.value() == value[: 4 << 20]


def test_an_output_that_kafka_refuses_costs_no_other_its_prediction(world: World) -> None:
    set_largest_message(world.kafka, world.names.full("app_messages"), 3000)
    slot = serve(world)
    requests = world.requests()
    large = b'{"x": 1, "blob": "%s"}'
    for number in range(400):
        requests.send(b'{"x": %d}' % number, b"good-%d" % number)
        if number in (7, 150, 151):
            # Not to be made small by compression; a prediction carries its request.
            requests.send(large % secrets.token_hex(4000).encode(), b"large-%d" % number)
    world.wait_answered(requests, [slot])

    answers = check_answered_once(world, requests)
    check_good(answers.predictions, 400)
    assert {message.key() for _, message in answers.dead_letters} == {b"large-7", b"large-150", b"large-151"}
    sent = by_key(requests)
    for letter, message in answers.dead_letters:
        assert letter.reason is DeadLetterReason.OUTPUT_REFUSED
        assert re.search(r"Kafka refused the prediction: .*too large", letter.message), letter.message
        place = sent[message.key()]
        assert (letter.source_partition, letter.source_offset) == (place.partition, place.offset)
        assert message.value() == place.value
    slot.wait(lambda: slot.metric("predictions_total")[""] == 400, "all answers are counted")
    refused = {'reason="output-refused"': 3}
    slot.wait(lambda: slot.counted("dead_letters_total") == refused, "all dead letters are counted")
