"""The stream: predictions come in, what the rules select of them goes into the outbox, then Kafka is told.

The outbox knows, in the same transaction, where to read on. So its place counts, not the group's: what is committed to
Kafka is for those who watch the lag, and for a notifier that begins with an empty outbox.
"""

import threading
import time
from collections.abc import Callable, Sequence

import structlog
from confluent_kafka import (
    OFFSET_INVALID,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)

from rollcast_common.contracts import Prediction, decode_prediction
from rollcast_common.errors import ContractError, KafkaDenied, KafkaProblem, KafkaUnavailable, TopicMissing
from rollcast_common.kafka import (
    ErrorWatch,
    KafkaParams,
    LifeWatch,
    close_consumer,
    make_admin,
    make_consumer,
    problem_from,
)
from rollcast_notifier.metrics import NotifierMetrics
from rollcast_notifier.notification import Notification
from rollcast_notifier.outbox import Outbox, OutboxProblem

__all__ = ["Select", "Stream", "where_to_begin"]

_log = structlog.get_logger()

_POLL_SECONDS = 0.1
_LAG_EVERY_SECONDS = 1.0
_SAY_EVERY_SECONDS = 30.0
_AGAIN_SECONDS = 1.0
_ASK_SECONDS = 5.0
_SESSION_MS = 10_000

Select = Callable[[Sequence[Prediction], Sequence[int]], list[Notification]]
"""Given predictions and when each was written: what is to be sent."""


