"""What the notifier tells Prometheus of a channel before anything has happened on it."""

from typing import get_args

from prometheus_client import CollectorRegistry

from rollcast_common.contracts.receipt import ReceiptState
from rollcast_notifier.inbound.conversation import Kind
from rollcast_notifier.metrics import NotifierMetrics


def test_what_rules_count_is_shown_as_it_grows() -> None:
    registry = CollectorRegistry()
    metrics = NotifierMetrics(registry)

    def values() -> list[float | None]:
        of_rule = registry.get_sample_value("rollcast_notifier_rule_failures_total", {"subscription": "dear"})
        return [of_rule, registry.get_sample_value("rollcast_notifier_refused_replies_total")]

    shown = []
    for failures, refused in ((0, 0), (2, 1), (2, 1), (5, 1)):
        metrics.show_rules({"dear": failures}, refused)
        shown.append(values())
    assert shown == [[0, 0], [2, 1], [2, 1], [5, 1]]


def test_a_channels_counters_begin_at_0_so_that_the_first_of_a_kind_is_a_rise() -> None:
    registry = CollectorRegistry()
    metrics = NotifierMetrics(registry)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"rollcast_notifier_{name}", {"channel": "hook", **labels})

    assert value("unknown_outcomes_total") is None
    metrics.show_channel("hook")
    assert [value(name) for name in ("unknown_outcomes_total", "retries_total", "send_seconds_count")] == [0, 0, 0]
    assert [value("notifications_total", state=state) for state in get_args(ReceiptState)] == [0] * 7
    assert [value("inbound_total", kind=kind) for kind in get_args(Kind)] == [0] * 4
