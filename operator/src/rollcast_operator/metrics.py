"""The operator's metrics. Phases and reasons are the rollout brain's words."""

import threading
from collections import Counter as Count
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

__all__ = ["OperatorMetrics"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class OperatorMetrics:
    """Label sets are closed: verbs, resources, phases and reasons."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"rollcast_operator_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"rollcast_operator_{name}", text, labels, registry=registry)

        self.reconcile_seconds = Histogram(
            "rollcast_operator_reconcile_seconds",
            "How long a turn took: look at a model, plan, carry out.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.oldest_reconcile = gauge(
            "oldest_reconcile_seconds", "How long ago the model that has waited longest was reconciled."
        )
        self.models = gauge("models", "Models that are looked after.")
        self.versions = gauge("model_versions", "ModelVersions, by phase.", "phase")
        self.transitions = counter("transitions", "Events of rollouts: phases reached, failures, refusals.", "reason")
        self.aborts = counter("aborted_rollouts", "Versions that failed or were rolled back, by reason.", "reason")
        self.api_writes = counter("api_writes", "Writes to the API server.", "verb", "resource")
        self.refused = counter("workloads_refused", "Slots that the API server would not take as they were wanted.")
        self.kafka_problem = gauge("kafka_problem", "1 while Kafka cannot be asked.")
        self.watch_restarts = gauge("watch_restarts", "How many times watching the cluster had to begin again.")
        self.announced = counter("announcements", "Records of topic train, by what became of them.", "result")
        self._lock = threading.Lock()

    def show_phases(self, phases: Iterable[str]) -> None:
        with self._lock:
            self.versions.clear()
            for phase, number in Count(phases).items():
                self.versions.labels(phase).set(number)

    def follow(
        self,
        *,
        oldest_seconds: Callable[[], float],
        models: Callable[[], float],
        kafka_problem: Callable[[], bool],
        watch_restarts: Callable[[], float],
    ) -> None:
        """Asked when somebody reads them."""
        self.oldest_reconcile.set_function(oldest_seconds)
        self.models.set_function(models)
        self.kafka_problem.set_function(lambda: float(kafka_problem()))
        self.watch_restarts.set_function(watch_restarts)
