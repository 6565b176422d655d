"""How long a death is felt: the streamer is killed under a steady stream, again and again, and slots join and leave.

Recovery is the time from SIGKILL until every partition has committed the answer to a request that was sent after the
kill, as a reader with `read_committed` sees it. Pauses are from one kill to the next; a kill waits until the one before
it is over. A gap is the longest time without an answer from some partition.
"""

import argparse
import csv
import functools
import itertools
import logging
import os
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import KafkaError, Message
from rich.console import Console
from rich.table import Table

from bench.common import assign, machine, run_python, service_environment
from rollcast_cli.local.brokers import BrokerChoice, start_broker
from rollcast_cli.local.ports import free_ports
from rollcast_cli.local.processes import Child, start, wait_until
from rollcast_cli.local.s3 import start_s3
from rollcast_cli.local.stack import slot_health
from rollcast_common.artifacts import ArtifactStore
from rollcast_common.contracts import decode_prediction
from rollcast_common.contracts.dead_letter import parse_dead_letter
from rollcast_common.identity import ModelIdentity
from rollcast_common.kafka import (
    ErrorWatch,
    KafkaBrokerParams,
    KafkaParams,
    TopicNames,
    make_consumer,
    make_producer,
    topic_ends,
    topic_specs,
)

_PARTITIONS = 6
_MODEL = "wine"
_PREFIX = "recovery-"
_CLOSE_SECONDS = (1.0, 7.0)
_APART_SECONDS = (8.0, 11.0)
_SETTLE_SECONDS = 5.0
_PATIENCE_SECONDS = 120.0
_MODEL_BYTES = (1_600_000, 2_400_000)

