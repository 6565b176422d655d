"""Reads what predictors commit, as any consumer would, and counts it."""

import threading
import time
from collections import Counter, deque
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Self

from rollcast_common.contracts import decode_prediction
from rollcast_common.contracts.dead_letter import parse_dead_letter, replayed_place
from rollcast_common.errors import ContractError, RollcastError
from rollcast_common.kafka import KafkaParams, LifeWatch, make_consumer, topic_ends

__all__ = ["ResultReader", "Results", "VersionView", "percentile"]

_WINDOW_SECONDS = 5.0
_LATENCIES_KEPT = 200_000


@dataclass(frozen=True, slots=True)
class VersionView:
    """What one model version does now: rows in all, rows a second, latency percentiles in milliseconds."""

    model: str
    version: str
    predictions: int
    rate: float
    p50_ms: float | None
    p99_ms: float | None


def percentile(values: list[float], share: float) -> float | None:
    """The smallest value that at least `share` of the values do not exceed; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1))]


@dataclass(slots=True)
class Results:
    """Counts so far. `seen` is how often each request id was answered, by a prediction or a dead letter."""

    seen: Counter[str] = field(default_factory=Counter)
    dead: Counter[str] = field(default_factory=Counter)
    """By reason."""
    dead_ids: set[str] = field(default_factory=set)
    predictions: int = 0
    versions: Counter[tuple[str, str]] = field(default_factory=Counter)
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES_KEPT))
    unreadable: int = 0
    unreadable_why: str | None = None
    recent: dict[tuple[str, str], deque[tuple[float, float]]] = field(default_factory=dict)
    """Of each version, (when, latency) of the last seconds."""
    made: Counter[tuple[int, str]] = field(default_factory=Counter)
    """Predictions by when they were made (milliseconds since the epoch, by the predictor's clock) and version."""

    def add_prediction(
        self, request_id: str, model: str, version: str, latency_ms: float, now: float, *, made_ms: int = 0
    ) -> None:
        self.seen[request_id] += 1
        self.made[made_ms, version] += 1
        self.predictions += 1
        self.versions[model, version] += 1
        self.latencies_ms.append(latency_ms)
        self.recent.setdefault((model, version), deque()).append((now, latency_ms))

    def add_dead_letter(self, request_id: str, reason: str) -> None:
        self.seen[request_id] += 1
        self.dead[reason] += 1
        self.dead_ids.add(request_id)

    def view(self, now: float) -> list[VersionView]:
        views = []
        for (model, version), count in self.versions.items():
            window = self.recent[model, version]
            while window and window[0][0] < now - _WINDOW_SECONDS:
                window.popleft()
            latencies = [latency for _, latency in window]
            span = min(_WINDOW_SECONDS, max(1.0, now - window[0][0])) if window else _WINDOW_SECONDS
            views.append(
                VersionView(
                    model, version, count, len(window) / span, percentile(latencies, 0.5), percentile(latencies, 0.99)
                )
            )
        return views


class ResultReader:
    """A thread that reads `app_messages` and `dead_letters` from where they end now, committed records only.

    Raises KafkaProblem on entering when the topics cannot be read. `problem` is what ended it later.
    """

    def __init__(self, kafka: KafkaParams) -> None:
        self._kafka = kafka
        self._watch = LifeWatch(kafka.broker.servers)
        self._lock = threading.Lock()
        self._results = Results()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="result-reader", daemon=True)
        self.problem: RollcastError | None = None

    def __enter__(self) -> Self:
        self._predictions = self._kafka.topics.full("app_messages")
        dead_letters = self._kafka.topics.full("dead_letters")
        servers = self._kafka.broker.servers
        self._consumer = make_consumer(
            self._kafka,
            self._watch,
            client_id="result-reader",
            group_id="rollcast-result-reader",
            settings={"fetch.wait.max.ms": 10},
        )
        self._consumer.assign(
            [end for topic in (self._predictions, dead_letters) for end in topic_ends(self._consumer, topic, servers)]
        )
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._poll()
        except RollcastError as problem:
            self.problem = problem

    def _poll(self) -> None:
        # Not consume(n, timeout): it waits to fill the batch, and would count that as latency.
        first = self._consumer.poll(0.1)
        messages = [] if first is None else [first, *self._consumer.consume(500, 0)]
        self._watch.check("reading results")
        now, now_ms = time.monotonic(), time.time() * 1000
        with self._lock:
            for message in messages:
                if message.error() is not None:
                    continue
                try:
                    if message.topic() == self._predictions:
                        prediction = decode_prediction(message.value() or b"")
                        self._results.add_prediction(
                            prediction.request_id,
                            prediction.model,
                            prediction.version,
                            now_ms - prediction.request_time,
                            now,
                            made_ms=prediction.prediction_time,
                        )
                    elif replayed_place(message.headers()) is None:  # type: ignore[arg-type]  # a list, or None
                        letter = parse_dead_letter(message.headers())  # type: ignore[arg-type]  # a list, or None
                        self._results.add_dead_letter(letter.request_id, letter.reason)
                except ContractError as error:
                    self._results.unreadable += 1
                    self._results.unreadable_why = str(error)

    def check(self) -> None:
        if self.problem is not None:
            raise self.problem

    def views(self) -> list[VersionView]:
        with self._lock:
            return self._results.view(time.monotonic())

    def dead_letters(self) -> dict[str, int]:
        with self._lock:
            return dict(self._results.dead)

    def made(self) -> Counter[tuple[int, str]]:
        """As `Results.made`, up to now."""
        with self._lock:
            return Counter(self._results.made)

    def answered(self) -> int:
        """Distinct request ids that have an answer, whoever asked."""
        with self._lock:
            return len(self._results.seen)

    def has_all(self, request_ids: AbstractSet[str]) -> bool:
        """Whether each of these has an answer."""
        with self._lock:
            return request_ids <= self._results.seen.keys()

    def finish(self) -> Results:
        """Stop reading and hand over the counts."""
        self.__exit__()
        return self._results
