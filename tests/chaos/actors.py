"""Who takes part and writes down what it saw: a client, a reader of the answers, a sampler of the slots, and at the
end the bookkeeper, who looks what Kafka has of it all.
"""

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, Message, TopicPartition
from tests.chaos.history import (
    Accepted,
    Assigned,
    Committed,
    DeadLettered,
    Event,
    OpenTransaction,
    Result,
    Sample,
    Writer,
)
from tests.chaos.models import DEADLY_X, SLOW_X

from rollcast_common.contracts import decode_prediction
from rollcast_common.contracts.dead_letter import parse_dead_letter
from rollcast_common.errors import RollcastError
from rollcast_common.kafka import (
    ErrorWatch,
    KafkaParams,
    TopicNames,
    make_admin,
    make_consumer,
    make_producer,
    topic_ends,
)

__all__ = ["BAD_RECORDS", "MAX_REQUEST_BYTES", "Client", "Reader", "Sampler", "close_the_books"]

MAX_REQUEST_BYTES = 20_000
"""What slots are told to take; the client's oversize records are larger."""

_PARTITIONS_EVERY_SECONDS = 0.5
_SAMPLE_EVERY_SECONDS = 0.1

# Each is answered by a dead letter: none of them can be predicted, by a model without a card.
BAD_RECORDS: Mapping[str, Callable[[float], bytes | None]] = {
    "half an object": lambda x: b'{"x": %d' % x,
    "nothing": lambda _: None,
    "another feature": lambda x: b'{"y": %d}' % x,
    "a list": lambda x: b"[%d]" % x,
    "a text": lambda x: b'{"x": "as much as %d"}' % x,
    "too large": lambda x: b'{"x": %d, "more": "%s"}' % (x, b"m" * MAX_REQUEST_BYTES),
}


class _Actor:
    """A thread that acts until it is told that it is over. What ended it early is raised by `stop`."""

    def __init__(self, name: str, path: Path) -> None:
        self._over = threading.Event()
        self._writer = Writer(path)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._guarded, name=name, daemon=True)

    def _guarded(self) -> None:
        try:
            self._run()
        except BaseException as error:  # noqa: BLE001  # raised again by whoever waits for this actor
            self._failure = error

    def _run(self) -> None:
        raise NotImplementedError

    def start(self) -> Self:
        self._thread.start()
        return self

    def check(self) -> None:
        if self._failure is not None:
            raise RollcastError(f"{self._thread.name} failed: {self._failure!r}") from self._failure

    def stop(self) -> None:
        self._over.set()
        if self._thread.ident is not None:  # it may never have begun
            self._thread.join()
        self._writer.close()
        self.check()


class Client(_Actor):
    """Asks at a steady rate, each request with an id and an x of its own. Its seed decides everything but the time."""

    def __init__(
        self,
        kafka: KafkaParams,
        names: TopicNames,
        path: Path,
        *,
        seed: int,
        slopes: Mapping[str, float],
        per_second: float,
        keys: int = 40,
        bad_share: float = 0.01,
        bad: Iterable[Callable[[float], bytes | None]] = BAD_RECORDS.values(),
    ) -> None:
        """`slopes` are those of all models that may ever answer, by their digest."""
        super().__init__("client", path)
        self._topic = names.full("requests")
        self._slopes = slopes
        self._per_second = per_second
        self._keys = keys
        self._bad_share = bad_share
        self._bad = tuple(bad)
        self._seed = seed
        self._random = random.Random(seed)  # noqa: S311  # no secret: the same again from the same seed
        self._lock = threading.Lock()
        self._refused: list[KafkaError] = []
        self._producer = make_producer(
            kafka,
            ErrorWatch(kafka.broker.servers),
            client_id="chaos-client",
            # However long an outage: what was sent is sent in the end, once and in order.
            settings={"message.timeout.ms": 0, "linger.ms": 2, "queue.buffering.max.messages": 1_000_000},
        )
        self.sent = 0
        self.acknowledged = 0

    def _run(self) -> None:
        began = time.monotonic()
        asked = 0
        while not self._over.wait(0.01):
            due = int((time.monotonic() - began) * self._per_second)
            while asked < due:
                self.ask()
                asked += 1
            self._producer.poll(0)

    def ask(self, count: int = 1) -> None:
        for _ in range(count):
            with self._lock:
                bad = self._random.random() < self._bad_share
                make = self._random.choice(self._bad) if bad else None
            self._send(make)

    def poison(self, *, deadly: bool) -> None:
        """One request that its host does not survive, or does not answer in time."""
        x = DEADLY_X if deadly else SLOW_X
        self._send(lambda _: b'{"x": %d}' % x)

    def burst_of_bad_records(self) -> None:
        for make in self._bad:
            self._send(make)

    def _send(self, make: Callable[[float], bytes | None] | None) -> None:
        with self._lock:
            number = self.sent
            self.sent += 1
            key = f"key-{self._random.randrange(self._keys)}"
            x = float(number + 1)
            value = b'{"x": %d}' % x if make is None else make(x)
            expected = {digest: slope * x for digest, slope in self._slopes.items()} if make is None else None
            request_id = f"{self._seed}-{number}"

            def delivered(error: KafkaError | None, message: Message) -> None:
                if error is not None:
                    self._refused.append(error)
                    return
                self.acknowledged += 1
                partition, offset = message.partition(), message.offset()
                assert partition is not None and offset is not None  # noqa: PT018  # a delivered record has both
                now = time.monotonic()
                accepted = Accepted(
                    id=request_id, key=key, partition=partition, offset=offset, expected=expected, time=now
                )
                self._writer.write([accepted])

            headers: list[tuple[str, bytes | str | None]] = [("request-id", request_id)]
            self._producer.produce(self._topic, value, key.encode(), headers=headers, on_delivery=delivered)

    def finish(self, seconds: float = 180.0) -> None:
        """Stop asking, and wait until Kafka has all that was asked."""
        self._over.set()
        self._thread.join()
        left = self._producer.flush(seconds)
        if left or self._refused:
            raise RollcastError(f"Kafka did not take {left} requests, and refused {self._refused[:3]}")
        self.stop()


