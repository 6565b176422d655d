"""Measures, in one run and on one real Kafka: the article's loop, a transactional pass-through, and Rollcast.

The rows are those of the example (wine prices where WINES or ../shared/data has them, else breast-cancer), the
model is its HistGradientBoosting pipeline, the same file for all. Rounds go through the contenders in turn,
because a broker warms up; the medians are compared.
"""

import argparse
import itertools
import json
import re
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from confluent_kafka import Producer
from rich.console import Console
from rich.table import Table

from bench.common import assign, machine, run_python, service_environment
from rollcast_cli.examples import Example, find_example
from rollcast_cli.local.brokers import BrokerChoice, start_broker
from rollcast_cli.local.ports import free_ports
from rollcast_cli.local.processes import start, wait_until
from rollcast_cli.local.s3 import start_s3
from rollcast_cli.local.stack import slot_health
from rollcast_cli.stream_source import read_rows
from rollcast_common.artifacts import ArtifactStore
from rollcast_common.identity import ModelIdentity
from rollcast_common.kafka import KafkaBrokerParams, KafkaParams, TopicNames, topic_specs

_PARTITIONS = 6


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000, help="records for the pass-through and for Rollcast")
    parser.add_argument("--rounds", type=int, default=3, help="times that each contender runs")
    parser.add_argument("--batch-rows", type=int, default=2000, help="Rollcast's batch")
    options = parser.parse_args()
    console = Console(highlight=False)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rollcast-bench-")))
        example = find_example(None, None)
        console.print(example.why)
        bench = _Bench(stack, folder, example, console, rows=options.rows, batch_rows=options.batch_rows)
        figures: dict[str, list[float]] = {"article's loop": [], "pass-through": [], "Rollcast": []}
        for number in range(1, options.rounds + 1):
            for name, run in (
                ("article's loop", bench.article),
                ("pass-through", bench.pass_through),
                ("Rollcast", bench.rollcast),
            ):
                figures[name].append(run())
                console.print(f"round {number}: {name}: {figures[name][-1]:,.0f} rows/s")
        console.print(_table(figures))
        console.print(f"{machine()}, one predictor slot")


class _Bench:
    def __init__(
        self, stack: ExitStack, folder: Path, example: Example, console: Console, *, rows: int, batch_rows: int
    ) -> None:
        self._folder = folder
        self._rows = rows
        self._batch_rows = batch_rows
        self._model = example.model
        self._round = itertools.count(1)
        self._broker = start_broker(BrokerChoice("kafka", ""), folder / "broker", progress=console.print)
        stack.callback(self._broker.stop)
        s3 = start_s3(log=folder / "s3.log")
        stack.callback(s3.stop)
        self._store = ArtifactStore(s3.params)
        self._environ = service_environment(self._broker.servers, s3.params, folder / "cache")
        self._train(example)
        values = read_rows(self._row_file(example))
        self._broker.create_topics(topic_specs(TopicNames(prefix="bench-"), partitions=_PARTITIONS))
        self._fill("bench-requests", values)

    def _train(self, example: Example) -> None:
        command = ["-m", "rollcast_trainer", "fit", "--config", str(example.config), "--version", "bench"]
        command += [
            "--no-publish",
            "--output",
            str(self._folder),
            *(["--data", str(example.data)] if example.data else []),
        ]
        run_python(command, self._environ)
        self._model_path = self._folder / "bench.skops"

    def _row_file(self, example: Example) -> Path:
        if example.data is not None:
            return example.data
        target = self._folder / "rows.jsonl"
        arguments = ["-m", "rollcast_trainer", "rows", "--config", str(example.config), "--output", str(target)]
        run_python(arguments, self._environ)
        return target

    def _fill(self, topic: str, values: list[bytes]) -> None:
        producer = Producer({"bootstrap.servers": self._broker.servers, "compression.type": "lz4", "linger.ms": 20})
        for number in range(self._rows):
            while True:
                try:
                    producer.produce(topic, values[number % len(values)], str(number % len(values)))
                except BufferError:
                    producer.poll(0.05)
                else:
                    break
        producer.flush()

    def article(self) -> float:
        return self._contender("article", [str(self._model_path), "500", "10"])

    def pass_through(self) -> float:
        return self._contender("pass_through", [str(self._rows)])

    def _contender(self, name: str, arguments: list[str]) -> float:
        target = f"{name.replace('_', '-')}-{next(self._round)}"
        specs = topic_specs(TopicNames(prefix=f"{target}-"), partitions=_PARTITIONS)
        self._broker.create_topics([spec for spec in specs if spec.name.endswith("app_messages")])
        places = [self._broker.servers, "bench-requests", f"{target}-app_messages"]
        out = run_python(["-m", "bench.contenders", name, *places, *arguments], self._environ)
        figure = json.loads(out.splitlines()[-1])
        return float(figure["rows"] / figure["seconds"])

    def rollcast(self) -> float:
        """Rows a second between the first 10 % and the end, by the slot's own count of committed predictions."""
        number = next(self._round)
        (port,) = free_ports(1)
        key = f"models/bench-{number}.skops"
        for path, place in (
            (self._model_path, key),
            (self._model_path.with_name("bench.card.json"), f"models/bench-{number}.card.json"),
        ):
            self._store.put_once(place, path)
        kafka = KafkaParams(broker=KafkaBrokerParams(servers=self._broker.servers), topics=TopicNames(prefix="bench-"))
        assign(kafka, self._store, ModelIdentity(f"bench-{number}", "default", self._model), key)
        command = [sys.executable, "-m", "rollcast_predictor", "run", "--model", self._model]
        command += ["--installation", f"bench-{number}", "--batch-rows", str(self._batch_rows)]
        child = start(
            [*command, "--metrics-port", str(port)],
            role="predictor",
            log=self._folder / f"predictor-{number}.log",
            environ=self._environ | {"ROLLCAST_TOPIC_PREFIX": "bench-"},
        )
        try:
            wait_until(
                lambda: (slot_health(port) or {}).get("ready"),
                what="the predictor is ready",
                timeout_seconds=60,
                children=[child],
            )
            marks = [mark for mark in self._progress(port) if mark[1] >= self._rows // 10]
        finally:
            child.stop()
        (from_time, from_rows), (to_time, to_rows) = marks[0], marks[-1]
        return (to_rows - from_rows) / (to_time - from_time)

    def _progress(self, port: int) -> Iterator[tuple[float, int]]:
        done = 0
        deadline = time.monotonic() + 120
        while done < self._rows and time.monotonic() < deadline:
            now_done = _committed(port)
            if now_done > done:
                done = now_done
                yield time.perf_counter(), done
            time.sleep(0.02)


def _committed(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    predictions = re.search(r"^rollcast_predictor_predictions_total (\S+)$", text, re.MULTILINE)
    dead = re.findall(r"^rollcast_predictor_dead_letters_total\{.*\} (\S+)$", text, re.MULTILINE)
    return int(float(predictions[1] if predictions else 0) + sum(map(float, dead)))


def _table(figures: dict[str, list[float]]) -> Table:
    table = Table(title="rows a second, median of the rounds", title_justify="left")
    for name in ("", "rows/s", "of the article's loop", "of the pass-through"):
        table.add_column(name, justify="left" if not name else "right")
    medians = {name: statistics.median(values) for name, values in figures.items()}
    article = medians["article's loop"]
    for name, median in medians.items():
        table.add_row(
            name,
            f"{median:,.0f}",
            f"{median / article:,.1f} x",
            f"{median / medians['pass-through']:.2f} x",
        )
    return table


if __name__ == "__main__":
    main()
