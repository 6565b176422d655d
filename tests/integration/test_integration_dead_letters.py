"""Dead letters are listed, shown and sent again; each of them once, whoever asks how often."""

import json
from pathlib import Path

import pytest
from tests.env.kafka import RealKafka
from typer.testing import CliRunner

from rollcast_cli.__main__ import app
from rollcast_cli.dead_letters import Filter, Letter, parse_place, parse_since, read_letters, replay
from rollcast_common.contracts import DeadLetter, DeadLetterReason
from rollcast_common.contracts.dead_letter import dead_letter_headers
from rollcast_common.errors import ConfigError
from rollcast_common.kafka import ErrorWatch, KafkaParams, make_consumer, make_producer, read_to_end

ALL = Filter()


@pytest.fixture
def params(kafka: RealKafka, topic_prefix: str) -> KafkaParams:
    names = kafka.create_topics(topic_prefix)
    return kafka.params.model_copy(update={"topics": names})


def bury(params: KafkaParams, *letters: tuple[DeadLetterReason, bytes | None, bool]) -> None:
    """Put dead letters of requests 0, 1, … where the predictor would."""
    producer = make_producer(params, ErrorWatch(params.broker.servers), client_id="test")
    for number, (reason, value, truncated) in enumerate(letters):
        facts = DeadLetter(
            reason=reason,
            message="it did not like it",
            source_topic=params.topics.full("requests"),
            source_partition=0,
            source_offset=number,
            model="line",
            version="v1",
            request_id=f"r-{number}",
            truncated=truncated,
            original_size_bytes=10_000_000 if truncated else None,
        )
        headers = [("request-id", f"r-{number}".encode()), ("colour", b"red"), *dead_letter_headers(facts)]
        producer.produce(params.topics.full("dead_letters"), value, f"key-{number}", headers=list(headers))
    assert producer.flush(120) == 0


def requests_of(params: KafkaParams, count: int) -> list[tuple[bytes | None, bytes | None, dict[str, bytes]]]:
    """The `count` records that topic requests has, and no more: key, value, headers."""
    watch = ErrorWatch(params.broker.servers)
    consumer = make_consumer(params, watch, client_id="test", group_id=f"{params.topics.prefix}reader")
    found: list[tuple[bytes | None, bytes | None, dict[str, bytes]]] = []
    try:
        for message in read_to_end(consumer, params.topics.full("requests"), watch, params.broker.servers):
            headers: dict[str, bytes] = dict(message.headers() or [])  # type: ignore[arg-type]  # a list of pairs
            found.append((message.key(), message.value(), headers))
    finally:
        consumer.close()
    assert len(found) == count
    return sorted(found, key=lambda record: record[0] or b"")


def test_a_replay_sends_the_originals_and_marks_them_in_one_go(params: KafkaParams) -> None:
    bury(
        params,
        (DeadLetterReason.MODEL_ERROR, b'{"x": 1}', False),
        (DeadLetterReason.WRONG_TYPE, b'{"x": []}', False),
        (DeadLetterReason.MODEL_ERROR, None, False),
        (DeadLetterReason.TOO_LARGE, b'{"x": 9', True),
    )
    letters = [letter for letter in read_letters(params) if letter.facts.reason != DeadLetterReason.WRONG_TYPE]
    assert len(letters) == 3

    assert replay(params, letters, again=False, dry_run=True).sent == 2
    assert not any(letter.replayed for letter in read_letters(params))

    done = replay(params, letters, again=False, dry_run=False)
    assert (done.sent, done.already, done.truncated) == (2, 0, 1)
    sent = requests_of(params, 2)
    assert [(key, value) for key, value, _ in sent] == [(b"key-0", b'{"x": 1}'), (b"key-2", None)]
    by_request = {letter.facts.request_id: letter for letter in letters}
    for request_id, (_, _, headers) in zip(("r-0", "r-2"), sent, strict=True):
        assert headers == {
            "request-id": request_id.encode(),
            "colour": b"red",
            "rollcast-replay-of": by_request[request_id].place.encode(),
        }
    assert {letter.facts.request_id for letter in read_letters(params) if letter.replayed} == {"r-0", "r-2"}