class Reader(_Actor):
    """Reads both output topics from their beginning."""

    def __init__(self, kafka: KafkaParams, names: TopicNames, path: Path, *, isolation: str = "read_committed") -> None:
        super().__init__("reader", path)
        self._dead_letters = names.full("dead_letters")
        self._consumer = make_consumer(
            kafka,
            ErrorWatch(kafka.broker.servers),
            client_id="chaos-reader",
            group_id="chaos-reader",
            settings={"fetch.wait.max.ms": 50, "isolation.level": isolation},
        )
        self._places = [
            TopicPartition(topic, number, 0)
            for topic in (names.full("app_messages"), self._dead_letters)
            for number in self._consumer.list_topics(topic, timeout=30).topics[topic].partitions
        ]
        self._consumer.assign(self._places)
        self._lock = threading.Lock()
        self._position: dict[tuple[str, int], int] = {}
        self.seen = 0
        self.predicted: dict[int, int] = {}
        """Of each partition of app_messages, what follows its last prediction."""

    @property
    def position(self) -> dict[tuple[str, int], int]:
        """Of each partition of both topics, where it would read next."""
        with self._lock:
            return dict(self._position)

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                messages = self._consumer.consume(1000, 0.05)
                now = time.monotonic()
                # Without an error it is an answer; with one, news of a client that goes on by itself.
                events = [self._event(message, now) for message in messages if message.error() is None]
                self._writer.write(events)
                self.seen += len(events)
                position = {
                    (place.topic, place.partition): place.offset for place in self._consumer.position(self._places)
                }
                with self._lock:
                    self._position = position
        finally:
            self._consumer.close()

    def _event(self, message: Message, now: float) -> Event:
        key, partition, offset, value = message.key(), message.partition(), message.offset(), message.value()
        assert partition is not None and offset is not None  # noqa: PT018  # a record without error has both
        assert isinstance(key, bytes)  # as all our requests
        name = key.decode()
        if message.topic() == self._dead_letters:
            headers: Any = message.headers()
            letter = parse_dead_letter(headers)
            return DeadLettered(
                id=letter.request_id,
                key=name,
                partition=partition,
                offset=offset,
                source_partition=letter.source_partition,
                source_offset=letter.source_offset,
                reason=letter.reason,
                time=now,
            )
        assert value is not None
        prediction = decode_prediction(value)
        self.predicted[partition] = offset + 1
        return Result(
            id=prediction.request_id,
            key=name,
            partition=partition,
            offset=offset,
            version=prediction.version,
            sha256=prediction.sha256,
            value=prediction.value(),
            time=now,
        )


