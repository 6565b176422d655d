"""One record onto a topic, and certainty that it is there."""

import threading
import time
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message

from rollcast_common.errors import KafkaUnavailable
from rollcast_common.kafka import ErrorWatch, KafkaParams, make_producer, problem_from

__all__ = ["Writer"]

_DELIVERY_MS = 10_000
_WAIT_SECONDS = 12.0
_POLL_SECONDS = 0.05


class Writer:
    """For several threads at once."""

    def __init__(self, kafka: KafkaParams, *, client_id: str) -> None:
        """Raises ConfigError when librdkafka does not accept a property."""
        self._kafka = kafka
        self._watch = ErrorWatch(kafka.broker.servers)
        settings = {"linger.ms": 0, "delivery.timeout.ms": _DELIVERY_MS}
        self._make = partial(make_producer, kafka, self._watch, client_id=client_id, settings=settings)
        self._producer = self._make()

    def write(self, topic: str, key: str, value: bytes, headers: dict[str, str] | None = None) -> None:
        """Returns when the brokers have it; `topic` is Rollcast's own name. Raises KafkaProblem."""
        full, servers = self._kafka.topics.full(topic), self._kafka.broker.servers
        doing = f"writing to {full}"
        reported = threading.Event()
        failures: list[KafkaError] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failures.append(error)
            reported.set()

        sent_headers: list[tuple[str, str | bytes | None]] = [*(headers or {}).items()]
        producer = self._producer
        try:
            producer.produce(full, value, key, headers=sent_headers, on_delivery=delivered)
        except KafkaException as error:  # too large for the client itself
            raise problem_from(error.args[0], doing, servers) from None
        except BufferError:
            raise KafkaUnavailable(f"Kafka at {servers}: {doing}: too much waits to be written already") from None
        deadline = time.monotonic() + _WAIT_SECONDS
        while not reported.is_set() and time.monotonic() < deadline:
            producer.poll(_POLL_SECONDS)
            self._watch.check(doing)
        if producer is self._producer and (failures or not reported.is_set()):
            # It may have lost its way to the cluster for good, see LifeWatch: nobody polls this one all the time.
            self._producer = self._make()
        if failures:
            raise problem_from(failures[0], doing, servers)
        if not reported.is_set():
            raise KafkaUnavailable(f"Kafka at {servers}: {doing}: not acknowledged in {_WAIT_SECONDS:g} s")
