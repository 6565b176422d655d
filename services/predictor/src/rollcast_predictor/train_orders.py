"""Orders from topic `train`: every announcement of our model is an order.

The topic has one partition, and an order's generation is its offset + 1. A broker that knows no better gives it
more (the embedded one does); then there is no order but in time, and the generation is the record's timestamp.
"""

import re
import threading
from dataclasses import replace
from typing import Self

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from rollcast_common.artifacts import ArtifactRef, parse_uri
from rollcast_common.contracts import ModelTrained, parse_model_trained
from rollcast_common.errors import ConfigError, ContractError
from rollcast_common.kafka import ErrorWatch, KafkaParams, Verdict, classify, make_consumer, problem_from
from rollcast_predictor.orders import Order

__all__ = ["TrainOrders", "order_from"]

_log = structlog.get_logger()

_KEPT = 20
"""Orders kept to fall back on when the newest cannot be loaded."""

_POLL_SECONDS = 0.2
_MOST_AT_ONCE = 1000
_LIST_SECONDS = 10.0

_DIGEST = re.compile(r"[0-9a-f]{64}")


def order_from(event: ModelTrained, *, generation: int, bucket: str) -> Order:
    """Raises ConfigError when a uri or a digest is none."""
    for name in ("sha256", "card_sha256", "signature_sha256"):
        digest = getattr(event, name)
        if digest is not None and not _DIGEST.fullmatch(digest):
            raise ConfigError(f"{name} was {digest[:80]!r}, may be 64 hexadecimal digits in lower case")
    artifact = parse_uri(event.uri, bucket)
    return Order(
        generation=generation,
        model=event.model,
        version=event.version,
        artifact=type(artifact)(artifact.bucket, artifact.key, event.sha256, event.size_bytes, event.version_id),
        format=event.format,
        card=_beside(event.card_uri, event.card_sha256, bucket),
        signature=_beside(event.signature_uri, event.signature_sha256, bucket),
    )


def _beside(uri: str | None, sha256: str | None, bucket: str) -> ArtifactRef | None:
    return replace(parse_uri(uri, bucket), sha256=sha256) if uri else None


class TrainOrders:
    """A thread that reads topic `train` from its beginning and keeps reading.

    It belongs to no consumer group: every slot must see every announcement. `failure` holds what ended
    it, if anything did.

    An order's generation is its offset + 1. On a topic of several partitions (the embedded broker makes no
    other) offsets say nothing about what came first, and the record's time in milliseconds stands in.
    """

    def __init__(self, params: KafkaParams, *, model: str, bucket: str, client_id: str) -> None:
        """Raises ConfigError when librdkafka does not accept a property."""
        self._servers = params.broker.servers
        self._topic = params.topics.full("train")
        self._doing = f"following topic {self._topic}"
        self._model = model
        self._bucket = bucket
        self._watch = ErrorWatch(self._servers)
        self._consumer: Consumer = make_consumer(
            params,
            self._watch,
            client_id=client_id,
            group_id=f"{client_id}-train-orders",
            settings={"auto.offset.reset": "earliest", "enable.partition.eof": True},
        )
        self._orders: list[Order] = []
        self._unread: set[int] = set()
        self._by_time = False
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="train-orders", daemon=True)
        self.caught_up = False
        """Whether everything that was there at the start has been read."""
        self.failure: BaseException | None = None

    def newer_than(self, generation: int) -> list[Order]:
        """None until all that was there at the start is read: models of the past are not tried in turn."""
        with self._lock:
            self._changed.clear()
            if not self.caught_up:
                return []
            return [order for order in reversed(self._orders) if order.generation > generation]

    def wait(self, timeout_seconds: float) -> bool:
        return self._changed.wait(timeout_seconds)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._assign()
            while not self._stopping.is_set():
                self._follow()
        except BaseException as error:  # noqa: BLE001  # a bug here must end the process, not only this thread
            self.failure = error
            self._changed.set()
        finally:
            self._consumer.close()

    def _assign(self) -> None:
        try:
            topics = self._consumer.list_topics(self._topic, timeout=_LIST_SECONDS).topics
        except KafkaException as error:
            raise problem_from(error.args[0], self._doing, self._servers) from None
        self._unread = set(topics[self._topic].partitions) or {0}
        self._by_time = len(self._unread) > 1
        self._consumer.assign([TopicPartition(self._topic, number, OFFSET_BEGINNING) for number in self._unread])

    def _follow(self) -> None:
        for message in self._consumer.consume(_MOST_AT_ONCE, _POLL_SECONDS):
            error = message.error()
            if error is None:
                self._take(message)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  # librdkafka's public constant
                self._read_to_the_end(message.partition())
            elif classify(error) is Verdict.FATAL:
                _log.warning("train topic", problem=str(problem_from(error, self._doing, self._servers)))
        self._watch.check(self._doing)

    def _read_to_the_end(self, partition: int | None) -> None:
        if not self.caught_up:
            self._unread.discard(partition or 0)
            self.caught_up = not self._unread
            self._changed.set()

    def _take(self, message: Message) -> None:
        offset = message.offset()
        assert offset is not None  # noqa: S101  # a record without error has one
        generation = message.timestamp()[1] if self._by_time else offset + 1
        try:
            event = parse_model_trained(message.key(), message.value(), default_model=self._model)
            if event.model != self._model:
                return
            order = order_from(event, generation=generation, bucket=self._bucket)
        except (ContractError, ConfigError) as error:
            _log.warning("announcement ignored", topic=self._topic, offset=offset, problem=str(error))
            return
        with self._lock:
            self._orders = sorted([*self._orders, order], key=lambda known: known.generation)[-_KEPT:]
        self._changed.set()
