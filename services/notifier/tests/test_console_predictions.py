"""The log of predictions: everything is counted, a bounded sample is kept, and filters find what they say."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollcast_common.contracts import Prediction, Track
from rollcast_notifier.console.predictions import Filter, PredictionLog

NOW = 1_700_000_000.0


def made(
    number: int,
    *,
    key: str | None = None,
    version: str = "v1",
    track: Track = "stable",
    value: Any = 1.5,
    features: Any = None,
    took: int = 10,
) -> Prediction:
    return Prediction(
        prediction_id=f"local/default/m:r-{number}",
        request_id=f"r-{number}",
        key=key,
        prediction=msgspec.Raw(json.dumps(value).encode()),
        model="m",
        version=version,
        sha256="",
        track=track,
        generation=1,
        request_time=1000 - took,
        prediction_time=1000,
        features=msgspec.Raw(json.dumps(features).encode()),
        headers={"reply-to": "console:bob"},
    )


def add(log: PredictionLog, *predictions: Prediction, now: float = NOW, counted: bool = True) -> None:
    log.add([(prediction, 100) for prediction in predictions], now=now, counted=counted)


@given(st.lists(st.integers(0, 60), max_size=12), st.integers(1, 20))
def test_every_prediction_is_counted_however_few_are_shown(batches: list[int], most: int) -> None:
    log = PredictionLog()
    since = counted = matched = 0
    for size in batches:
        add(log, *(made(number) for number in range(size)))
        seen = log.look(since, Filter(), most)
        since = seen.number
        counted, matched = counted + seen.counted, matched + seen.matched
        assert len(seen.rows) == min(size, most)
        numbers = [row["number"] for row in seen.rows]
        assert numbers == sorted(numbers, reverse=True)
        if size:
            assert numbers[0] == since  # the newest is always among them
    assert counted == matched == sum(batches)
    assert log.pulse(NOW + 1)["total"] == sum(batches)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Filter(), [4, 3, 2, 1]),
        (Filter(model="m"), [4, 3, 2, 1]),
        (Filter(model="other"), []),
        (Filter(version="v2"), [4, 3]),
        (Filter(track="candidate"), [4]),
        (Filter(text="sicilia"), [2]),
        (Filter(text="R-3"), [3]),
        (Filter(text="412.25"), [1]),
        (Filter(text="priorat"), [4]),
        (Filter(text="reply-to"), []),  # who asked is nobody else's business
        (Filter(version="v2", text="sicilia"), []),
    ],
)
def test_a_filter_finds_what_it_says(wanted: Filter, found: list[int]) -> None:
    log = PredictionLog()
    add(
        log,
        made(1, value=412.25),
        made(2, key="Vega Sicilia"),
        made(3, version="v2"),
        made(4, version="v2", track="candidate", features={"region": "Priorat"}),
    )
    seen = log.look(0, wanted, 10)
    assert [row["number"] for row in seen.rows] == found
    assert (seen.counted, seen.matched) == (4, len(found))


def test_rates_are_those_of_the_last_full_second() -> None:
    log = PredictionLog()
    add(log, *(made(number) for number in range(30)), now=NOW)
    add(log, *(made(number, version="v2", track="candidate") for number in range(10)), now=NOW + 0.9)
    add(log, made(99), now=NOW + 1.1)
    rates = {(s["version"], s["track"]): s["rate"] for s in log.pulse(NOW + 1.2)["series"]}
    assert rates == {("v1", "stable"): 30, ("v2", "candidate"): 10}
    assert {(s["version"], s["total"]) for s in log.pulse(NOW + 1.2)["series"]} == {("v1", 31), ("v2", 10)}
    history = {s["version"]: s["rates"][-2:] for s in log.history(NOW + 2)["series"]}
    assert history == {"v1": [30, 1], "v2": [10, 0]}


def test_what_was_there_before_is_shown_and_not_counted() -> None:
    log = PredictionLog()
    add(log, made(1), counted=False)
    assert len(log.look(0, Filter(), 10).rows) == 1
    pulse = log.pulse(NOW + 1)
    assert (pulse["total"], pulse["latency"]) == (0, None)


def test_percentiles_are_within_an_eighth() -> None:
    log = PredictionLog()
    add(log, *(made(number, took=number + 1) for number in range(1000)))
    latency = log.pulse(NOW + 1)["latency"]
    assert latency["p50"] == pytest.approx(500, rel=0.13)
    assert latency["p95"] == pytest.approx(950, rel=0.13)
    assert latency["p99"] == pytest.approx(990, rel=0.13)


def test_memory_is_bounded_by_bytes_and_by_number() -> None:
    log = PredictionLog()
    for number in range(50):
        log.add([(made(number), 1 << 20)], now=NOW)
    assert sum(entry.size for entry in log._entries) <= 32 << 20
    add(log, *(made(number) for number in range(20_000)))
    assert len(log._entries) <= 10_000
    assert log.look(0, Filter(), 10).counted == 20_050


def test_series_are_bounded() -> None:
    log = PredictionLog()
    for number in range(200):
        add(log, made(number, version=f"v{number}"), now=NOW + number)
    assert len(log.pulse(NOW + 200)["series"]) <= 50


def test_a_row_is_bounded_whatever_was_asked() -> None:
    log = PredictionLog()
    add(log, made(1, key="k" * 5000, value="x" * 5000, features={"text": "ü" * 50_000}))
    (row,) = log.look(0, Filter(), 10).rows
    assert len(json.dumps(row, ensure_ascii=False)) < 2000
    assert row["features"].endswith("…")
    assert "headers" not in row
