"""The notifier under load: a million predictions while one of two channels is dead.

First, at a steady rate: how long from a prediction's record on app_messages until the living channel has its message.
Then all the rest at once: each is for the dead channel, every thousandth for the living one, too. Nothing may be lost,
and the notifier's memory must not grow with what waits. In the end it is killed, and another one starts on that outbox.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import psutil
from rich.console import Console
from rich.table import Table

from bench.common import machine
from rollcast_cli.local.brokers import choose_broker, start_broker
from rollcast_cli.local.ports import free_ports
from rollcast_cli.local.processes import Child, start, wait_until
from rollcast_common.contracts import Prediction
from rollcast_common.contracts.prediction import encode_prediction
from rollcast_common.kafka import ErrorWatch, KafkaBrokerParams, KafkaParams, TopicNames, make_producer, topic_specs
from rollcast_notifier.outbox import Outbox

_PREFIX = "delivery-"
_PARTITIONS = 6
_LIVING_EVERY = 1000
_NOBODY_LISTENS = "http://127.0.0.1:9/in"
_PATIENCE_SECONDS = 1800.0

_RULES = """\
channels:
  living: {{type: webhook, url: '{url}'}}
  dead: {{type: webhook, url: '{nobody}'}}
subscriptions:
  - {{name: steady, when: 'features.steady = 1', to: ['living:ann']}}
  - {{name: some, when: 'features.steady = 0 and prediction % {every} = 0', to: ['living:ann']}}
  - {{name: all, when: 'features.steady = 0', to: ['dead:ann']}}
"""


class Living:
    """A channel that answers at once and remembers when it was told of which request."""

    def __init__(self) -> None:
        self.told: dict[str, float] = {}
        living = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:  # the name http.server calls
                body = self.rfile.read(int(self.headers["Content-Length"]))
                now = time.time()
                living.told.setdefault(json.loads(body)["data"]["request_id"], now)
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # http.server's own name
                """A million lines would be measured, too."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/in"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()


class Predictions:
    """Writes app_messages; when each was handed to Kafka is its own timestamp."""

    def __init__(self, kafka: KafkaParams) -> None:
        self._topic = kafka.topics.full("app_messages")
        self._producer = make_producer(
            kafka,
            ErrorWatch(kafka.broker.servers),
            client_id="bench-predictions",
            settings={"linger.ms": 1, "queue.buffering.max.messages": 200_000},
        )

    def send(self, number: int, *, steady: bool) -> None:
        request_id = f"{'s' if steady else 'r'}-{number}"
        one = Prediction(
            prediction_id=f"bench/default/wine:{request_id}",
            request_id=request_id,
            key=f"key-{number % 1000}",
            prediction=msgspec.Raw(b"%d" % number),
            model="wine",
            version="2022-08-19",
            sha256="0" * 64,
            generation=1,
            request_time=0,
            prediction_time=0,
            features=msgspec.Raw(b'{"winery":"Vega Sicilia","year":2010,"rating":4.7,"steady":%d}' % steady),
        )
        while True:
            try:
                self._producer.produce(self._topic, encode_prediction(one), (one.key or "").encode())
            except BufferError:
                self._producer.poll(0.05)
            else:
                self._producer.poll(0)
                return

    def flush(self) -> None:
        if self._producer.flush(60):
            raise SystemExit("the broker did not take all predictions")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.notifier_delivery", description=__doc__)
    parser.add_argument("--predictions", type=int, default=1_000_000)
    parser.add_argument("--steady", type=int, default=2000, help="predictions of which the delay is measured")
    parser.add_argument("--per-second", type=float, default=50.0, help="how many of these a second")
    options = parser.parse_args()
    console = Console()
    console.print(f"{machine()}; {options.predictions} predictions for a dead channel")
    table = Table("what", "figure")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rollcast-delivery-")))
        for what, figure in _measure(options, folder, stack, lambda line: console.print(line, style="dim")):
            table.add_row(what, figure)
    console.print(table)
    return 0


