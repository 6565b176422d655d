"""The real `rollcast-notifier` as a process, and what a test needs around it: predictions, and who is told of them."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import msgspec
from tests.env.predictor import Slot

from rollcast_cli.local.ports import free_ports
from rollcast_cli.local.processes import Child, start, wait_until
from rollcast_common.contracts import Prediction, Receipt
from rollcast_common.contracts.prediction import encode_prediction
from rollcast_common.contracts.receipt import decode_receipt
from rollcast_common.kafka import (
    ErrorWatch,
    KafkaParams,
    TopicNames,
    make_admin,
    make_consumer,
    make_producer,
    read_to_end,
)
from rollcast_notifier.outbox import Outbox

__all__ = ["Answer", "Arrival", "Notifier", "NotifierWorld", "Predictions", "Receiver", "prediction"]

_ROOT = Path(__file__).parents[2]
_READY_SECONDS = 180.0
_SECONDS = 180.0


def prediction(number: int, value: float | str, *, headers: Mapping[str, str] | None = None) -> Prediction:
    return Prediction(
        prediction_id=f"test/default/line:r-{number}",
        request_id=f"r-{number}",
        key=f"key-{number % 8}",
        prediction=msgspec.Raw(msgspec.json.encode(value)),
        model="line",
        version="v1",
        sha256="0" * 64,
        generation=1,
        request_time=0,
        prediction_time=0,
        features=msgspec.Raw(b'{"x":%d}' % number),
        headers=dict(headers or {}),
    )


class Predictions:
    """Writes to app_messages as a slot would, but without a transaction."""

    def __init__(self, params: KafkaParams, names: TopicNames) -> None:
        self._topic = names.full("app_messages")
        self._producer = make_producer(
            params,
            ErrorWatch(params.broker.servers),
            client_id="test-predictions",
            settings={"linger.ms": 2, "queue.buffering.max.messages": 1_000_000, "message.timeout.ms": 0},
        )
        self.count = 0

    def send(self, count: int, value: Callable[[int], float | str] = float) -> range:
        """So many more, numbered on; the value of each is made of its number."""
        numbers = range(self.count, self.count + count)
        for number in numbers:
            one = prediction(number, value(number))
            self.send_raw(encode_prediction(one), (one.key or "").encode())
        self.count += count
        return numbers

    def send_raw(self, value: bytes | None, key: bytes | None = None) -> None:
        while True:
            try:
                self._producer.produce(self._topic, value, key)
            except BufferError:
                self._producer.poll(0.1)
            else:
                break
        self._producer.poll(0)

    def flush(self) -> None:
        assert self._producer.flush(120) == 0


@dataclass(frozen=True, slots=True)
class Answer:
    """How a receiver takes a post: `taken` says whether the message is there, whatever the status says."""

    status: int = 200
    taken: bool = True
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    """Take it, and close the connection without a word."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Arrival:
    id: str
    prediction_id: str
    text: str
    receiver: str
    answered: bool
    """Whether it was said so, in a way that whoever posted it could hear."""
    time: float


