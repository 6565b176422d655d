"""What a slot tells Prometheus before anything has happened, and of what was compared."""

import pytest
from prometheus_client import CollectorRegistry

from rollcast_common.contracts import DeadLetterReason
from rollcast_predictor.metrics import PredictorMetrics


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> PredictorMetrics:
    return PredictorMetrics(registry)


def samples(registry: CollectorRegistry, name: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(sample.labels[label] for label in sorted(sample.labels)): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == f"rollcast_predictor_{name}"
    }


def test_counters_with_labels_begin_at_0_so_that_the_first_of_a_kind_is_a_rise(
    registry: CollectorRegistry, metrics: PredictorMetrics
) -> None:
    assert samples(registry, "dead_letters_total") == {(reason.value,): 0 for reason in DeadLetterReason}
    assert samples(registry, "compared_rows_total") == {("same",): 0, ("different",): 0, ("failed",): 0}
    assert samples(registry, "compared_score_seconds_total") == {("stable",): 0, ("candidate",): 0}
    metrics.host_failed("stable", timed_out=True)
    metrics.host_failed("candidate", timed_out=False)
    assert samples(registry, "host_failures_total") == {
        ("death", "stable"): 0,
        ("timeout", "stable"): 1,
        ("death", "candidate"): 1,
        ("timeout", "candidate"): 0,
    }


def test_what_both_versions_scored_is_counted_by_what_the_candidate_said(
    registry: CollectorRegistry, metrics: PredictorMetrics
) -> None:
    metrics.compared(same=5, different=2, failed=1, seconds=(0.25, 0.5))
    metrics.compared(same=1, different=0, failed=0, seconds=(0.25, 0.5))
    assert samples(registry, "compared_rows_total") == {("same",): 6, ("different",): 2, ("failed",): 1}
    assert samples(registry, "compared_score_seconds_total") == {("stable",): 0.5, ("candidate",): 1}


def test_a_slot_without_a_model_shows_none(registry: CollectorRegistry, metrics: PredictorMetrics) -> None:
    metrics.model_info.labels("line", "v1", "ab" * 32, "stable").set(1)
    for gauge in (metrics.weight, metrics.partitions, metrics.lag):
        gauge.set(7)
    metrics.nothing_serves()
    assert samples(registry, "model_info") == {}
    assert [samples(registry, name) for name in ("candidate_weight", "assigned_partitions", "lag_records")] == [
        {(): 0}
    ] * 3


def test_the_process_tells_when_it_started(registry: CollectorRegistry, metrics: PredictorMetrics) -> None:
    assert metrics is not None
    assert (registry.get_sample_value("process_start_time_seconds") or 0) > 1e9