def _measure(
    options: argparse.Namespace, folder: Path, stack: ExitStack, say: Callable[[str], None]
) -> list[tuple[str, str]]:
    broker = start_broker(choose_broker("kafka", progress=say), folder / "broker")
    stack.callback(broker.stop)
    kafka = KafkaParams(broker=KafkaBrokerParams(servers=broker.servers), topics=TopicNames(prefix=_PREFIX))
    broker.create_topics(topic_specs(kafka.topics, partitions=_PARTITIONS))
    living, predictions, outbox = Living(), Predictions(kafka), folder / "outbox.db"
    rules = folder / "notifications.yaml"
    rules.write_text(_RULES.format(url=living.url, nobody=_NOBODY_LISTENS, every=_LIVING_EVERY), encoding="utf-8")
    notifier, port = _started(kafka, folder, rules, outbox)
    stack.callback(notifier.stop)
    figures = _steady(options, predictions, living, say)
    idle = _rss(notifier.pid)
    figures.append(("RSS before the flood", f"{idle / 2**20:.0f} MiB"))

    memory: list[int] = []
    over = threading.Event()
    watching = threading.Thread(target=_watch, args=(notifier.pid, memory, over), daemon=True)
    watching.start()
    began = time.monotonic()
    for number in range(options.predictions):
        predictions.send(number, steady=False)
    predictions.flush()
    say(f"all are on app_messages after {time.monotonic() - began:.0f} s")
    some = -(-options.predictions // _LIVING_EVERY)

    wait_until(
        lambda: _waiting(outbox) == options.predictions,
        what="all are recorded",
        timeout_seconds=_PATIENCE_SECONDS,
        children=[notifier],
        interval_seconds=1,
    )
    took = time.monotonic() - began
    wait_until(
        lambda: len(living.told) >= some + options.steady,
        what="the living channel has its share",
        timeout_seconds=_PATIENCE_SECONDS,
        children=[notifier],
    )
    over.set()
    watching.join()
    size = sum(path.stat().st_size for path in folder.glob("outbox.db*"))
    figures += [
        ("predictions read and recorded a second", f"{options.predictions / took:,.0f}"),
        ("RSS during the flood, most", f"{max(memory) / 2**20:.0f} MiB"),
        ("RSS in its second half, growth", f"{_growth(memory) / 2**20:+.0f} MiB"),
        ("outbox", f"{size / 1e6:,.0f} MB, {size / options.predictions:,.0f} bytes a notification"),
    ]
    notifier.kill()
    began = time.monotonic()
    notifier, port = _started(kafka, folder, rules, outbox)
    stack.callback(notifier.stop)
    figures.append(("killed; ready again on this outbox", f"{time.monotonic() - began:.1f} s"))
    wait_until(lambda: _lag(port) == 0, what="it has read all", timeout_seconds=60, children=[notifier])
    figures.append(("RSS of the new process", f"{_rss(notifier.pid) / 2**20:.0f} MiB"))
    notifier.stop()
    figures.append(("lost", _lost(outbox, living, options.predictions, some + options.steady)))
    return figures


def _steady(
    options: argparse.Namespace, predictions: Predictions, living: Living, say: Callable[[str], None]
) -> list[tuple[str, str]]:
    sent: dict[str, float] = {}
    began = time.monotonic()
    for number in range(options.steady):
        time.sleep(max(0.0, began + number / options.per_second - time.monotonic()))
        sent[f"s-{number}"] = time.time()
        predictions.send(number, steady=True)
    predictions.flush()
    wait_until(lambda: len(living.told) >= options.steady, what="all of these are told", timeout_seconds=60)
    # The first ones wait for connections.
    delays = sorted(living.told[name] - at for name, at in list(sent.items())[options.steady // 20 :])
    cuts = statistics.quantiles(delays, n=100)
    say(f"{options.steady} at {options.per_second:g} a second")
    return [
        ("app_messages -> channel, p50", f"{1000 * cuts[49]:.1f} ms"),
        ("app_messages -> channel, p99", f"{1000 * cuts[98]:.1f} ms"),
    ]


def _started(kafka: KafkaParams, folder: Path, rules: Path, outbox: Path) -> tuple[Child, int]:
    port = free_ports(1)[0]
    child = start(
        [sys.executable, "-m", "rollcast_notifier", "run"],
        role="notifier",
        log=folder / f"notifier-{port}.log",
        environ={
            **os.environ,
            "ROLLCAST_KAFKA_SERVERS": kafka.broker.servers,
            "ROLLCAST_TOPIC_PREFIX": kafka.topics.prefix,
            "ROLLCAST_NOTIFICATIONS": str(rules),
            "ROLLCAST_OUTBOX": str(outbox),
            "ROLLCAST_METRICS_PORT": str(port),
        },
    )
    wait_until(lambda: _ready(port), what="the notifier is ready", timeout_seconds=120, children=[child])
    return child, port


def _ready(port: int) -> bool:
    return '"ready": true' in _asked(port, "/readyz")


def _lag(port: int) -> float:
    (line,) = [
        line for line in _asked(port, "/metrics").splitlines() if line.startswith("rollcast_notifier_lag_records ")
    ] or ["- 1"]
    return float(line.split()[1])


def _asked(port: int, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def _rss(pid: int) -> int:
    return int(psutil.Process(pid).memory_info().rss)


def _watch(pid: int, memory: list[int], over: threading.Event) -> None:
    while not over.wait(0.2):
        memory.append(_rss(pid))


def _growth(memory: list[int]) -> float:
    """Of the last tenth over the one in the middle."""
    tenth = max(1, len(memory) // 10)
    middle = len(memory) // 2
    return statistics.median(memory[-tenth:]) - statistics.median(memory[middle : middle + tenth])


def _waiting(outbox: Path) -> int:
    """For the dead channel."""
    box = Outbox(outbox, sending=False)
    try:
        return box.open_counts().get("dead", 0)
    finally:
        box.close()


def _lost(outbox: Path, living: Living, predictions: int, told: int) -> str:
    waiting = _waiting(outbox)
    lost = (predictions - waiting) + (told - len(living.told))
    return f"{lost} ({waiting:,} wait for the dead channel, the living one was told of {len(living.told):,})"


if __name__ == "__main__":
    sys.exit(main())
