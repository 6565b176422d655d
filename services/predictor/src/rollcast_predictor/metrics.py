"""The predictor's metrics. Answers are counted after the commit: what an aborted transaction did, did not happen."""

from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from rollcast_common.contracts import DeadLetterReason

__all__ = ["PredictorMetrics"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_TRACKS = ("stable", "candidate")
_FAILURES = ("death", "timeout")
_COMPARED = ("same", "different", "failed")
_ROWS = (1, 5, 10, 25, 50, 100, 250, 500, 1000, 2000, 5000, 10_000)


class PredictorMetrics:
    """Label sets are closed: reasons come from an enumeration, models are one, versions one at a time. Counters with
    labels begin at 0, so that the first of a kind is seen as a rise.
    """

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
        self.host_failures = counter(
            "host_failures", "Model hosts that died or overran their deadline.", "track", "kind"
        )
        self.models_refused = counter("models_refused", "Assigned models that this slot will not serve.")
        self.load_failures = counter("model_load_failures", "Tries to load a model that failed and are made again.")
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
        self.compared_rows = counter(
            "compared_rows",
            "Rows that both versions scored, in shadow and in every 20th canary batch: whether the candidate said the "
            "same, said something different, or failed.",
            "result",
        )
        self.compared_seconds = counter(
            "compared_score_seconds", "What each version took to score the batches that both scored.", "track"
        )
        self.shadow_lost = counter("shadow_predictions_lost", "Shadow predictions that found no room on their way out.")
        self.slot_info = gauge(
            "slot_info", "1: whose slot this is.", "installation", "model_namespace", "model", "slot"
        )
        self.ready = gauge("ready", "1 while a model serves and the stream is not stalled, as /readyz says.")
        self.model_info = gauge("model_info", "1 for a model that serves.", "model", "version", "sha256", "track")
        self.weight = gauge("candidate_weight", "Percentage of keys that the candidate answers.")
        self.partitions = gauge("assigned_partitions", "Partitions that this slot owns.")
        self.input_partitions = gauge("input_partitions", "Partitions of the input topic when this slot started.")
        self.lag = gauge("lag_records", "Records in the owned partitions that are not consumed yet.")

        for reason in DeadLetterReason:
            self.dead_letters.labels(reason.value)
        for track in _TRACKS:
            self.compared_seconds.labels(track)
            for kind in _FAILURES:
                self.host_failures.labels(track, kind)
        for result in _COMPARED:
            self.compared_rows.labels(result)
        ProcessCollector(registry=registry)

    def host_failed(self, track: Literal["stable", "candidate"], *, timed_out: bool) -> None:
        self.host_failures.labels(track, "timeout" if timed_out else "death").inc()

    def compared(self, *, same: int, different: int, failed: int, seconds: tuple[float, float]) -> None:
        """A batch that both versions scored; `seconds` is what stable and the candidate took."""
        for result, rows in zip(_COMPARED, (same, different, failed), strict=True):
            self.compared_rows.labels(result).inc(rows)
        for track, took in zip(_TRACKS, seconds, strict=True):
            self.compared_seconds.labels(track).inc(took)

    def nothing_serves(self) -> None:
        """The stream has ended, and the slot waits for a model."""
        self.model_info.clear()
        for gauge in (self.weight, self.partitions, self.lag):
            gauge.set(0)
