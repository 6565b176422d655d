"""A topic read as a table: of each key the last value counts, and it is known when all that was there has been read."""

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Self

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from rollcast_common.errors import KafkaDenied, KafkaProblem, RollcastError
from rollcast_common.kafka.clients import LifeWatch, make_consumer
from rollcast_common.kafka.errors import problem_from
from rollcast_common.kafka.params import KafkaParams

__all__ = ["Row", "TableFollower"]

_log = structlog.get_logger()

_POLL_SECONDS = 0.1
_MOST_AT_ONCE = 1000
_LIST_SECONDS = 5.0
_AGAIN_SECONDS = 1.0
_SAY_EVERY_SECONDS = 30.0
_PROBE_SECONDS = 1.0

_STARTED_ANEW = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNKNOWN_TOPIC_ID,
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001  # librdkafka's public constants begin with an underscore
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
        KafkaError.OFFSET_OUT_OF_RANGE,
        KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001
    }
)
"""What a consumer hears when its topic was deleted, or deleted and created again."""


@dataclass(frozen=True, slots=True)
class Row:
    """`value` is None for a tombstone. `received` is of time.monotonic(); None for what was there at the start, whose
    age nobody knows. `reading` is the follower's when it was read: a lower one than the follower's own is of a topic
    that was deleted since.
    """

    value: bytes | None
    received: float | None
    reading: int


