"""The two topics through which slots are led: `assignments` out, `predictor_status` in."""

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Self

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from rollcast_common.contracts import Assignment, PredictorStatus
from rollcast_common.contracts.assignment import decode_assignment, encode_assignment
from rollcast_common.contracts.predictor_status import decode_predictor_status
from rollcast_common.errors import ContractError, KafkaUnavailable
from rollcast_common.identity import ModelIdentity
from rollcast_common.kafka import ErrorWatch, KafkaParams, Row, TableFollower, make_producer, problem_from
from rollcast_rollout.observed import SlotReport

__all__ = ["ControlTopics", "Published"]

_log = structlog.get_logger()

_PUBLISH_SECONDS = 5.0
_PUBLISH_AGAIN_SECONDS = 2.0
_OLD = float("inf")
_LOOK_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Published:
    """What the topic holds of a model, as `Observed` wants it."""

    generation: int | None
    assignment: Assignment | None


@dataclass(frozen=True, slots=True)
class _Seen:
    status: PredictorStatus
    received: float | None


class ControlTopics:
    """Of one installation: models in all its namespaces. `on_news` is called from a thread with the model's identity
    whenever something has come that a plan may depend on.
    """

    def __init__(
        self,
        params: KafkaParams,
        *,
        installation: str,
        client_id: str,
        on_news: Callable[[str], None],
        on_all: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_all` is called when Kafka has gone or come back, which is news for models that no topic tells of, too.

        Raises ConfigError when librdkafka does not accept a property.
        """
        self._params = params
        self._servers = params.broker.servers
        self._on_news = on_news
        self._on_all = on_all
        prefix = f"{installation}/"
        self._assignments = TableFollower(
            params,
            "assignments",
            client_id=client_id,
            wanted=lambda key: key.startswith(prefix),
            on_change=self._assignments_changed,
        )
        self._statuses = TableFollower(
            params,
            "predictor_status",
            client_id=client_id,
            wanted=lambda key: key.startswith(prefix),
            on_change=self._statuses_changed,
        )
        self._lock = threading.Lock()
        self._slots: dict[str, dict[int, _Seen]] = {}
        self._acknowledged: dict[str, tuple[int, Published]] = {}
        """What we published ourselves, and in which reading of the topic; we need not wait to read it."""
        self._publish_problem: tuple[str, float] | None = None
        """And until when it stands: nobody hears that a broker takes writes again but by writing."""
        self._watch = ErrorWatch(self._servers)
        self._make: Callable[[], Producer] = lambda: make_producer(
            params,
            self._watch,
            client_id=client_id,
            settings={"acks": "all", "linger.ms": 0, "delivery.timeout.ms": int(_PUBLISH_SECONDS * 1000)},
        )
        self._producer = self._make()
        self._started = time.monotonic()

    # What is observed.

    @property
    def problem(self) -> str | None:
        """Why Kafka cannot be asked now."""
        if self._assignments.problem or self._statuses.problem:
            return self._assignments.problem or self._statuses.problem
        if not self._assignments.caught_up or not self._statuses.caught_up:
            return f"Kafka at {self._servers}: {self._assignments.topic} is still being read"
        refused = self._publish_problem
        return refused[0] if refused is not None and time.monotonic() < refused[1] else None

    @property
    def watched_seconds(self) -> float:
        return time.monotonic() - self._started

    def wait_read(self, seconds: float, stopping: threading.Event) -> None:
        """Until all that was there has been read, or something is in the way: a start is no outage."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not stopping.is_set():
            topics = (self._assignments, self._statuses)
            if any(each.problem or each.failure for each in topics) or all(each.caught_up for each in topics):
                return
            stopping.wait(_LOOK_SECONDS)

    def check(self) -> None:
        """Raises what ended the following."""
        self._assignments.check()
        self._statuses.check()

    def slots(self, identity: ModelIdentity) -> dict[int, SlotReport]:
        now = time.monotonic()
        with self._lock:
            seen = dict(self._slots.get(str(identity), {}))
        return {
            ordinal: SlotReport(slot.status, _OLD if slot.received is None else now - slot.received)
            for ordinal, slot in seen.items()
        }

    def published(self, identity: ModelIdentity) -> Published:
        key = str(identity)
        read = self._read(key, self._assignments.get(key))
        with self._lock:
            reading, own = self._acknowledged.get(key, (-1, Published(None, None)))
        if reading != self._assignments.reading or own.generation is None:
            return read  # also where the topic was created anew: what we put into the old one is gone
        # Nobody else writes it, so what the broker acknowledged to us is there, whether we have read it already or not.
        return own if own.generation == 0 or own.generation >= (read.generation or 0) else read

    def _read(self, key: str, row: Row | None) -> Published:
        if row is None or row.reading != self._assignments.reading:
            return Published(None, None)
        if row.value is None:
            return Published(0, None)
        try:
            assignment = decode_assignment(row.value)
        except ContractError as error:
            _log.error("assignment on the topic is not ours", key=key, problem=str(error))
            return Published(None, None)
        return Published(assignment.generation, assignment)

    # What is done.

    def publish(self, identity: ModelIdentity, assignment: Assignment | None) -> None:
        """None is a tombstone. Returns when all in-sync brokers have it. Raises KafkaUnavailable."""
        failed: list[KafkaError] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failed.append(error)

        topic = self._params.topics.full("assignments")
        doing = f"writing to {topic}"
        producer = self._producer
        try:
            reading = self._assignments.reading
            value = encode_assignment(assignment) if assignment is not None else None
            producer.produce(topic, value, str(identity), on_delivery=delivered)
            left = producer.flush(_PUBLISH_SECONDS)
        except (BufferError, KafkaException) as error:
            raise self._unavailable(f"{doing}: {error}") from None
        if producer is self._producer and (failed or left):
            # It may have lost its way to the cluster for good, see LifeWatch: nobody polls this one all the time.
            self._producer = self._make()
        if failed:
            raise self._unavailable(str(problem_from(failed[0], doing, self._servers)))
        if left:
            producer.purge()
            raise self._unavailable(f"Kafka at {self._servers}: {doing}: no answer within {_PUBLISH_SECONDS:g} s")
        self._publish_problem = None
        held = Published(assignment.generation if assignment is not None else 0, assignment)
        with self._lock:
            self._acknowledged[str(identity)] = (reading, held)

    def _unavailable(self, text: str) -> KafkaUnavailable:
        self._publish_problem = text, time.monotonic() + _PUBLISH_AGAIN_SECONDS
        return KafkaUnavailable(text)

    # What comes.

    def _assignments_changed(self, keys: Collection[str]) -> None:
        if not keys:
            self._all_changed()
        for key in keys:
            self._on_news(key)

    def _all_changed(self) -> None:
        with self._lock:
            known = [*self._slots]
        for identity in known:
            self._on_news(identity)
        self._on_all()

    def _statuses_changed(self, keys: Collection[str]) -> None:
        if not keys:
            self._all_changed()
        news: set[str] = set()
        for key in keys:
            if self._take(key):
                news.add(key.rpartition("/")[0])
        for identity in news:
            self._on_news(identity)

    def _take(self, key: str) -> bool:
        """Whether it says something new; a slot that has nothing to do says the same again and again."""
        row = self._statuses.get(key)
        if row is None or row.value is None:
            return False
        try:
            status = decode_predictor_status(row.value)
        except ContractError as error:
            _log.warning("status ignored", key=key, problem=str(error))
            return False
        with self._lock:
            slots = self._slots.setdefault(key.rpartition("/")[0], {})
            before = slots.get(status.ordinal)
            slots[status.ordinal] = _Seen(status, row.received)
        return before is None or before.received is None or _is_news(before.status, status)

    def __enter__(self) -> Self:
        self._assignments.start()
        self._statuses.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._assignments.stop()
        self._statuses.stop()


def _is_news(before: PredictorStatus, after: PredictorStatus) -> bool:
    if after.candidate is not None:
        return True
    return (before.instance, before.generation, before.stable, before.candidate, before.serving) != (
        after.instance,
        after.generation,
        after.stable,
        after.candidate,
        after.serving,
    )