class Sampler(_Actor):
    """Who is ready, every 100 ms, and who owns what, as often as the group's coordinator says so."""

    def __init__(
        self, kafka: KafkaParams, group: str, path: Path, *, slots: Callable[[], Mapping[str, Callable[[], Any]]]
    ) -> None:
        """`slots` are the present ones, by name: each call says what its /readyz says now."""
        super().__init__("sampler", path)
        self._slots = slots
        self._group = group
        self._admin = make_admin(kafka, ErrorWatch(kafka.broker.servers), client_id="chaos-sampler")
        self._ready: dict[str, float] = {}
        """When a slot last said that it is ready."""

    def _run(self) -> None:
        threads: dict[str, threading.Thread] = {}
        owners = threading.Thread(target=self._follow_owners, name="owners", daemon=True)
        owners.start()
        while not self._over.wait(_SAMPLE_EVERY_SECONDS):
            for name in self._slots():
                # A slot that is stopped does not answer: it must not keep us from asking the others.
                if name not in threads or not threads[name].is_alive():
                    threads[name] = threading.Thread(target=self._ask, args=(name,), name=f"ask-{name}", daemon=True)
                    threads[name].start()
            now = time.monotonic()
            ready = sorted(name for name, at in self._ready.items() if now - at < 3 * _SAMPLE_EVERY_SECONDS)
            self._writer.write([Sample(ready=ready, time=now)])
        owners.join()

    def _ask(self, name: str) -> None:
        while not self._over.is_set() and (ask := self._slots().get(name)) is not None:
            if ask().get("ready"):
                self._ready[name] = time.monotonic()
            if self._over.wait(_SAMPLE_EVERY_SECONDS):
                return

    def _follow_owners(self) -> None:
        while not self._over.wait(_PARTITIONS_EVERY_SECONDS):
            # While the coordinator is away nobody can tell who owns what.
            with contextlib.suppress(KafkaException):
                group = self._admin.describe_consumer_groups([self._group], request_timeout=5)[self._group].result()
                owners = {
                    place.partition: member.client_id
                    for member in group.members
                    for place in member.assignment.topic_partitions
                }
                self._writer.write([Assigned(owners=owners, time=time.monotonic())])


def close_the_books(
    kafka: KafkaParams,
    names: TopicNames,
    group: str,
    path: Path,
    *,
    reader: Reader,
    before_the_end: Callable[[], None] = lambda: None,
    catch_up_seconds: float = 180.0,
    close_seconds: float = 90.0,
) -> None:
    """After the last request: who caught up and when, what is committed, and whether a transaction stays open.

    `before_the_end` is called once all is caught up, or the time is over: then the slots may go.
    """
    admin = make_admin(kafka, ErrorWatch(kafka.broker.servers), client_id="chaos-bookkeeper")
    # With isolation read_committed the broker would name the last stable offset instead of the end.
    consumer = make_consumer(
        kafka,
        ErrorWatch(kafka.broker.servers),
        client_id="chaos-bookkeeper",
        group_id="chaos-bookkeeper",
        settings={"isolation.level": "read_uncommitted"},
    )

    def ends(topics: Iterable[str]) -> dict[tuple[str, int], int]:
        servers = kafka.broker.servers
        return {
            (end.topic, end.partition): end.offset for topic in topics for end in topic_ends(consumer, topic, servers)
        }

    def committed() -> dict[int, int]:
        asked = ConsumerGroupTopicPartitions(group)
        answer = admin.list_consumer_group_offsets([asked], request_timeout=30)[group].result()
        return {place.partition: max(0, place.offset) for place in answer.topic_partitions or ()}

    writer = Writer(path)
    try:
        requests = {number: end for (_, number), end in ends([names.full("requests")]).items()}
        caught_up: dict[int, float] = {}
        deadline = time.monotonic() + catch_up_seconds
        while len(caught_up) < len(requests) and time.monotonic() < deadline:
            found = committed()
            for number, end in requests.items():
                if found.get(number, 0) >= end:
                    caught_up.setdefault(number, time.monotonic())
            time.sleep(0.05)
        before_the_end()
        found = committed()
        writer.write(
            Committed(partition=number, committed=found.get(number, 0), end=end, caught_up_at=caught_up.get(number))
            for number, end in requests.items()
        )
        outputs = ends([names.full("app_messages"), names.full("dead_letters")])
        deadline = time.monotonic() + close_seconds
        behind = outputs
        while behind and time.monotonic() < deadline:
            reader.check()
            position = reader.position
            behind = {place: end for place, end in outputs.items() if end > 0 and position.get(place, -1) < end}
            time.sleep(0.05)
        writer.write(OpenTransaction(topic=topic, partition=number) for topic, number in behind)
    finally:
        writer.close()
        consumer.close()
