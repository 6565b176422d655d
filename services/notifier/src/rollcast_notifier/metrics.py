"""The notifier's metrics. All are counted after they are recorded: what a kill undid, did not happen."""

from collections.abc import Mapping
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from rollcast_common.contracts.receipt import ReceiptState

__all__ = ["NotifierMetrics"]

_INBOUND = ("request", "answer", "refused", "unclear")

_SEND_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_DELIVERY_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86_400)


class NotifierMetrics:
    """Label sets are closed: channels are those of notifications.yaml, states and kinds are enumerated."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"rollcast_notifier_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"rollcast_notifier_{name}", text, ("channel",), buckets=buckets, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"rollcast_notifier_{name}", text, labels, registry=registry)

        self.predictions = counter("predictions", "Predictions read.")
        self.skipped = counter("skipped_records", "Records of the predictions' topic that are no prediction.")
        self.notifications = counter("notifications", "Notifications that came into a state.", "channel", "state")
        self.outbox_open = gauge("outbox_open", "Notifications that are still to be sent.", "channel")
        self.outbox_oldest_seconds = gauge(
            "outbox_oldest_seconds",
            "Age of the oldest notification that is still to be sent; 0 without one.",
            "channel",
        )
        self.outbox_bytes = gauge("outbox_bytes", "What the outbox takes on the disk.")
        self.send_seconds = histogram("send_seconds", "One call of a channel, however it ended.", _SEND_SECONDS)
        self.delivery_seconds = histogram(
            "delivery_seconds",
            "From a prediction's timestamp until the channel had its notification.",
            _DELIVERY_SECONDS,
        )
        self.retries = counter("retries", "Sendings that failed and are tried again.", "channel")
        self.unknown_outcomes = counter(
            "unknown_outcomes", "Sendings of which nobody knows whether they arrived.", "channel"
        )
        self.channel_up = gauge("channel_up", "1 while the channel works as far as it knows.", "channel")
        self.inbound = counter(
            "inbound", "What people wrote, by what it was: request, answer, refused, unclear.", "channel", "kind"
        )
        self.lag = gauge("lag_records", "Predictions that are not read yet.")
        self.rules = gauge("rules", "Subscriptions in force.")
        self.rules_reload_failures = counter("rules_reload_failures", "Times that a changed rule file was refused.")
        self.rule_failures = counter(
            "rule_failures",
            "Predictions that a subscription could not be held against, or not be put into words for.",
            "subscription",
        )
        self.refused_replies = counter(
            "refused_replies", "Requests that wanted to be answered to somebody who is not allowed."
        )
        self.console_sessions = gauge("console_sessions", "Pages of the web console that are open.")
        ProcessCollector(registry=registry)
        self._rule_failures: dict[str, int] = {}
        self._refused_replies = 0

    def show_rules(self, failures: Mapping[str, int], refused_replies: int) -> None:
        """Totals since the start, which may grow meanwhile; a subscription's counter begins at 0."""
        before, self._rule_failures = self._rule_failures, dict(failures)
        for name, total in self._rule_failures.items():
            self.rule_failures.labels(name).inc(total - before.get(name, 0))
        self.refused_replies.inc(refused_replies - self._refused_replies)
        self._refused_replies = refused_replies

    def show_channel(self, name: str) -> None:
        """Its counters begin at 0, so that the first of a kind is seen as a rise."""
        for metric in (self.retries, self.unknown_outcomes, self.send_seconds, self.delivery_seconds):
            metric.labels(name)
        for state in get_args(ReceiptState):
            self.notifications.labels(name, state)
        for kind in _INBOUND:
            self.inbound.labels(name, kind)