class TableFollower:
    """A thread that reads a topic from its beginning and keeps reading; it belongs to no consumer group.

    Rows stay when the topic is deleted, and are replaced as it fills again. `problem` says what keeps it from reading
    now, `failure` what ended it for good: a refusal, or a bug.
    """

    def __init__(
        self,
        params: KafkaParams,
        topic: str,
        *,
        client_id: str,
        wanted: Callable[[str], bool] = lambda _: True,
        on_change: Callable[[Collection[str]], None] = lambda _: None,
    ) -> None:
        """`topic` is Rollcast's own name for it; keys that are not `wanted` are passed over. `on_change` is called in
        the thread with the keys that have changed; without any when it has caught up, or when its problem changed.

        Raises ConfigError when librdkafka does not accept a property.
        """
        self._servers = params.broker.servers
        self.topic = params.topics.full(topic)
        self._doing = f"following topic {self.topic}"
        self._wanted = wanted
        self._on_change = on_change
        self._watch = LifeWatch(self._servers)
        self._make: Callable[[], Consumer] = lambda: make_consumer(
            params,
            self._watch,
            client_id=client_id,
            group_id=f"{client_id}-{topic}",
            settings={
                # A topic that was created anew is to be noticed, not only read.
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 20,
                "topic.metadata.refresh.interval.ms": 5000,
            },
        )
        self._consumer = self._make()
        self._rows: dict[str, Row] = {}
        self._unread: set[int] = set()
        self._say_at = 0.0
        self._is_away = False
        self._probe_at = 0.0
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"following-{topic}", daemon=True)
        self.reading = 0
        """How many times the topic was found to be another one and read from its beginning again."""
        self.caught_up = False
        """Whether everything that was there when it was begun to be read has been read."""
        self.problem: str | None = None
        self.failure: BaseException | None = None

    def rows(self) -> dict[str, Row]:
        """By key; what is there now, whether caught up or not."""
        with self._lock:
            return dict(self._rows)

    def get(self, key: str) -> Row | None:
        with self._lock:
            return self._rows.get(key)

    def wait(self, timeout_seconds: float) -> bool:
        """True when something has changed since the last call that said so."""
        if self._changed.wait(timeout_seconds):
            self._changed.clear()
            return True
        return False

    def check(self) -> None:
        """Raises what ended the thread."""
        if isinstance(self.failure, RollcastError):
            raise self.failure
        if self.failure is not None:
            raise RollcastError(f"{self._doing}: {self.failure!r}; this is a bug of Rollcast") from self.failure

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    self._begin()
                    while not self._stopping.is_set() and self._follow():
                        pass
                except KafkaDenied:
                    raise
                except KafkaProblem as problem:
                    self._note(problem)
                    if self._watch.is_cut_off:
                        self._consumer.close()
                        self._watch = LifeWatch(self._servers)
                        self._consumer = self._make()
                    # Only who polls is told that it was cut off, also while it could not even begin.
                    self._consumer.poll(0)
                    self._stopping.wait(_AGAIN_SECONDS)
        except BaseException as error:  # noqa: BLE001  # its owner asks, and must hear of it
            self.failure = error
        finally:
            self._tell()
            self._consumer.close()

    def _note(self, problem: KafkaProblem) -> None:
        if self.problem is None or time.monotonic() >= self._say_at:
            self._say_at = time.monotonic() + _SAY_EVERY_SECONDS
            _log.warning("topic cannot be followed now", topic=self.topic, problem=str(problem))
        self.problem = str(problem)
        self._tell()

    def _tell(self, keys: Collection[str] = ()) -> None:
        self._changed.set()
        self._on_change(keys)

    def _begin(self) -> None:
        """From the beginning; what is known stays until something newer is read."""
        found = self._partitions()
        self._unread = set(found)
        self._consumer.assign([TopicPartition(self.topic, number, OFFSET_BEGINNING) for number in found])

    def _partitions(self) -> list[int]:
        self._watch.check(self._doing)
        try:
            metadata = self._consumer.list_topics(self.topic, timeout=_LIST_SECONDS).topics[self.topic]
        except KafkaException as error:
            self._watch.check(self._doing)
            raise problem_from(error.args[0], self._doing, self._servers) from None
        if metadata.error is not None:
            raise problem_from(metadata.error, self._doing, self._servers)
        return sorted(metadata.partitions)

    def _follow(self) -> bool:
        """False when the topic has to be read from its beginning again."""
        changed: set[str] = set()
        has_news = False
        for message in self._consumer.consume(_MOST_AT_ONCE, _POLL_SECONDS):
            error = message.error()
            if error is None:
                has_news |= self._reads()
                changed |= self._take(message)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  # as above
                has_news |= self._read_to_the_end(message.partition() or 0)
            elif error.code() in _STARTED_ANEW:
                self._consumer.unassign()
                _log.warning("topic is read again from its beginning", topic=self.topic, why=error.str())
                self.reading += 1
                self.caught_up = False
                return False
            elif error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                pass  # the client looks for the coordinator of its group unasked; nobody here needs one
            else:
                self.problem = str(problem_from(error, self._doing, self._servers))
                has_news = True
        self._watch.check(self._doing)
        has_news |= self._look_for_broker()
        if changed:
            self._tell(changed)
        if has_news:
            self._tell()
        return True

    def _look_for_broker(self) -> bool:
        """Whether it has gone or come back. A consumer that has read everything is not told of either: only its
        error callback hears that connections are lost, and nothing that there are others.
        """
        if self._watch.last is None and not self._is_away:
            return False
        self._watch.last = None
        if time.monotonic() < self._probe_at:
            return False
        try:
            self._consumer.list_topics(self.topic, timeout=_PROBE_SECONDS)
        except KafkaException as error:
            problem = problem_from(error.args[0], self._doing, self._servers)
            if not self._is_away:
                _log.warning("topic cannot be followed now", topic=self.topic, problem=str(problem))
            self._is_away = True
            self._probe_at = time.monotonic() + _PROBE_SECONDS / 2
            # Whenever it is asked: what was fetched before may have been read since.
            was, self.problem = self.problem, str(problem)
            return was is None
        if not self._is_away:
            return False
        self._is_away, self.problem = False, None
        return True

    def _reads(self) -> bool:
        """Whether it is news that it does."""
        was, self.problem = self.problem, None
        return was is not None

    def _read_to_the_end(self, partition: int) -> bool:
        is_news = self._reads()
        self._unread.discard(partition)
        if not self.caught_up and not self._unread:
            self.caught_up = True
            return True
        return is_news

    def _take(self, message: Message) -> set[str]:
        key = (message.key() or b"").decode("utf-8", "replace")
        if not self._wanted(key):
            return set()
        received = time.monotonic() if self.caught_up else None
        with self._lock:
            self._rows[key] = Row(message.value(), received, self.reading)
        return {key}