def test_nothing_is_sent_twice_unless_it_is_asked_for(params: KafkaParams) -> None:
    bury(params, *[(DeadLetterReason.MODEL_ERROR, b'{"x": %d}' % number, False) for number in range(1200)])
    first = replay(params, read_letters(params), again=False, dry_run=False)
    assert (first.sent, first.already) == (1200, 0)
    second = replay(params, read_letters(params), again=False, dry_run=False)
    assert (second.sent, second.already) == (0, 1200)
    requests_of(params, 1200)
    assert replay(params, read_letters(params)[:1], again=True, dry_run=False).sent == 1


def test_the_command_lists_shows_and_replays(
    params: KafkaParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLLCAST_HOME", str(tmp_path))
    monkeypatch.setenv("ROLLCAST_KAFKA_SERVERS", params.broker.servers)
    monkeypatch.setenv("ROLLCAST_TOPIC_PREFIX", params.topics.prefix)
    bury(params, (DeadLetterReason.MODEL_ERROR, b'{"x": 1}', False), (DeadLetterReason.NOT_JSON, b"\xff", False))
    run = CliRunner()

    def rollcast(*arguments: str) -> tuple[int, str]:
        result = run.invoke(app, ["dead-letters", *arguments])
        return result.exit_code, result.output

    code, listed = rollcast("list", "--json", "--reason", "model-error")
    assert code == 0
    letter = json.loads(listed)
    assert (letter["request_id"], letter["value"], letter["replayed"]) == ("r-0", '{"x": 1}', False)
    assert letter["headers"] == {"request-id": "r-0", "colour": "red"}

    code, shown = rollcast("show", letter["place"])
    assert code == 0
    assert json.loads(shown) == letter
    code, told = rollcast("show", "99:99")
    assert code == 1
    assert told == (
        "rollcast: error: there is no dead letter at 99:99; `rollcast dead-letters list` says where they are\n"
    )

    assert rollcast("replay") == (
        1,
        "rollcast: error: name what to replay: places, --reason, --model, --version or --since; or --all\n",
    )
    code, told = rollcast("replay", "--reason", "model-error", "--dry-run")
    assert (code, told) == (0, "1 would be sent\n")
    code, told = rollcast("replay", "--reason", "model-error")
    assert code == 0
    assert told.endswith("1 sent\n")
    code, told = rollcast("replay", "--reason", "model-error")
    assert (code, told) == (0, "0 sent; 1 were replayed before (--again sends them once more)\n")
    code, told = rollcast("list", "--reason", "nonsense")
    assert code == 1
    assert "--reason was 'nonsense', may be empty, not-json" in told


def letter_of(**changes: object) -> Letter:
    facts = DeadLetter(
        reason=DeadLetterReason.NOT_JSON,
        message="",
        source_topic="requests",
        source_partition=0,
        source_offset=0,
        model="line",
        version="v1",
        request_id="r",
    )
    values: dict[str, object] = {
        "partition": 1,
        "offset": 5,
        "time": 1000,
        "facts": facts,
        "key": None,
        "value": None,
        "headers": (),
        "replayed": False,
    }
    return Letter(**(values | changes))  # type: ignore[arg-type]  # as above


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        (ALL, True),
        (Filter(reasons=frozenset({DeadLetterReason.NOT_JSON})), True),
        (Filter(reasons=frozenset({DeadLetterReason.EMPTY})), False),
        (Filter(model="line"), True),
        (Filter(model="other"), False),
        (Filter(version="v2"), False),
        (Filter(since=1000), True),
        (Filter(since=1001), False),
        (Filter(places=frozenset({(1, 5)})), True),
        (Filter(places=frozenset({(1, 6)})), False),
    ],
)
def test_a_filter_takes(wanted: Filter, taken: bool) -> None:  # noqa: FBT001  # a column of the table
    assert wanted.takes(letter_of()) is taken


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("90s", 910_000), ("10m", 400_000), ("1970-01-01T00:10:00+00:00", 600_000)],
)
def test_since(text: str, milliseconds: int) -> None:
    assert parse_since(text, now=1000) == milliseconds


@pytest.mark.parametrize("text", ["", "10", "10 m", "yesterday", "-5m"])
def test_a_wrong_since_says_what_is_right(text: str) -> None:
    with pytest.raises(ConfigError, match="may be 90s, 10m, 2h, 1d"):
        parse_since(text, now=1000)


@pytest.mark.parametrize("text", ["", "1", "1:", "a:b", "1:-2"])
def test_a_wrong_place_says_what_is_right(text: str) -> None:
    with pytest.raises(ConfigError, match="may be partition:offset"):
        parse_place(text)