class Receiver:
    """A web server that takes notifications, badly if told so, and remembers those that arrived."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.tries = 0
        self.done = 0
        """How many of the tries are over, and among `arrivals` if they arrived."""
        self.answer: Callable[[int], Answer] = lambda _: Answer()
        """Given how many posts came before."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the name http.server calls
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver._take(self, body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # http.server's own name
                """A test looks at `arrivals`."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/in"

    def _take(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        with self._lock:
            answer = self.answer(self.tries)
            self.tries += 1
        try:
            self._take_as(handler, body, answer)
        finally:
            with self._lock:
                self.done += 1

    def _take_as(self, handler: BaseHTTPRequestHandler, body: bytes, answer: Answer) -> None:
        now = time.monotonic()
        time.sleep(answer.seconds)  # the fault itself
        answered = not answer.cut and self._answer(handler, answer)
        handler.close_connection = True
        if answer.taken:
            arrival = _arrival(
                handler, body, answered=answered and answer.status < HTTPStatus.MULTIPLE_CHOICES, now=now
            )
            with self._lock:
                self.arrivals.append(arrival)

    def _answer(self, handler: BaseHTTPRequestHandler, answer: Answer) -> bool:
        try:
            handler.send_response(answer.status)
            for name, value in {"Content-Length": "0", **answer.headers}.items():
                handler.send_header(name, value)
            handler.end_headers()
        except ConnectionError:  # whoever posted was killed meanwhile
            return False
        return True

    def times(self) -> Counter[str]:
        """How often what was said about each request arrived."""
        return Counter(arrival.prediction_id.rpartition(":")[2] for arrival in list(self.arrivals))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _arrival(handler: BaseHTTPRequestHandler, body: bytes, *, answered: bool, now: float) -> Arrival:
    posted = json.loads(body)["data"]
    return Arrival(
        id=handler.headers["webhook-id"],
        prediction_id=posted["prediction_id"],
        text=posted["text"],
        receiver=posted["receiver"],
        answered=answered,
        time=now,
    )


class Notifier(Slot):
    """One process. Ask it as Kubernetes and Prometheus would."""

    def metric(self, name: str) -> dict[str, float]:
        text = (self._get("/metrics") or b"").decode()
        pattern = rf"^rollcast_notifier_{name}(?:{{(.*)}})? (\S+)$"
        return {labels or "": float(value) for labels, value in re.findall(pattern, text, re.MULTILINE)}

    def wait_ready(self) -> None:
        self.wait(lambda: self.health().get("ready"), "the notifier is ready", _READY_SECONDS)


class NotifierWorld:
    """Topics, an outbox and rules of one test's own, and the notifiers that it started one after the other."""

    def __init__(self, kafka: KafkaParams, names: TopicNames, folder: Path) -> None:
        self.kafka = kafka
        self.names = names
        self.folder = folder
        self.group = f"{names.prefix}rollcast.test.notifier"
        self.outbox = folder / "outbox.db"
        self.rules = folder / "notifications.yaml"
        self.predictions = Predictions(kafka, names)
        self._started: list[Notifier] = []

    def write_rules(self, text: str) -> None:
        self.rules.write_text(text, encoding="utf-8")

    def write_hook_rules(self, url: str, *, when: str = "prediction >= 0", more: str = "") -> None:
        """All that meets the condition to one receiver a key, over a webhook."""
        self.write_rules(
            f"channels:\n  hook: {{type: webhook, url: '{url}', timeout_seconds: 30}}\n"
            f"subscriptions:\n  - name: all\n    when: \"{when}\"\n    to: ['hook:ann', 'hook:ben']\n{more}"
        )

    def environment(self) -> dict[str, str]:
        return {
            "ROLLCAST_NOTIFICATIONS": str(self.rules),
            "ROLLCAST_OUTBOX": str(self.outbox),
            "ROLLCAST_INSTALLATION": "test",
            "ROLLCAST_KAFKA_SERVERS": self.kafka.broker.servers,
            "ROLLCAST_KAFKA_GROUP_ID": self.group,
            "ROLLCAST_TOPIC_PREFIX": self.names.prefix,
        }

    def start(
        self,
        *arguments: str,
        module: Sequence[str] = ("-m", "rollcast_notifier"),
        environ: Mapping[str, str] | None = None,
    ) -> Notifier:
        """Start one and return at once."""
        port = free_ports(1)[0]
        child: Child = start(
            [sys.executable, *module, "run", *arguments],
            role="notifier",
            log=self.folder / f"notifier-{len(self._started)}.log",
            environ={
                **self.environment(),
                "ROLLCAST_METRICS_PORT": str(port),
                "PYTHONPATH": str(_ROOT),
                **(environ or {}),
            },
            cwd=_ROOT,
        )
        notifier = Notifier(child, port)
        self._started.append(notifier)
        return notifier

    def serve(self, *arguments: str, **options: Any) -> Notifier:
        """Start one and wait until it reads."""
        notifier = self.start(*arguments, **options)
        notifier.wait_ready()
        return notifier

    def command(self, *arguments: str) -> str:
        """What another command says that is run beside it."""
        done = subprocess.run(
            [sys.executable, "-m", "rollcast_notifier", *arguments],
            env={**os.environ, **self.environment(), "COLUMNS": "200"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=_SECONDS,
        )
        return done.stdout.decode()

    def counts(self) -> dict[tuple[str, str], int]:
        """What is in the outbox, by channel and state."""
        outbox = Outbox(self.outbox, sending=False)
        try:
            return outbox.counts()
        finally:
            outbox.close()

    def open_in_outbox(self) -> int:
        """How many are still to be sent."""
        return sum(count for (_, state), count in self.counts().items() if state in ("queued", "sending"))

    def wait_gone(self, topic: str) -> None:
        """Until the broker knows no topic of this name."""
        admin = make_admin(self.kafka, ErrorWatch(self.kafka.broker.servers), client_id="test-admin")
        wait_until(
            lambda: topic not in admin.list_topics(timeout=60).topics, what="it is gone", timeout_seconds=_SECONDS
        )

    def receipts(self, topic: str = "notifications") -> list[Receipt]:
        """All that were published."""
        watch = ErrorWatch(self.kafka.broker.servers)
        consumer = make_consumer(self.kafka, watch, client_id="test-receipts", group_id="test-receipts")
        try:
            found = read_to_end(consumer, self.names.full(topic), watch, self.kafka.broker.servers)
            return [decode_receipt(message.value() or b"") for message in found]
        finally:
            consumer.close()

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = _SECONDS) -> None:
        """Fails when the notifier that was started last dies meanwhile."""
        children = [self._started[-1].child] if self._started else []
        wait_until(condition, what=what, timeout_seconds=seconds, children=children)

    def stop(self) -> None:
        for notifier in self._started:
            notifier.child.stop()
