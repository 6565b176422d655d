"""Which series each service shows, and with which labels, from the definitions that it registers."""

from functools import cache

from prometheus_client import CollectorRegistry

from rollcast_notifier.metrics import NotifierMetrics
from rollcast_operator.metrics import OperatorMetrics
from rollcast_predictor.metrics import PredictorMetrics

__all__ = ["series"]

_PARTS = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


@cache
def series() -> dict[str, frozenset[str]]:
    """The labels of each, by name."""
    registry = CollectorRegistry()
    services = (
        PredictorMetrics(registry),
        OperatorMetrics(CollectorRegistry()),
        NotifierMetrics(CollectorRegistry()),
    )
    found: dict[str, frozenset[str]] = {}
    for metrics in services:
        for metric in vars(metrics).values():
            if not hasattr(metric, "describe"):
                continue
            (family,) = metric.describe()
            for part in _PARTS[family.type]:
                labels = {*metric._labelnames, *(["le"] if part == "_bucket" else [])}
                found[f"{family.name}{part}"] = frozenset(labels)
    for family in registry.collect():
        if family.name.startswith("process_"):
            for sample in family.samples:
                found[sample.name] = frozenset(sample.labels)
    return found
