"""Dead letters are not the end: list them, look at one, send them again once what was wrong is mended."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import KafkaException, Message, Producer

from rollcast_common.contracts import DeadLetter, DeadLetterReason
from rollcast_common.contracts.dead_letter import (
    original_headers,
    parse_dead_letter,
    replay_mark_headers,
    replayed_place,
)
from rollcast_common.errors import ConfigError, ContractError
from rollcast_common.kafka import ErrorWatch, KafkaParams, make_consumer, make_producer, problem_from, read_to_end

__all__ = ["Filter", "Letter", "Replay", "parse_place", "parse_since", "read_letters", "replay"]

REPLAY_HEADER = "rollcast-replay-of"
"""On a replayed request: which dead letter it was."""

_BATCH_LETTERS = 500
_MAX_MESSAGE_BYTES = 16 << 20
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter and where it lies. `time` is in milliseconds since the epoch."""

    partition: int
    offset: int
    time: int
    facts: DeadLetter
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | str | None], ...]
    replayed: bool

    @property
    def place(self) -> str:
        return f"{self.partition}:{self.offset}"

    def as_json(self) -> dict[str, Any]:
        """Everything that a person may want to know; bytes as text, replacing what is none."""
        return {
            "place": self.place,
            "time": datetime.fromtimestamp(self.time / 1000, UTC).isoformat(timespec="milliseconds"),
            "reason": self.facts.reason.value,
            "message": self.facts.message,
            "model": self.facts.model,
            "version": self.facts.version,
            "request_id": self.facts.request_id,
            "source": {
                "topic": self.facts.source_topic,
                "partition": self.facts.source_partition,
                "offset": self.facts.source_offset,
            },
            "truncated": self.facts.truncated,
            "replayed": self.replayed,
            "key": _text(self.key),
            "headers": {name: _text(value) for name, value in original_headers(self.headers)},
            "value": _text(self.value),
        }


@dataclass(frozen=True, slots=True)
class Filter:
    """None takes all. `since` is in milliseconds since the epoch."""

    reasons: frozenset[DeadLetterReason] | None = None
    model: str | None = None
    version: str | None = None
    since: int | None = None
    places: frozenset[tuple[int, int]] | None = None

    def takes(self, letter: Letter) -> bool:
        return (
            (self.reasons is None or letter.facts.reason in self.reasons)
            and (self.model is None or letter.facts.model == self.model)
            and (self.version is None or letter.facts.version == self.version)
            and (self.since is None or letter.time >= self.since)
            and (self.places is None or (letter.partition, letter.offset) in self.places)
        )


@dataclass(frozen=True, slots=True)
class Replay:
    """What a replay did, or would do."""

    sent: int
    already: int
    """Replayed before, and left alone."""
    truncated: int
    """Cut when they became dead letters: their originals are gone from here, and cannot be sent."""


def parse_place(text: str) -> tuple[int, int]:
    """`partition:offset`, as `list` prints it. Raises ConfigError."""
    found = re.fullmatch(r"(\d+):(\d+)", text)
    if found is None:
        raise ConfigError(f"the place of a dead letter was {text!r}, may be partition:offset, such as 0:42")
    return int(found[1]), int(found[2])


def parse_since(text: str, *, now: float) -> int:
    """`90s`, `10m`, `2h`, `1d` before `now` (Unix seconds), or a date and time; in milliseconds. Raises ConfigError."""
    if found := re.fullmatch(r"(\d+)([smhd])", text):
        return int((now - int(found[1]) * _UNITS[found[2]]) * 1000)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"--since was {text!r}, may be 90s, 10m, 2h, 1d, or a date and time such as 2026-11-21T09:30"
        ) from None
    return int(moment.astimezone(UTC).timestamp() * 1000)


def read_letters(kafka: KafkaParams) -> list[Letter]:
    """All that the topic holds now, oldest first, each knowing whether it was replayed. Raises KafkaProblem."""
    topic = kafka.topics.full("dead_letters")
    watch = ErrorWatch(kafka.broker.servers)
    settings: dict[str, str | int | float | bool] = {"auto.offset.reset": "earliest", "fetch.wait.max.ms": 50}
    consumer = make_consumer(
        kafka, watch, client_id="rollcast-dead-letters", group_id="rollcast-dead-letters", settings=settings
    )
    try:
        messages = list(read_to_end(consumer, topic, watch, kafka.broker.servers))
    finally:
        consumer.close()
    return letters_of(messages)


def letters_of(messages: Iterable[Message]) -> list[Letter]:
    """Sort records of the topic into letters and marks. What is neither is somebody else's, and left out."""
    letters: dict[tuple[int, int], Letter] = {}
    replayed: set[tuple[int, int]] = set()
    for message in messages:
        headers: Any = message.headers() or []
        try:
            if (mark := replayed_place(headers)) is not None:
                replayed.add(mark)
                continue
            facts = parse_dead_letter(headers)
        except ContractError:
            continue
        place = (message.partition() or 0, message.offset() or 0)
        letters[place] = Letter(
            *place,
            time=message.timestamp()[1],
            facts=facts,
            key=message.key(),
            value=message.value(),
            headers=tuple(headers),
            replayed=False,
        )
    marked = [replace(letter, replayed=True) if place in replayed else letter for place, letter in letters.items()]
    return sorted(marked, key=lambda letter: (letter.time, letter.partition, letter.offset))


def replay(
    kafka: KafkaParams,
    letters: Iterable[Letter],
    *,
    again: bool,
    dry_run: bool,
    progress: Callable[[int], None] = lambda _: None,
) -> Replay:
    """Send letters to the topics that they came from, with their keys and headers, and mark them, in transactions.

    One replay runs at a time: another one that starts meanwhile fences this one off. `again` sends also what was
    sent before. `progress` is told how many are sent and marked for good. Raises KafkaProblem; what was
    reported by then is done, the rest is not.
    """
    todo, already, truncated = [], 0, 0
    for letter in letters:
        if letter.facts.truncated:
            truncated += 1
        elif letter.replayed and not again:
            already += 1
        else:
            todo.append(letter)
    if todo and not dry_run:
        _send(kafka, todo, progress)
    return Replay(len(todo), already, truncated)


def _send(kafka: KafkaParams, letters: list[Letter], progress: Callable[[int], None]) -> None:
    servers = kafka.broker.servers
    watch = ErrorWatch(servers)
    topic = kafka.topics.full("dead_letters")
    producer = make_producer(
        kafka,
        watch,
        client_id="rollcast-replay",
        settings={"transactional.id": f"rollcast-replay.{topic}", "message.max.bytes": _MAX_MESSAGE_BYTES},
    )
    try:
        producer.init_transactions(30)
        for start in range(0, len(letters), _BATCH_LETTERS):
            batch = letters[start : start + _BATCH_LETTERS]
            _send_batch(producer, topic, batch)
            progress(start + len(batch))
    except KafkaException as error:
        watch.check("replaying")
        raise problem_from(error.args[0], "replaying dead letters", servers) from None


def _send_batch(producer: Producer, topic: str, letters: list[Letter]) -> None:
    producer.begin_transaction()
    try:
        for letter in letters:
            headers = [*original_headers(letter.headers), (REPLAY_HEADER, letter.place.encode())]
            producer.produce(letter.facts.source_topic, letter.value, letter.key, headers=headers)
            producer.produce(
                topic, None, letter.key, headers=list(replay_mark_headers(letter.partition, letter.offset))
            )
        producer.commit_transaction(60)
    except KafkaException:
        producer.abort_transaction(30)
        raise


def _text(value: bytes | str | None) -> str | None:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
