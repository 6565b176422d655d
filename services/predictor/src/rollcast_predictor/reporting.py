"""What this slot tells those who roll: its status, and what its candidate says in shadow. Nothing waits for either."""

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Self
from uuid import uuid4

import structlog
from confluent_kafka import KafkaException, Producer

from rollcast_common.contracts import PredictorStatus
from rollcast_common.contracts.predictor_status import encode_predictor_status
from rollcast_common.kafka import KafkaParams, LifeWatch, make_producer
from rollcast_predictor.metrics import PredictorMetrics
from rollcast_predictor.outputs import Output

__all__ = ["INSTANCE", "StatusReporter"]

_log = structlog.get_logger()

INSTANCE = str(uuid4())
"""Of this process. A successor counts from 0, and says so by another one."""

_BUSY_SECONDS = 0.2
_IDLE_SECONDS = 1.0
_END_SECONDS = 2.0


class StatusReporter:
    """A thread with a plain producer of its own. A status that cannot be sent is replaced by the next one."""

    def __init__(
        self,
        kafka: KafkaParams,
        *,
        key: str,
        client_id: str,
        status: Callable[[], PredictorStatus],
        metrics: PredictorMetrics,
    ) -> None:
        """Raises ConfigError when librdkafka does not accept a property."""
        self._topic = kafka.topics.full("predictor_status")
        self._key = key
        self._status = status
        self._metrics = metrics
        self._servers = kafka.broker.servers
        self._watch = LifeWatch(self._servers)
        self._make: Callable[[], Producer] = lambda: make_producer(
            kafka,
            self._watch,
            client_id=f"{client_id}-status",
            settings={
                "enable.idempotence": False,
                "acks": "1",
                "linger.ms": 5,
                "delivery.timeout.ms": 3000,
                "queue.buffering.max.messages": 20_000,
                "queue.buffering.max.kbytes": 32_768,
            },
        )
        self._producer = self._make()
        self._due = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="status-reporter", daemon=True)

    def soon(self) -> None:
        """Something has changed that somebody waits for."""
        self._due.set()

    def publish_shadow(self, outputs: list[Output]) -> None:
        """What finds no room is lost, and counted."""
        for position, output in enumerate(outputs):
            try:
                self._producer.produce(output.topic, output.value, output.key)
            except (BufferError, KafkaException):
                self._metrics.shadow_lost.inc(len(outputs) - position)
                return

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopping.set()
        self._due.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._due.clear()
            status = self._status()
            self._send(status)
            self._due.wait(_BUSY_SECONDS if status.candidate is not None else _IDLE_SECONDS)
        self._send(self._status())
        self._producer.flush(_END_SECONDS)

    def _send(self, status: PredictorStatus) -> None:
        status.time = time.time_ns() // 1_000_000
        with contextlib.suppress(BufferError, KafkaException):
            self._producer.produce(self._topic, encode_predictor_status(status), self._key)
        self._producer.poll(0)
        if self._watch.is_cut_off:
            _log.warning("statuses go out by a new client: the old one was left without any broker to ask")
            self._watch = LifeWatch(self._servers)
            self._producer = self._make()