class Stream:
    """Reads in the caller's thread until `stopping` is set. An outage is waited out, with new clients if need be."""

    def __init__(
        self,
        kafka: KafkaParams,
        outbox: Outbox,
        metrics: NotifierMetrics,
        *,
        group: str,
        batch_rows: int,
        select: Select,
        on_recorded: Callable[[], None],
        stopping: threading.Event,
    ) -> None:
        """`on_recorded` is called when something new is in the outbox."""
        self._kafka = kafka
        self._servers = kafka.broker.servers
        self._topic = kafka.topics.full("app_messages")
        self._outbox = outbox
        self._metrics = metrics
        self._group = group
        self._batch_rows = batch_rows
        self._select = select
        self._on_recorded = on_recorded
        self._stopping = stopping
        self._owned: set[int] = set()
        self._said: dict[object, float] = {}
        self._lag_due = 0.0
        self.problem: str | None = None
        """Why nothing is read now."""
        self.beat = time.monotonic()

    @property
    def partitions(self) -> int:
        return len(self._owned)

    def run(self) -> None:
        """Raises KafkaProblem for what waiting does not mend: a refusal, a missing topic, a second notifier."""
        self._forget_another_topic()
        while not self._stopping.is_set():
            watch = LifeWatch(self._servers)
            try:
                self._read(watch)
            except KafkaDenied:
                raise
            except KafkaProblem as problem:
                # Without an outage to explain it, it would come again and again.
                if not (watch.is_cut_off or _was_away(watch)) or isinstance(problem, TopicMissing):
                    raise
                self._say("reading anew after an outage", problem)
                self._stopping.wait(_AGAIN_SECONDS)

    def _forget_another_topic(self) -> None:
        """A topic that was created anew has other records at the old places, and Kafka knows it by another id."""
        watch = ErrorWatch(self._servers)
        admin = make_admin(self._kafka, watch, client_id=self._group)
        try:
            future = admin.describe_topics(TopicCollection([self._topic]), request_timeout=_ASK_SECONDS)[self._topic]
            id_ = str(future.result().topic_id)
        except (KafkaException, ValueError) as error:  # an old or an embedded broker does not say
            _log.debug("the topic's id is not known", topic=self._topic, why=str(error))
            return
        known = self._outbox.topic_id(self._topic)
        if known is not None and known != id_:
            self._outbox.forget_places(self._topic)
            _log.warning(
                "the topic was created anew: the places that the outbox knew are forgotten", topic=self._topic, id=id_
            )
        if known != id_:
            self._outbox.set_topic_id(self._topic, id_)

    def _read(self, watch: ErrorWatch) -> None:
        """With a consumer of our own, until `stopping` is set."""
        consumer = make_consumer(
            self._kafka,
            watch,
            client_id=self._group,
            group_id=self._group,
            settings={
                # A static member: restarted within the session it has its partitions at once, and a second notifier
                # in the group is told so.
                "group.instance.id": self._group,
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": _SESSION_MS,
                "heartbeat.interval.ms": _SESSION_MS // 5,
                "queued.max.messages.kbytes": 8_192,
                "queued.min.messages": 4_000,
                "fetch.wait.max.ms": 10,
            },
        )
        self._owned.clear()
        try:
            consumer.subscribe([self._topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)
            while not self._stopping.is_set():
                self._step(consumer, watch)
        finally:
            self._owned.clear()
            close_consumer(consumer)

    def _step(self, consumer: Consumer, watch: ErrorWatch) -> None:
        self.beat = time.monotonic()
        first = consumer.poll(_POLL_SECONDS)
        # Not consume(n, timeout): it waits to fill the batch.
        messages = [] if first is None else [first, *consumer.consume(self._batch_rows - 1, 0)]
        watch.check(f"consuming {self._topic}")
        messages = [message for message in messages if self._is_record(message)]
        if messages:
            self.problem = None
            self._take(consumer, messages)
        self._report_lag(consumer)

    def _take(self, consumer: Consumer, messages: list[Message]) -> None:
        predictions, created = [], []
        for message in messages:
            prediction = self._decoded(message)
            if prediction is not None:
                predictions.append(prediction)
                created.append(message.timestamp()[1])
        chosen = self._select(predictions, created) if predictions else []
        places = {(self._topic, m.partition() or 0): (m.offset() or 0) + 1 for m in messages}
        if not self._record(chosen, places):
            return
        self._metrics.predictions.inc(len(predictions))
        if chosen:
            self._on_recorded()
        self._commit(consumer, places)

    def _record(self, chosen: list[Notification], places: dict[tuple[str, int], int]) -> bool:
        """Waits for as long as the outbox cannot be written. False when it is time to end: then nothing happened."""
        while True:
            self.beat = time.monotonic()
            try:
                self._outbox.record(chosen, places)
            except OutboxProblem as problem:
                self._say("reading is paused", problem)
                if self._stopping.wait(_AGAIN_SECONDS):
                    return False
            else:
                self.problem = None
                return True

    def _commit(self, consumer: Consumer, places: dict[tuple[str, int], int]) -> None:
        offsets = [TopicPartition(topic, number, offset) for (topic, number), offset in places.items()]
        try:
            consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            # The next one says the same and more; what counts is in the outbox.
            _log.debug("the places are not committed", why=str(error))

    def _decoded(self, message: Message) -> Prediction | None:
        try:
            return decode_prediction(message.value() or b"")
        except ContractError as error:
            self._metrics.skipped.inc()
            if self._may_say("no prediction"):
                _log.warning(
                    "a record that is no prediction is passed over",
                    topic=self._topic,
                    partition=message.partition(),
                    offset=message.offset(),
                    problem=str(error),
                )
            return None

    def _is_record(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return True
        problem = problem_from(error, f"consuming {self._topic}", self._servers)
        if error.fatal() or error.code() == KafkaError._FATAL or isinstance(problem, KafkaDenied | TopicMissing):  # noqa: SLF001  # librdkafka's public constant
            raise problem
        # All else is news of a client that goes on by itself.
        if self._may_say(error.code()):
            _log.warning("consumer", problem=str(problem))
        return False

    # Where to begin.

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        recorded = self._outbox.places(self._topic)
        places = [self._beginning(consumer, place, recorded.get(place.partition)) for place in partitions]
        consumer.incremental_assign(places)
        self.problem = None  # also where nothing new comes for a while
        self._owned |= {place.partition for place in partitions}
        _log.info("partitions assigned", partitions={p.partition: p.offset for p in places}, owned=len(self._owned))

    def _beginning(self, consumer: Consumer, place: TopicPartition, recorded: int | None) -> TopicPartition:
        number = place.partition
        if recorded is None:
            return TopicPartition(self._topic, number, OFFSET_INVALID)  # as the group committed, or auto_offset_reset
        try:
            first, end = consumer.get_watermark_offsets(TopicPartition(self._topic, number), timeout=_ASK_SECONDS)
            committed = consumer.committed([TopicPartition(self._topic, number)], timeout=_ASK_SECONDS)[0].offset
        except KafkaException as error:
            _log.warning("reading on where the outbox says, unasked", partition=number, why=str(error))
            return TopicPartition(self._topic, number, recorded)
        offset, surprise = where_to_begin(recorded, committed=committed, first=first, end=end)
        if surprise is not None:
            _log.warning(
                surprise,
                partition=number,
                recorded=recorded,
                committed=committed,
                first=first,
                end=end,
                begins=offset,
            )
        return TopicPartition(self._topic, number, offset)

    def _revoked(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._owned -= {place.partition for place in partitions}
        _log.info("partitions revoked", partitions=sorted(place.partition for place in partitions))

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._revoked(consumer, partitions)

    # Bookkeeping.

    def _report_lag(self, consumer: Consumer) -> None:
        now = time.monotonic()
        if now < self._lag_due:
            return
        self._lag_due = now + _LAG_EVERY_SECONDS
        lag, is_whole = 0, bool(self._owned)
        for position in consumer.position([TopicPartition(self._topic, number) for number in self._owned]):
            _, end = consumer.get_watermark_offsets(position, cached=True)
            if end < 0:
                is_whole = False
            elif position.offset >= 0:
                lag += max(0, end - position.offset)
        # Who owns nothing, or was not told yet where a partition ends, knows of no lag, not that there is none.
        if is_whole or lag:
            self._metrics.lag.set(lag)

    def _say(self, what: str, problem: Exception) -> None:
        self.problem = str(problem)
        if self._may_say(what):
            _log.warning(what, problem=str(problem))

    def _may_say(self, key: object) -> bool:
        now = time.monotonic()
        if now < self._said.get(key, now):
            return False
        self._said[key] = now + _SAY_EVERY_SECONDS
        return True


def where_to_begin(recorded: int, *, committed: int, first: int, end: int) -> tuple[int, str | None]:
    """The offset, and what is surprising about it. The recorded place, unless the partition is not the one it is of.

    `committed` is the group's, negative where there is none; the partition holds `first` up to before `end`.
    """
    if recorded > end:
        begin = committed if first <= committed <= end else first
        return begin, "the topic ends before the place that the outbox knows: it was created anew, and is read again"
    if recorded < first:
        return first, "predictions were deleted before they were read: is the topic's retention too short?"
    if committed > recorded:
        return recorded, "the group has committed more than the outbox knows, which is read again: an older outbox?"
    return recorded, None


def _was_away(watch: ErrorWatch) -> bool:
    """Whether the client of this watch has missed the broker."""
    return watch.last is not None and isinstance(problem_from(watch.last, "", ""), KafkaUnavailable)
