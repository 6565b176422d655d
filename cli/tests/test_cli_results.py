"""What `rollcast tail` counts: percentiles, rates over the last seconds, and records that others wrote."""

import time
from fractions import Fraction

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.env.kafka import MockKafka

from rollcast_cli.local.processes import wait_until
from rollcast_cli.results import ResultReader, Results, VersionView, percentile
from rollcast_common.contracts import DeadLetter, DeadLetterReason, Prediction
from rollcast_common.contracts.dead_letter import dead_letter_headers
from rollcast_common.contracts.prediction import encode_prediction
from rollcast_common.errors import TopicMissing
from rollcast_common.kafka import ErrorWatch, KafkaParams, TopicNames, make_producer


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0])
@pytest.mark.parametrize("size", [1, 2, 3, 10, 99, 100, 101, 1000, 1001])
def test_a_percentile_is_what_numpy_calls_the_inverted_distribution(size: int, share: float) -> None:
    values = np.random.default_rng(size).normal(size=size).tolist()
    assert percentile(values, share) == np.quantile(values, share, method="inverted_cdf")


@settings(derandomize=True, database=None, deadline=None)
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=50), st.integers(1, 1000))
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(values: list[int], thousandths: int) -> None:
    wanted = Fraction(thousandths, 1000)
    expected = min(v for v in values if Fraction(sum(w <= v for w in values), len(values)) >= wanted)
    assert percentile([float(value) for value in values], thousandths / 1000) == expected


def test_of_nothing_there_is_no_percentile() -> None:
    assert percentile([], 0.5) is None


def with_predictions(*times: float) -> Results:
    """One prediction at each time; its latency is its number, from 1."""
    results = Results()
    for number, now in enumerate(times, start=1):
        results.add_prediction(f"r-{number}", "wine", "v1", latency_ms=float(number), now=now)
    return results


@pytest.mark.parametrize(
    ("times", "now", "rate", "p50", "p99"),
    [
        ([10.0], 10.0, 1.0, 1.0, 1.0),
        ([10.0] * 8, 10.1, 8.0, 4.0, 8.0),
        ([10.0, 11.0, 12.0], 12.0, 1.5, 2.0, 3.0),
        ([10.0, 14.0], 15.0, 0.4, 1.0, 2.0),
        ([10.0, 14.0], 15.5, 1 / 1.5, 2.0, 2.0),
        ([10.0, 14.0], 100.0, 0.0, None, None),
    ],
    ids=["the first", "in less than a second", "in two seconds", "at the edge", "one too old", "long ago"],
)
def test_a_view_is_of_the_last_five_seconds(
    times: list[float], now: float, rate: float, p50: float | None, p99: float | None
) -> None:
    (view,) = with_predictions(*times).view(now)
    assert view == VersionView("wine", "v1", len(times), view.rate, p50, p99)
    assert view.rate == pytest.approx(rate)


def test_versions_are_viewed_apart_in_the_order_in_which_they_came() -> None:
    results = with_predictions(1.0, 1.0)
    results.add_prediction("r-9", "wine", "v2", latency_ms=70.0, now=2.0)
    results.add_dead_letter("r-10", "empty")
    assert [(view.version, view.predictions, view.p50_ms) for view in results.view(2.0)] == [
        ("v1", 2, 1.0),
        ("v2", 1, 70.0),
    ]
    assert results.seen.total() == 4


def prediction(request_id: str, *, late_ms: int = 0) -> bytes:
    now_ms = time.time_ns() // 1_000_000
    return encode_prediction(
        Prediction(
            prediction_id=f"local/default/wine:{request_id}",
            request_id=request_id,
            key=None,
            prediction=msgspec.Raw(b"1.5"),
            model="wine",
            version="v1",
            sha256="ab" * 32,
            generation=1,
            request_time=now_ms - late_ms,
            prediction_time=now_ms,
        )
    )


def test_a_reader_counts_what_comes_after_it_and_survives_what_it_cannot_read(
    embedded_kafka: MockKafka, topic_prefix: str
) -> None:
    names = embedded_kafka.create_topics(topic_prefix)
    params = embedded_kafka.params.model_copy(update={"topics": names})
    producer = make_producer(params, ErrorWatch(params.broker.servers), client_id="test-predictor")
    letter = DeadLetter(
        reason=DeadLetterReason.NOT_JSON,
        message="no",
        source_topic="requests",
        source_partition=0,
        source_offset=0,
        model="wine",
        version="v1",
        request_id="r-3",
    )
    producer.produce(names.full("app_messages"), prediction("before"))
    assert producer.flush(60) == 0
    with ResultReader(params) as reader:
        producer.produce(names.full("app_messages"), prediction("r-1", late_ms=60_000))
        producer.produce(names.full("app_messages"), prediction("r-2", late_ms=60_000))
        producer.produce(names.full("app_messages"), b"not a prediction")
        producer.produce(names.full("dead_letters"), b"{", headers=list(dead_letter_headers(letter)))
        producer.produce(names.full("dead_letters"), b"no headers")
        producer.produce(names.full("app_messages"), prediction("r-2", late_ms=60_000))
        assert producer.flush(60) == 0

        def all_read() -> bool:
            reader.check()
            return sum(view.predictions for view in reader.views()) == 3 and reader.answered() == 3

        wait_until(all_read, what="three requests are answered", timeout_seconds=60)
        # The unreadable ones may lie on other partitions than what was waited for.
        wait_until(lambda: reader._results.unreadable == 2, what="both unreadable ones", timeout_seconds=60)
        assert reader.dead_letters() == {"not-json": 1}
        results = reader.finish()
    assert results.seen == {"r-1": 1, "r-2": 2, "r-3": 1}
    assert results.dead_ids == {"r-3"}
    assert results.unreadable_why
    # Milliseconds; however long this machine took to get here.
    assert all(60_000 <= latency < 600_000 for latency in results.latencies_ms)


def test_a_reader_of_topics_that_are_not_there_says_so(kafka_without_topics: KafkaParams) -> None:
    with pytest.raises(TopicMissing, match="app_messages"):
        ResultReader(kafka_without_topics).__enter__()


@pytest.fixture
def kafka_without_topics(embedded_kafka: MockKafka) -> KafkaParams:
    # The embedded broker makes every topic that is asked for, unless its name is none.
    return embedded_kafka.params.model_copy(update={"topics": TopicNames(prefix="no such/")})