_CONFIG = """\
model: wine
task: regression
dataset: {csv: wines.csv}
target: price
features: {numbers: [year, rating, num_reviews, body, acidity], strings: [winery, region]}
split: {test_size: 0.2, seed: 42}
estimator:
  type: RandomForestRegressor
  params: {n_estimators: 20, random_state: 1}
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.recovery", description=__doc__)
    parser.add_argument("--kills-close", type=int, default=30, help="SIGKILLs 1 to 7 s apart")
    parser.add_argument("--kills-apart", type=int, default=30, help="SIGKILLs 8 to 11 s apart")
    parser.add_argument("--joins", type=int, default=10, help="times that a second slot joins and leaves again")
    parser.add_argument("--rate", type=float, default=600.0, help="requests a second")
    parser.add_argument("--seed", type=int, default=1, help="decides the pauses")
    parser.add_argument("--keep", type=Path, help="the folder for logs; the default is a temporary one")
    options = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    logging.getLogger("rollcast.kafka").setLevel(logging.CRITICAL)
    chance = random.Random(options.seed)  # noqa: S311  # no secret: the same pauses from the same seed
    figures: dict[str, list[float]] = {}
    with ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rollcast-recovery-")))
        folder.mkdir(parents=True, exist_ok=True)
        folder = folder.absolute()
        bench = _Bench(stack, folder, rate=options.rate, say=console.print)
        for name, count, pause in (
            ("killed 1 to 7 s apart", options.kills_close, _CLOSE_SECONDS),
            ("killed 8 to 11 s apart", options.kills_apart, _APART_SECONDS),
        ):
            for number in range(1, count + 1):
                seconds = bench.kill(pause=chance.uniform(*pause))
                figures.setdefault(f"{name}: recovery", []).append(seconds)
                console.print(f"{name}: {number} of {count}: {seconds:.2f} s")
        for number in range(1, options.joins + 1):
            found = bench.join_and_leave()
            for name, seconds in found.items():
                figures.setdefault(name, []).append(seconds)
            told = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in found.items())
            console.print(f"a slot joins and leaves: {number} of {options.joins}: {told}")
        accepted, lost, doubled = bench.finish()
    console.print(_table(figures))
    console.print(
        f"{accepted} requests, {options.rate:g}/s on {_PARTITIONS} partitions, a model of "
        f"{bench.model_bytes / 1e6:.1f} MB: lost {lost}, doubled {doubled}"
    )
    console.print(machine())
    return 1 if lost or doubled else 0


class _Bench:
    def __init__(self, stack: ExitStack, folder: Path, *, rate: float, say: Callable[[str], None]) -> None:
        self._stack = stack
        self._folder = folder
        self._starts = itertools.count()
        broker = start_broker(BrokerChoice("kafka", ""), folder / "broker", progress=say)
        stack.callback(broker.stop)
        s3 = start_s3(log=folder / "s3.log")
        stack.callback(s3.stop)
        self._environ = service_environment(broker.servers, s3.params, folder / "cache")
        self._environ["ROLLCAST_TOPIC_PREFIX"] = _PREFIX
        names = TopicNames(prefix=_PREFIX)
        kafka = KafkaParams(broker=KafkaBrokerParams(servers=broker.servers), topics=names)
        broker.create_topics(topic_specs(names, partitions=_PARTITIONS))
        rows = self._train()
        say(f"trained a RandomForest pipeline of {self.model_bytes / 1e6:.2f} MB")
        self._assign(kafka, ArtifactStore(s3.params))
        self._first = self._start_slot(0)
        self._wait("the slot owns every partition", lambda: self._first.partitions == _PARTITIONS)
        self._traffic = _Traffic(kafka, rows, rate=rate)
        stack.callback(self._traffic.stop)
        self._traffic.start()
        self._killed_at = 0.0
        self._settle()

    def _train(self) -> list[bytes]:
        """A model of a size that real ones have; the rows that it is asked about are those that it was trained on."""
        rows = list(_wines(6000))
        with (self._folder / "wines.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
        config = self._folder / "train.yaml"
        config.write_text(_CONFIG, encoding="utf-8")
        output = ["--no-publish", "--output", str(self._folder)]
        run_python(["-m", "rollcast_trainer", "fit", "--config", str(config), "--version", "v1", *output], {})
        self.model_bytes = (self._folder / "v1.skops").stat().st_size
        smallest, largest = _MODEL_BYTES
        if not smallest <= self.model_bytes <= largest:
            raise SystemExit(f"the model has {self.model_bytes} bytes, not about 2 MB: change n_estimators")
        return [msgspec.json.encode({name: row[name] for name in row if name != "price"}) for row in rows]

    def _assign(self, kafka: KafkaParams, store: ArtifactStore) -> None:
        for name in ("v1.skops", "v1.card.json"):
            store.put_once(f"models/{name}", self._folder / name)
        assign(kafka, store, ModelIdentity("local", "default", _MODEL), "models/v1.skops")

    def _start_slot(self, ordinal: int) -> "_Slot":
        (port,) = free_ports(1)
        command = [sys.executable, "-m", "rollcast_predictor", "run", "--model", _MODEL]
        child = start(
            [*command, "--ordinal", str(ordinal), "--metrics-port", str(port)],
            role=f"slot {ordinal}",
            log=self._folder / f"slot-{ordinal}-{next(self._starts)}.log",
            environ=self._environ,
        )
        self._stack.callback(child.stop)
        return _Slot(child, port)

    def _wait(self, what: str, condition: Callable[[], Any]) -> Any:
        children = [self._first.child]
        return wait_until(condition, what=what, timeout_seconds=_PATIENCE_SECONDS, children=children)

    def _settle(self) -> None:
        """What came before is over, also what Kafka and the supervisor do after it."""
        moment = time.monotonic()
        self._wait("every partition answers", lambda: self._traffic.answered_everywhere(moment))
        time.sleep(_SETTLE_SECONDS)

    def kill(self, *, pause: float) -> float:
        """Seconds until every partition has answered what was asked after it."""
        time.sleep(max(0.0, self._killed_at + pause - time.monotonic()))
        pid = self._wait("the slot says who streams", lambda: self._first.health.get("pid"))
        self._killed_at = killed_at = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        answered_at = self._wait(
            "every partition answers again", functools.partial(self._traffic.answered_everywhere, killed_at)
        )
        return float(answered_at) - killed_at

    def join_and_leave(self) -> dict[str, float]:
        self._settle()
        began = time.monotonic()
        second = self._start_slot(1)
        self._wait("both own partitions", lambda: second.partitions and self._shared(second) == _PARTITIONS)
        shared = time.monotonic()
        self._settle()
        join_gap = self._traffic.longest_gap(began, time.monotonic())
        began_to_leave = time.monotonic()
        second.child.terminate()
        self._wait("the second slot ends", lambda: second.child.returncode is not None)
        if second.child.returncode != 0:
            second.child.check()
        self._wait("the first owns every partition", lambda: self._first.partitions == _PARTITIONS)
        self._settle()
        return {
            "a slot joins: start to sharing": shared - began,
            "a slot joins: longest gap": join_gap,
            "a slot leaves: longest gap": self._traffic.longest_gap(began_to_leave, time.monotonic()),
        }

    def _shared(self, second: "_Slot") -> int:
        return self._first.partitions + second.partitions

    def finish(self) -> tuple[int, int, int]:
        """Requests that Kafka took, how many have no answer, and how many answers are too many."""
        accepted = self._traffic.stop_asking()
        wait_until(
            lambda: self._traffic.answered >= accepted, what="the rest is answered", timeout_seconds=_PATIENCE_SECONDS
        )
        self._settle_reading()
        return accepted, *self._traffic.count()

    def _settle_reading(self) -> None:
        """Nobody asks any more: what comes now would come once too often."""
        time.sleep(_SETTLE_SECONDS)


@dataclass(frozen=True, slots=True)
class _Slot:
    child: Child
    port: int

    @property
    def health(self) -> dict[str, Any]:
        return slot_health(self.port) or {}

    @property
    def partitions(self) -> int:
        health = self.health
        return health["partitions"] if health.get("ready") else 0


class _Traffic:
    """Asks at a steady rate and reads the answers, each in a thread of its own. Requests are named by their number."""

    def __init__(self, kafka: KafkaParams, rows: Sequence[bytes], *, rate: float) -> None:
        self._rows = rows
        self._rate = rate
        self._topic = kafka.topics.full("requests")
        self._dead_letters = kafka.topics.full("dead_letters")
        self._producer = make_producer(
            kafka,
            ErrorWatch(kafka.broker.servers),
            client_id="bench-client",
            settings={"linger.ms": 2, "message.timeout.ms": 0},
        )
        self._consumer = make_consumer(
            kafka,
            ErrorWatch(kafka.broker.servers),
            client_id="bench-reader",
            group_id="bench-reader",
            settings={"fetch.wait.max.ms": 10},
        )
        topics = (kafka.topics.full("app_messages"), self._dead_letters)
        self._consumer.assign([e for topic in topics for e in topic_ends(self._consumer, topic, kafka.broker.servers)])
        self._lock = threading.Lock()
        self._asked_at: list[float] = []
        self._accepted = 0
        self._refused: list[KafkaError] = []
        self._times: Counter[int] = Counter()
        self._answers: list[list[tuple[float, float]]] = [[] for _ in range(_PARTITIONS)]
        """Of each partition, when each request was sent and answered, in the order of the answers."""
        self._over = threading.Event()
        self._all_read = threading.Event()
        self._failure: BaseException | None = None
        self._client = threading.Thread(target=self._guarded, args=(self._ask,), name="client", daemon=True)
        self._reader = threading.Thread(target=self._guarded, args=(self._read,), name="reader", daemon=True)

    def start(self) -> None:
        self._reader.start()
        self._client.start()

    def _guarded(self, run: Callable[[], None]) -> None:
        try:
            run()
        except BaseException as error:  # noqa: BLE001  # raised again by whoever asks for figures
            self._failure = error

    def _check(self) -> None:
        if self._failure is not None:
            raise SystemExit(f"the bench itself failed: {self._failure!r}")
        if self._refused:
            raise SystemExit(f"Kafka refused a request: {self._refused[0].str()}")

    def _ask(self) -> None:
        began = time.monotonic()
        while not self._over.wait(0.005):
            due = int((time.monotonic() - began) * self._rate)
            while len(self._asked_at) < due:
                number = len(self._asked_at)
                self._asked_at.append(time.monotonic())
                self._producer.produce(
                    self._topic,
                    self._rows[number % len(self._rows)],
                    b"key-%d" % (number % 60),
                    partition=number % _PARTITIONS,
                    headers=[("request-id", str(number))],
                    on_delivery=self._delivered,
                )
            self._producer.poll(0)

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is None:
            self._accepted += 1
        else:
            self._refused.append(error)

    def _read(self) -> None:
        while not self._all_read.is_set():
            # Not consume(n, timeout): it waits to fill the batch.
            first = self._consumer.poll(0.05)
            messages = [] if first is None else [first, *self._consumer.consume(500, 0)]
            now = time.monotonic()
            with self._lock:
                for message in messages:
                    if message.error() is None:
                        self._note(message, now)
        self._consumer.close()

    def _note(self, message: Message, now: float) -> None:
        if message.topic() == self._dead_letters:
            letter = parse_dead_letter(message.headers())  # type: ignore[arg-type]  # a list of pairs
            number = int(letter.request_id)
        else:
            number = int(decode_prediction(message.value() or b"").request_id)
        self._times[number] += 1
        if self._times[number] == 1:
            self._answers[number % _PARTITIONS].append((self._asked_at[number], now))

    @property
    def answered(self) -> int:
        self._check()
        with self._lock:
            return len(self._times)

    def answered_everywhere(self, moment: float) -> float | None:
        """When the last partition first answered something that was asked after `moment`; None while one did not."""
        self._check()
        firsts = []
        with self._lock:
            for answers in self._answers:
                recent = itertools.takewhile(lambda answer: answer[1] >= moment, reversed(answers))
                first = min((answered for asked, answered in recent if asked >= moment), default=None)
                if first is None:
                    return None
                firsts.append(first)
        return max(firsts)

    def longest_gap(self, begin: float, end: float) -> float:
        """Of any partition, the longest time between two answers, or an edge of the interval and an answer."""
        with self._lock:
            times = [[begin, *(t for _, t in answers if begin <= t <= end), end] for answers in self._answers]
        return max(later - earlier for points in times for earlier, later in itertools.pairwise(points))

    def stop_asking(self) -> int:
        """How many requests Kafka has."""
        self._over.set()
        self._client.join()
        if self._producer.flush(30):
            raise SystemExit("Kafka did not take the last requests")
        self._check()
        return self._accepted

    def count(self) -> tuple[int, int]:
        """Lost and doubled."""
        with self._lock:
            return self._accepted - len(self._times), self._times.total() - len(self._times)

    def stop(self) -> None:
        self._over.set()
        self._all_read.set()
        for thread in (self._client, self._reader):
            if thread.ident is not None:
                thread.join()


def _wines(count: int) -> Iterator[dict[str, Any]]:
    """Rows like those of the wine example, made up, so that every machine has the same."""
    chance = random.Random(1)  # noqa: S311  # no secret: the same rows everywhere
    for _ in range(count):
        winery, region, year = chance.randrange(200), chance.randrange(30), chance.randrange(1990, 2021)
        rating, body = round(chance.uniform(4, 5), 1), chance.randrange(2, 6)
        price = 5 + winery / 5 + region + (2021 - year) * 1.5 + (rating - 4) * 60 + body * 2 + chance.gauss(0, 5)
        yield {
            "winery": f"winery {winery}",
            "region": f"region {region}",
            "year": year,
            "rating": rating,
            "num_reviews": chance.randrange(25, 30_000),
            "body": body,
            "acidity": chance.randrange(1, 4),
            "price": round(price, 2),
        }


def _table(figures: dict[str, list[float]]) -> Table:
    table = Table(title="seconds", title_justify="left")
    for name in ("", "times", "min", "median", "max"):
        table.add_column(name, justify="left" if not name else "right")
    for name, found in figures.items():
        low, median, high = min(found), statistics.median(found), max(found)
        table.add_row(name, str(len(found)), f"{low:.2f}", f"{median:.2f}", f"{high:.2f}")
    return table


if __name__ == "__main__":
    sys.exit(main())
