"""The stream of predictions as people can take it in: everything is counted, a little of it is kept to be shown."""

import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from rollcast_common.contracts import Prediction

__all__ = ["Filter", "PredictionLog", "Seen", "row_of"]

_MOST_KEPT = 10_000
_MOST_KEPT_BYTES = 32 << 20
_HISTORY_SECONDS = 120
_MOST_SERIES = 50
_SHOWN_CHARACTERS = 1200
_SHORT_CHARACTERS = 120
# Milliseconds, each about an eighth more than the one before: a percentile read from them is that near.
_LATENCY_EDGES = tuple(1.125**step for step in range(100))


class Series(NamedTuple):
    """What is counted apart."""

    model: str
    version: str
    track: str


@dataclass(frozen=True, slots=True)
class Filter:
    """Empty fields let everything through. `text` is looked for in key, prediction, request id and features."""

    model: str = ""
    version: str = ""
    track: str = ""
    text: str = ""

    @property
    def lets_all(self) -> bool:
        return not (self.model or self.version or self.track or self.text)

    def lets(self, entry: "Entry") -> bool:
        prediction = entry.prediction
        return (
            (not self.model or prediction.model == self.model)
            and (not self.version or prediction.version == self.version)
            and (not self.track or prediction.track == self.track)
            and (not self.text or self.text.lower() in entry.haystack())
        )


class Entry:
    """A prediction in the order in which it was read."""

    __slots__ = ("_haystack", "number", "prediction", "size")

    def __init__(self, number: int, prediction: Prediction, size: int) -> None:
        self.number = number
        self.prediction = prediction
        self.size = size
        self._haystack: str | None = None

    def haystack(self) -> str:
        """All that a text filter looks at, in lower case; made when first asked for."""
        if self._haystack is None:
            p = self.prediction
            raw = b" ".join((bytes(p.prediction), bytes(p.features)[: _SHOWN_CHARACTERS * 4]))
            self._haystack = f"{p.key or ''} {p.request_id} {raw.decode('utf-8', 'replace')}".lower()
        return self._haystack


@dataclass(frozen=True, slots=True)
class Seen:
    """What came since the last look: how many the filter lets through of how many, and some of them."""

    number: int
    counted: int
    matched: int
    rows: list[dict[str, Any]]


class PredictionLog:
    """Written by one thread, read by others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self._number = 0
        self._totals: dict[Series, int] = {}
        self._seconds: dict[Series, dict[int, int]] = {}
        self._latencies: dict[int, list[int]] = {}

    def add(self, predictions: Iterable[tuple[Prediction, int]], *, now: float, counted: bool = True) -> None:
        """Predictions with the size of their records; history is shown, and not `counted` into rates."""
        second = int(now)
        with self._lock:
            latencies = self._latencies.get(second)
            if latencies is None:
                latencies = self._latencies[second] = [0] * (len(_LATENCY_EDGES) + 1)
                self._forget(second)
            for prediction, size in predictions:
                self._number += 1
                self._keep(Entry(self._number, prediction, size))
                if counted:
                    self._count(prediction, second)
                    took = max(0, prediction.prediction_time - prediction.request_time)
                    latencies[bisect_left(_LATENCY_EDGES, took)] += 1

    def look(self, since: int, wanted: Filter, most: int) -> Seen:
        """`since` is the number of the last look; 0 before the first one. Rows are the newest first, spread over
        what came.
        """
        with self._lock:
            number = self._number
            come = min(number - since, len(self._entries))
            new = list(islice(reversed(self._entries), come))
        if wanted.lets_all:
            matching: Sequence[Entry] = new
            matched = number - since
        else:
            matching = [entry for entry in new if wanted.lets(entry)]
            matched = len(matching)
        return Seen(number, number - since, matched, [row_of(entry) for entry in _spread(matching, most)])

    def pulse(self, now: float) -> dict[str, Any]:
        """Counts and the rates of the last full second, by series; percentiles of the last ten."""
        last = int(now) - 1
        with self._lock:
            series = [
                {**key._asdict(), "total": total, "rate": self._seconds[key].get(last, 0)}
                for key, total in self._totals.items()
            ]
            merged = [0] * (len(_LATENCY_EDGES) + 1)
            for second in range(last - 9, last + 1):
                for index, count in enumerate(self._latencies.get(second, ())):
                    merged[index] += count
            total = sum(self._totals.values())
        return {"time": int(now), "total": total, "series": series, "latency": _percentiles(merged)}

    def history(self, now: float, seconds: int = 60) -> dict[str, Any]:
        """The rates of the last full seconds, for a chart to begin with."""
        last = int(now) - 1
        with self._lock:
            series = [
                {**key._asdict(), "rates": [counts.get(second, 0) for second in range(last - seconds + 1, last + 1)]}
                for key, counts in self._seconds.items()
            ]
        return {"time": int(now), "series": series}

    def _keep(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._bytes += entry.size
        while len(self._entries) > _MOST_KEPT or (self._bytes > _MOST_KEPT_BYTES and len(self._entries) > 1):
            self._bytes -= self._entries.popleft().size

    def _count(self, prediction: Prediction, second: int) -> None:
        key = Series(prediction.model, prediction.version, prediction.track)
        if key not in self._totals:
            if len(self._totals) >= _MOST_SERIES:
                quietest = min(self._seconds, key=lambda series: max(self._seconds[series], default=0))
                del self._totals[quietest], self._seconds[quietest]
            self._totals[key] = 0
            self._seconds[key] = {}
        self._totals[key] += 1
        seconds = self._seconds[key]
        seconds[second] = seconds.get(second, 0) + 1

    def _forget(self, second: int) -> None:
        oldest = second - _HISTORY_SECONDS
        for counts in self._seconds.values():
            for old in [at for at in counts if at < oldest]:
                del counts[old]
        for old in [at for at in self._latencies if at < oldest]:
            del self._latencies[old]


def row_of(entry: Entry) -> dict[str, Any]:
    """As the browser gets it; headers stay here, since they name who asked."""
    p = entry.prediction
    features = _text(p.features, _SHOWN_CHARACTERS)
    return {
        "number": entry.number,
        "id": p.request_id[:_SHORT_CHARACTERS],
        "key": None if p.key is None else p.key[:_SHORT_CHARACTERS],
        "prediction": _text(p.prediction, _SHORT_CHARACTERS),
        "model": p.model,
        "version": p.version,
        "track": p.track,
        "fallback": p.fallback,
        "generation": p.generation,
        "time": p.prediction_time,
        "took": max(0, p.prediction_time - p.request_time),
        "features": features,
    }


def _text(raw: Any, most: int) -> str:
    data = bytes(raw)
    text = data[: most * 4].decode("utf-8", "replace")
    return text if len(text) <= most and len(data) <= most * 4 else f"{text[: most - 1]}…"


def _spread(entries: Sequence[Entry], most: int) -> list[Entry]:
    """At most so many, at even distances, the newest among them."""
    shown = min(len(entries), most)
    return [entries[place * len(entries) // shown] for place in range(shown)]


def _percentiles(counts: Sequence[int]) -> dict[str, float] | None:
    total = sum(counts)
    if not total:
        return None
    found = {}
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        below = 0
        for index, count in enumerate(counts):
            below += count
            if below >= share * total:
                found[name] = round(_LATENCY_EDGES[min(index, len(_LATENCY_EDGES) - 1)], 1)
                break
    return found
