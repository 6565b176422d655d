"""A stream of requests: rows of a file, replayed at a rate, with bad ones planted among them if asked.

It runs as a process of its own (`python -m rollcast_cli.stream_source`). What Kafka acknowledged goes
into a journal, one JSON line each: the truth that a reader of the results is held against.
"""

import argparse
import csv
import itertools
import json
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from rollcast_common.contracts import REQUEST_ID_HEADER
from rollcast_common.errors import DataError, KafkaUnavailable, RollcastError
from rollcast_common.kafka import (
    ErrorWatch,
    KafkaParams,
    LifeWatch,
    load_kafka_params,
    make_consumer,
    make_producer,
    problem_from,
)

__all__ = ["Request", "bad_values", "read_rows", "requests"]

_LEAD_EVERY_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Request:
    request_id: str
    key: str
    value: bytes | None
    planted: bool
    """Whether it is bad on purpose, and must come back as a dead letter."""


def read_rows(path: Path) -> list[bytes]:
    """The rows of a CSV (every value a string, as a CSV reader has them) or of JSON lines, as JSON objects.

    Raises DataError when there is no such file or nothing in it.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            if path.suffix == ".csv":
                rows = [json.dumps(row).encode() for row in csv.DictReader(file)]
            else:
                rows = [line.strip().encode() for line in file if line.strip()]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: rows cannot be read: {error}") from None
    if not rows:
        raise DataError(f"{path}: holds no rows")
    return rows


def bad_values(row: bytes) -> list[bytes | None]:
    """One of each kind of record that no model can take."""
    names = json.loads(row)
    return [
        b"{not json",
        b"[1, 2, 3]",
        b"{}",
        json.dumps({name: [] for name in names}).encode(),
        None,
    ]


def requests(rows: list[bytes], *, run: str, bad_every: int) -> Iterator[Request]:
    """Endless: the rows over and over, every `bad_every`-th a bad one (0: none). Keys are row numbers."""
    bad = itertools.cycle(bad_values(rows[0]))
    for number in itertools.count():
        planted = bad_every > 0 and number % bad_every == bad_every - 1
        value = next(bad) if planted else rows[number % len(rows)]
        yield Request(f"{run}-{number}", str(number % len(rows)), value, planted)


class _Source:
    def __init__(self, kafka: KafkaParams, journal: IO[str], group: str | None) -> None:
        self._topic = kafka.topics.full("requests")
        self._servers = kafka.broker.servers
        self._watch = LifeWatch(self._servers)
        self._producer = make_producer(kafka, self._watch, client_id="stream-source", settings={"linger.ms": 2})
        self._journal = journal
        self._failure: KafkaError | None = None
        self._group: Consumer | None = None
        if group:
            # It never subscribes: it only looks at what the predictors have committed.
            self._group = make_consumer(kafka, ErrorWatch(self._servers), client_id="stream-lead", group_id=group)
        self._sent = 0
        self._consumed = 0
        self._lead_due = 0.0

    def run(self, stream: Iterable[Request], *, rate: float, max_lead: int, stopping: threading.Event) -> None:
        """Send at `rate` a second, never more than `max_lead` ahead of the group (0: no limit)."""
        started = time.monotonic()
        for number, request in enumerate(stream):
            due = started + number / rate
            while (wait := due - time.monotonic()) > 0 and not stopping.is_set():
                self._producer.poll(min(wait, 0.05))
            while max_lead and self._lead() > max_lead and not stopping.is_set():
                self._producer.poll(0.1)
                self._check()
            if stopping.is_set():
                break
            self._send(request)
            self._check()

    def _send(self, request: Request) -> None:
        def acknowledged(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                self._failure = error
            else:
                self._journal.write(json.dumps({"id": request.request_id, "planted": request.planted}) + "\n")

        while True:
            try:
                self._producer.produce(
                    self._topic,
                    request.value,
                    request.key,
                    headers=[(REQUEST_ID_HEADER, request.request_id)],
                    on_delivery=acknowledged,
                )
            except BufferError:
                self._producer.poll(0.1)
                self._check()
            else:
                self._sent += 1
                self._producer.poll(0)
                return

    def _lead(self) -> int:
        """How far ahead of the group at most: what it has read is looked up every half second."""
        if self._group is None:
            return 0
        if time.monotonic() >= self._lead_due:
            try:
                self._consumed = self._sent - self._unread(self._group)
            except KafkaException as error:
                # A broker that does not answer now is asked again: until then nobody is known to have read any further.
                problem = problem_from(error.args[0], f"asking how far {self._topic} is read", self._servers)
                if not isinstance(problem, KafkaUnavailable) and not error.args[0].retriable():
                    raise problem from None
            self._lead_due = time.monotonic() + _LEAD_EVERY_SECONDS
        return self._sent - self._consumed

    def _unread(self, group: Consumer) -> int:
        # First what is still on its way: a broker may take long, and what it has not got yet nobody can have read.
        # What arrives while we look is counted twice, until the next look.
        unread = len(self._producer)
        partitions = group.list_topics(self._topic, timeout=5).topics[self._topic].partitions
        wanted = [TopicPartition(self._topic, number) for number in partitions]
        for committed in group.committed(wanted, timeout=5):
            low, high = group.get_watermark_offsets(committed, timeout=5)
            unread += high - (committed.offset if committed.offset >= 0 else low)
        return unread

    def _check(self) -> None:
        self._watch.check("streaming")
        if self._failure is not None:
            raise problem_from(self._failure, f"writing to {self._topic}", self._servers)

    def finish(self) -> None:
        """Wait for what is under way. Raises KafkaUnavailable when it is not acknowledged."""
        left = self._producer.flush(30)
        self._journal.flush()
        if self._group is not None:
            self._group.close()
        self._check()
        if left:
            raise KafkaUnavailable(f"Kafka at {self._servers}: {left} requests were not acknowledged in 30 s")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="stream-source", description="Replay rows to topic requests.")
    parser.add_argument("--rows", type=Path, required=True, help="CSV or JSON lines")
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    parser.add_argument("--count", type=int, default=0, help="end after so many; 0: never")
    parser.add_argument("--bad-every", type=int, default=0, help="plant a bad record every so many")
    parser.add_argument("--run", default="run", help="begins every request id")
    parser.add_argument("--journal", type=Path, required=True, help="what was acknowledged, as JSON lines")
    parser.add_argument("--group", help="the consumer group not to run ahead of")
    parser.add_argument("--max-lead", type=int, default=0, help="how far at most; 0: no limit")
    options: Any = parser.parse_args(arguments)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        stream: Iterable[Request] = requests(read_rows(options.rows), run=options.run, bad_every=options.bad_every)
        if options.count:
            stream = itertools.islice(stream, options.count)
        with options.journal.open("a", encoding="utf-8") as journal:
            source = _Source(load_kafka_params(None), journal, options.group)
            source.run(stream, rate=options.rate, max_lead=options.max_lead, stopping=stopping)
            source.finish()
    except RollcastError as error:
        sys.stderr.write(f"stream-source: error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
