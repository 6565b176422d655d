"""Orders from topic `train`: every announcement of our model is an order.

The topic has one partition, and an order's generation is its offset + 1. A broker that knows no better gives it
more (the embedded one does); then there is no order but in time, and the generation is the record's timestamp.
"""

import threading
from typing import Self

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition

from rollcast_common.artifacts import parse_uri
from rollcast_common.contracts import ModelTrained, parse_model_trained
from rollcast_common.errors import ConfigError, ContractError, KafkaProblem
from rollcast_common.kafka import ErrorWatch, KafkaParams, Verdict, classify, make_consumer, problem_from
from rollcast_predictor.orders import Order

__all__ = ["TrainOrders", "order_from"]

_log = structlog.get_logger()

_KEPT = 20
"""Orders kept to fall back on when the newest cannot be loaded."""

_POLL_SECONDS = 0.5


def order_from(event: ModelTrained, *, generation: int, bucket: str) -> Order:
    """Raises ConfigError when a uri is none."""
    artifact = parse_uri(event.uri, bucket)
    card = None
    if event.card_uri:
        place = parse_uri(event.card_uri, bucket)
        card = type(place)(place.bucket, place.key, sha256=event.card_sha256)
    return Order(
        generation=generation,
        model=event.model,
        version=event.version,
        artifact=type(artifact)(artifact.bucket, artifact.key, event.sha256, event.size_bytes, event.version_id),
        format=event.format,
        card=card,
    )


class TrainOrders:
    """A thread that reads topic `train` from its beginning and keeps reading.

    It belongs to no consumer group: every slot must see every announcement. `problem` holds what ended
    it, if anything did.
    """

    def __init__(self, params: KafkaParams, *, model: str, bucket: str, client_id: str) -> None:
        self._params = params
        self._topic = params.topics.full("train")
        self._model = model
        self._bucket = bucket
        self._client_id = client_id
        self._orders: list[Order] = []
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self.problem: KafkaProblem | None = None
        self._thread = threading.Thread(target=self._run, name="train-orders", daemon=True)

    def newer_than(self, generation: int) -> list[Order]:
        with self._lock:
            self._changed.clear()
            return [order for order in reversed(self._orders) if order.generation > generation]

    def wait(self, timeout_seconds: float) -> None:
        self._changed.wait(timeout_seconds)

    def wake(self) -> None:
        self._changed.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        watch = ErrorWatch(self._params.broker.servers)
        consumer = make_consumer(
            self._params,
            watch,
            client_id=self._client_id,
            group_id=f"{self._client_id}-train-orders",
            settings={"auto.offset.reset": "earliest"},
        )
        try:
            partitions = self._partitions(consumer)
            consumer.assign([TopicPartition(self._topic, number, OFFSET_BEGINNING) for number in partitions])
            self._follow(consumer, watch, totally_ordered=len(partitions) == 1)
        except KafkaProblem as problem:
            self.problem = problem
            self._changed.set()
        finally:
            consumer.close()

    def _partitions(self, consumer: Consumer) -> list[int]:
        try:
            return sorted(consumer.list_topics(self._topic, timeout=10).topics[self._topic].partitions)
        except KafkaException as error:
            doing = f"following topic {self._topic}"
            raise problem_from(error.args[0], doing, self._params.broker.servers) from None

    def _follow(self, consumer: Consumer, watch: ErrorWatch, *, totally_ordered: bool) -> None:
        doing = f"following topic {self._topic}"
        while not self._stopping.is_set():
            first = consumer.poll(_POLL_SECONDS)
            watch.check(doing)
            if first is None:
                continue
            # All that is there at once, so that a start does not try every model of the past in turn.
            for message in [first, *consumer.consume(1000, 0)]:
                error = message.error()
                if error is None:
                    self._take(message, totally_ordered=totally_ordered)
                elif classify(error) is Verdict.FATAL:
                    _log.warning("train topic", problem=str(problem_from(error, doing, self._params.broker.servers)))
            self._changed.set()

    def _take(self, message: Message, *, totally_ordered: bool) -> None:
        offset = message.offset()
        assert offset is not None  # noqa: S101  # a record without error has one
        generation = offset + 1 if totally_ordered else message.timestamp()[1]
        try:
            event = parse_model_trained(message.key(), message.value(), default_model=self._model)
            if event.model != self._model:
                return
            order = order_from(event, generation=generation, bucket=self._bucket)
        except (ContractError, ConfigError) as error:
            _log.warning("announcement ignored", topic=self._topic, offset=offset, problem=str(error))
            return
        with self._lock:
            newest_last = sorted([*self._orders, order], key=lambda known: known.generation)
            self._orders = newest_last[-_KEPT:]
