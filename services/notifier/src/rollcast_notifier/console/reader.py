"""One thread that reads what the console shows: of each topic the last records and all that come, in no group."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from rollcast_common.errors import KafkaUnavailable, RollcastError
from rollcast_common.kafka import KafkaParams, LifeWatch, make_consumer, problem_from

__all__ = ["Record", "Source", "TopicReader"]

_log = structlog.get_logger()

_POLL_SECONDS = 0.1
_MOST_AT_ONCE = 2000
_ANSWER_SECONDS = 5.0
_AGAIN_SECONDS = 2.0
_LOOK_AGAIN_SECONDS = 5.0
_MOST_BEHIND = 100_000


@dataclass(frozen=True, slots=True)
class Record:
    """`is_history`: it was there before the console began to read. `time` is milliseconds since the epoch."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | str | None]] | None
    time: int
    is_history: bool


@dataclass(frozen=True, slots=True)
class Source:
    """A topic, by Rollcast's own name for it, and who takes its records; `take` is called in the reader's thread."""

    topic: str
    take: Callable[[Sequence[Record]], None]
    last: int | None = None
    """So many records of what is there are read, from all partitions together; None: all."""


class TopicReader:
    """Commits nothing and belongs to no group's assignment: it holds nobody up, and nobody holds it up.

    A topic that is not there, or is made anew, is looked for again. Where it is hopelessly behind it jumps to the
    end: what is shown is the present, and `passed_over` counts what was not looked at.
    """

    def __init__(self, params: KafkaParams, sources: Sequence[Source], *, client_id: str, group_id: str) -> None:
        """Raises ConfigError when librdkafka does not accept a property."""
        self._servers = params.broker.servers
        self._sources: Mapping[str, Source] = {params.topics.full(source.topic): source for source in sources}
        self._watch = LifeWatch(self._servers)
        self._make: Callable[[], Consumer] = lambda: make_consumer(
            params,
            self._watch,
            client_id=client_id,
            group_id=group_id,
            settings={
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 50,
                "queued.max.messages.kbytes": 16_384,
                "topic.metadata.refresh.interval.ms": 5000,
                "allow.auto.create.topics": False,
            },
        )
        self._consumer = self._make()
        self._history: dict[tuple[str, int], int] = {}
        self._look_at = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="console-reader", daemon=True)
        self.passed_over = 0
        self.problem: str | None = None
        """What keeps it from reading now, for people."""

    @property
    def is_reading(self) -> bool:
        """Whether every topic is read: what is written from now on is seen."""
        return self.problem is None and {topic for topic, _ in list(self._history)} == set(self._sources)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._look_for_topics()
                while not self._stopping.is_set():
                    self._read()
                    if time.monotonic() >= self._look_at:
                        self._look_for_topics()
            except RollcastError as problem:
                self._note(str(problem))
                self._begin_again()
            except Exception as error:  # noqa: BLE001  # the console must not go dark for ever over one record
                _log.exception("the console's reader stumbled")
                self._note(f"reading for the console: {error!r}")
                self._begin_again()
        self._consumer.close()

    def _note(self, problem: str) -> None:
        if problem != self.problem:
            _log.warning("the console cannot read now", problem=problem)
        self.problem = problem

    def _begin_again(self) -> None:
        self._consumer.close()
        self._history.clear()
        while not self._stopping.wait(_AGAIN_SECONDS):
            self._watch = LifeWatch(self._servers)
            try:
                self._consumer = self._make()
            except RollcastError as problem:  # a password's file may be away for a moment
                self._note(str(problem))
            else:
                return

    def _look_for_topics(self) -> None:
        """Assigns the partitions that are not read yet, and lets go of what lies too far behind."""
        self._look_at = time.monotonic() + _LOOK_AGAIN_SECONDS
        self._watch.check("reading for the console")
        try:
            found = self._consumer.list_topics(timeout=_ANSWER_SECONDS).topics
            problem = None
            for topic, source in self._sources.items():
                if topic not in found or found[topic].error is not None:
                    problem = f"Kafka at {self._servers}: no topic {topic}; create with `rollcast topics create`"
                    continue
                self._assign(source, topic, sorted(found[topic].partitions))
            self._catch_up()
        except KafkaException as error:
            unknown = problem_from(error.args[0], "reading for the console", self._servers)
            if not isinstance(unknown, KafkaUnavailable):
                raise unknown from None
            # A broker that is slow or away: the consumer goes on by itself where it was, and nothing is missed. Begun
            # anew, what came meanwhile would be taken for history. Where it cannot go on, its watch says so.
            self._note(str(unknown))
            self._look_at = time.monotonic() + _AGAIN_SECONDS
            return
        if problem is None:
            self.problem = None
        else:
            self._note(problem)

    def _assign(self, source: Source, topic: str, partitions: Sequence[int]) -> None:
        new = [number for number in partitions if (topic, number) not in self._history]
        places, ends = [], {}
        for number in new:
            low, end = self._consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_ANSWER_SECONDS)
            begin = low if source.last is None else max(low, end - -(-source.last // len(partitions)))
            places.append(TopicPartition(topic, number, begin))
            ends[topic, number] = end
        if places:
            self._consumer.incremental_assign(places)
            self._history |= ends

    def _catch_up(self) -> None:
        for place in self._consumer.position(self._consumer.assignment()):
            if place.offset < 0:
                continue
            # What the last fetch was told: no question to the broker.
            end = self._consumer.get_watermark_offsets(TopicPartition(place.topic, place.partition), cached=True)[1]
            if self._sources[place.topic].last is not None and end - place.offset > _MOST_BEHIND:
                self.passed_over += end - place.offset
                self._consumer.seek(TopicPartition(place.topic, place.partition, end))

    def _read(self) -> None:
        by_topic: dict[str, list[Record]] = {}
        for message in self._consumer.consume(_MOST_AT_ONCE, _POLL_SECONDS):
            error = message.error()
            if error is None:
                by_topic.setdefault(message.topic() or "", []).append(self._record(message))
            elif error.code() in _GONE:
                self._drop(message.topic() or "")
            elif not error.retriable():
                self._note(str(problem_from(error, "reading for the console", self._servers)))
        for topic, records in by_topic.items():
            self._sources[topic].take(records)
        self._watch.check("reading for the console")

    def _record(self, message: Message) -> Record:
        topic, partition, offset = message.topic() or "", message.partition() or 0, message.offset() or 0
        headers: Any = message.headers()  # never a mapping, whatever its type says
        return Record(
            partition,
            offset,
            _bytes(message.key()),
            _bytes(message.value()),
            list(headers) if headers else None,
            message.timestamp()[1],
            offset < self._history.get((topic, partition), 0),
        )

    def _drop(self, topic: str) -> None:
        """It was deleted, or made anew: it is looked for again soon."""
        mine = [number for name, number in self._history if name == topic]
        assigned = {(place.topic, place.partition) for place in self._consumer.assignment()}
        gone = [TopicPartition(topic, number) for number in mine if (topic, number) in assigned]
        if gone:
            self._consumer.incremental_unassign(gone)
        for number in mine:
            del self._history[topic, number]


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


_GONE = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNKNOWN_TOPIC_ID,
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001  # librdkafka's public constants begin with an underscore
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
        KafkaError.OFFSET_OUT_OF_RANGE,
        KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001
    }
)
"""What a consumer hears when its topic was deleted, or deleted and made again."""
