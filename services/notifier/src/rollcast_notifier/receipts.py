"""What became of notifications, published: every step to `notifications`, what finally failed to its own topic, too.

At least once: a receipt is forgotten when the broker has acknowledged it, so a death in between publishes it again.
"""

import threading
import time
from functools import partial

import structlog
from confluent_kafka import KafkaError, KafkaException, Message
from msgspec.structs import replace

from rollcast_common.contracts.receipt import Receipt, encode_receipt
from rollcast_common.errors import KafkaUnavailable, RollcastError
from rollcast_common.kafka import KafkaParams, LifeWatch, make_producer, problem_from
from rollcast_notifier.outbox import Outbox, OutboxProblem, Transition

__all__ = ["ReceiptPublisher"]

_log = structlog.get_logger()

_MOST_AT_ONCE = 1000
_LOOK_EVERY_SECONDS = 0.2
_AGAIN_SECONDS = 1.0
_FLUSH_SECONDS = 1.0
_DELIVERY_MS = 30_000
_SAY_EVERY_SECONDS = 30.0
_CUT_CHARACTERS = 1000
_FINAL = ("expired", "failed")


class ReceiptPublisher:
    """A thread with a producer of its own. An outage only delays; a refusal is its `failure`, and ends the service."""

    def __init__(self, kafka: KafkaParams, outbox: Outbox, *, client_id: str) -> None:
        """Raises ConfigError when librdkafka does not accept a property."""
        self._outbox = outbox
        self._servers = kafka.broker.servers
        self._all = kafka.topics.full("notifications")
        self._failed = kafka.topics.full("notifications_failed")
        self._watch = LifeWatch(self._servers)
        settings = {"linger.ms": 5, "delivery.timeout.ms": _DELIVERY_MS}
        self._make = partial(make_producer, kafka, client_id=f"{client_id}-receipts", settings=settings)
        self._producer = self._make(self._watch)
        self._refused: list[KafkaError] = []
        self._say_at = 0.0
        self._stopping = threading.Event()
        self._end_by = float("inf")
        """Of time.monotonic(); known from `stop` on."""
        self._thread = threading.Thread(target=self._run, name="receipts", daemon=True)
        self.problem: str | None = None
        self.failure: BaseException | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self, deadline: float) -> bool:
        """Publish what there is, as far as it goes until `deadline` (of time.monotonic()); whether it ended."""
        # What is acknowledged must be recorded, too, and a flush looks at the time only when it is over.
        self._end_by = deadline - 2 * _FLUSH_SECONDS
        self._stopping.set()
        self._thread.join(max(0.0, deadline - time.monotonic()))
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                if not self.step():
                    self._stopping.wait(_LOOK_EVERY_SECONDS)
            while self.problem is None and time.monotonic() < self._end_by and self.step():
                pass
        except BaseException as error:  # noqa: BLE001  # its owner asks, and must hear of it
            self.failure = error

    def step(self) -> bool:
        """Publish some. False when there are none.

        Raises KafkaDenied when the broker refuses us.
        """
        waiting: list[Transition] = []
        try:
            waiting = self._outbox.transitions(_MOST_AT_ONCE)
            if waiting and self._publish(waiting):
                self._outbox.published(waiting[-1].number)
                self.problem = None
            elif not waiting:
                self.problem = None  # whatever it was, no receipt waits for it any more
        except OutboxProblem as problem:
            self._say(problem)
            self._stopping.wait(_AGAIN_SECONDS)
        self._producer.poll(0)
        self._check()
        return bool(waiting)

    def _check(self) -> None:
        try:
            self._watch.check("publishing receipts")
        except KafkaUnavailable as problem:
            # What it still held is in the outbox, too.
            self._say(problem)
            self._watch = LifeWatch(self._servers)
            self._producer = self._make(self._watch)

    def _publish(self, transitions: list[Transition]) -> bool:
        """Whether the broker has them all."""
        self._refused.clear()
        for transition in transitions:
            receipt = transition.receipt
            for topic in (self._all, self._failed) if receipt.state in _FINAL else (self._all,):
                self._produce(topic, receipt)
        # Each of them arrives or is refused in the end: those under way must not come in between the next ones.
        producer = self._producer
        while producer.flush(_FLUSH_SECONDS):
            self._check()
            if producer is not self._producer or self._is_over():
                return False
        self._check()
        if not self._refused:
            return True
        self._say(problem_from(self._refused[0], f"publishing receipts to {self._all}", self._servers))
        self._stopping.wait(_AGAIN_SECONDS)
        return False

    def _is_over(self) -> bool:
        """Whether it is time to end with receipts under way. A broker that is only slow is waited for: to begin anew
        would publish them twice.
        """
        return self._stopping.is_set() and (self.problem is not None or time.monotonic() >= self._end_by)

    def _produce(self, topic: str, receipt: Receipt) -> None:
        key = (receipt.prediction_id or receipt.notification_id).encode()
        cut = receipt.text and f"{receipt.text[:_CUT_CHARACTERS]} …"
        for text in (receipt.text, cut, None):
            value = encode_receipt(replace(receipt, text=text))
            try:
                self._queue(topic, value, key)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE:
                    self._refused.append(error.args[0])
                    return
            else:
                return

    def _queue(self, topic: str, value: bytes, key: bytes) -> None:
        while True:
            try:
                self._producer.produce(topic, value, key, on_delivery=self._delivered)
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._refused.append(error)

    def _say(self, problem: RollcastError) -> None:
        self.problem = str(problem)
        if time.monotonic() >= self._say_at:
            self._say_at = time.monotonic() + _SAY_EVERY_SECONDS
            _log.warning("receipts are not published now; they wait in the outbox", problem=str(problem))
