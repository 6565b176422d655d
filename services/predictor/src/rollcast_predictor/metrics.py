"""The predictor's metrics. All are counted after the commit: what an aborted transaction did, did not happen."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

__all__ = ["PredictorMetrics"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ROWS = (1, 5, 10, 25, 50, 100, 250, 500, 1000, 2000, 5000, 10_000)


class PredictorMetrics:
    """Label sets are closed: reasons come from an enumeration, models are one, versions one at a time."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"rollcast_predictor_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"rollcast_predictor_{name}", text, buckets=buckets, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"rollcast_predictor_{name}", text, labels, registry=registry)

        self.predictions = counter("predictions", "Predictions committed to the output topic.")
        self.dead_letters = counter("dead_letters", "Records committed to the dead letter topic, by reason.", "reason")
        self.skipped = counter("skipped_records", "Records passed over because they name another model.")
        self.batches = counter("batches", "Batches committed.")
        self.aborts = counter("aborted_batches", "Batches whose transaction was aborted, and which were read again.")
        self.swaps = counter("model_swaps", "Times that another model began to serve.")
        self.host_failures = counter("host_failures", "Model hosts that died or overran their deadline.", "kind")
        self.models_refused = counter("models_refused", "Announced models that this slot will not serve.")
        self.batch_rows = histogram("batch_rows", "Rows in a committed batch.", _ROWS)
        self.score_seconds = histogram("score_seconds", "From handing a batch to the host to its answer.", _SECONDS)
        self.commit_seconds = histogram("commit_seconds", "Producing and committing a batch.", _SECONDS)
        self.latency_seconds = histogram(
            "latency_seconds", "From a request's timestamp to the commit of its answer.", _SECONDS
        )
        self.candidate_predictions = counter(
            "candidate_predictions", "Predictions committed that a candidate made; part of predictions."
        )
        self.candidate_errors = counter("candidate_errors", "Rows that a candidate failed and stable answered.")
        self.fallbacks = counter("fallbacks", "Rows of a candidate's share that stable answered.")
        self.shadow_lost = counter("shadow_predictions_lost", "Shadow predictions that found no room on their way out.")
        self.model_info = gauge("model_info", "1 for a model that serves.", "model", "version", "sha256", "track")
        self.weight = gauge("candidate_weight", "Percentage of keys that the candidate answers.")
        self.partitions = gauge("assigned_partitions", "Partitions that this slot owns.")
        self.lag = gauge("lag_records", "Records in the owned partitions that are not consumed yet.")
