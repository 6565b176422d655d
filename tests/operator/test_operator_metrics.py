"""What the operator tells Prometheus of each ModelVersion is what their statuses say."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from rollcast_operator.metrics import OperatorMetrics
from rollcast_rollout.model_version import Artifact, ModelVersion

NAMES = {"installation": "i", "model_namespace": "n", "model": "line"}


def version(number: int, phase: str | None, **status: Any) -> ModelVersion:
    return ModelVersion(
        uid=f"u{number}",
        name=f"line-v{number}",
        namespace="n",
        generation=1,
        created=0.0,
        deleting=False,
        model="line",
        version=f"v{number}",
        artifact=Artifact(uri="s3://b/k"),
        status={**({"phase": phase} if phase else {}), **status},
    )


class Shown:
    """What is scraped while these are the ModelVersions that there are."""

    def __init__(self) -> None:
        self.versions: list[ModelVersion] = []
        self.registry = CollectorRegistry()
        OperatorMetrics(self.registry).follow(
            installation="i",
            versions=lambda: self.versions,
            oldest_seconds=lambda: 3.0,
            models=lambda: 1.0,
            kafka_problem=lambda: True,
            watch_restarts=lambda: 2.0,
        )

    def of(self, name: str, number: int) -> list[tuple[dict[str, str], float]]:
        """Labels beyond the names of version `number`, and values."""
        names = {**NAMES, "name": f"line-v{number}", "version": f"v{number}"}
        return [
            ({key: text for key, text in sample.labels.items() if key not in names}, sample.value)
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == f"rollcast_operator_model_version_{name}" and names.items() <= sample.labels.items()
        ]

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"rollcast_operator_{name}", labels)


@pytest.fixture
def shown() -> Shown:
    return Shown()


def test_a_version_without_a_status_is_pending_and_answers_nothing(shown: Shown) -> None:
    shown.versions = [version(1, None)]
    assert shown.of("phase", 1) == [({"phase": "Pending"}, 1)]
    assert shown.of("weight", 1) == [({}, 0)]
    for name in ("condition", "slots", "ready_slots", "failed_timestamp_seconds"):
        assert shown.of(name, 1) == []


def test_a_candidate_has_its_weight_and_the_live_version_the_rest(shown: Shown) -> None:
    shown.versions = [
        version(1, "Live", predictor={"slots": 3, "readySlots": 2}),
        version(2, "Canary", rollout={"step": "Canary 1/2", "weight": 12.5}),
        version(0, "Superseded"),
    ]
    assert [shown.of("weight", number) for number in (0, 1, 2)] == [[({}, 0)], [({}, 87.5)], [({}, 12.5)]]
    assert shown.of("slots", 1) == [({}, 3)]
    assert shown.of("ready_slots", 1) == [({}, 2)]
    shown.versions = [version(1, "Live")]
    assert shown.of("weight", 1) == [({}, 100)]


def test_conditions_are_shown_with_their_reason(shown: Shown) -> None:
    conditions = [
        {"type": "Ready", "status": "False", "reason": "Paused", "message": "…"},
        {"type": "Progressing", "status": "Unknown", "reason": "Paused", "message": "…"},
    ]
    shown.versions = [version(1, "Paused", conditions=conditions)]
    assert shown.of("condition", 1) == [
        ({"type": "Ready", "status": "False", "reason": "Paused"}, 1),
        ({"type": "Progressing", "status": "Unknown", "reason": "Paused"}, 1),
    ]


def test_a_failure_is_shown_with_its_time_as_long_as_it_lasts(shown: Shown) -> None:
    failure = {"reason": "ErrorRatio", "message": "…", "time": "1970-01-02T00:00:00Z", "version": "v1"}
    shown.versions = [version(1, "RolledBack", lastFailure=failure)]
    assert shown.of("failed_timestamp_seconds", 1) == [({"phase": "RolledBack", "reason": "ErrorRatio"}, 86_400)]
    shown.versions = [version(1, "Shadow", lastFailure=failure)]
    assert shown.of("failed_timestamp_seconds", 1) == []


def test_a_version_that_is_deleted_is_shown_no_longer(shown: Shown) -> None:
    shown.versions = [version(1, "Live"), version(2, "Superseded"), version(3, "Superseded")]
    assert shown.value("model_versions", phase="Superseded") == 2
    shown.versions = [version(1, "Live")]
    assert shown.value("model_versions", phase="Superseded") is None
    assert shown.value("model_versions", phase="Live") == 1
    assert shown.of("phase", 2) == []


def test_what_is_followed_is_asked_at_each_scrape(shown: Shown) -> None:
    names = ("oldest_reconcile_seconds", "models", "kafka_problem", "watch_restarts")
    assert [shown.value(name) for name in names] == [3, 1, 1, 2]
    assert shown.value("failed_reconciles_total", why="api") == 0
    assert shown.value("announcements_total", result="invalid") == 0
