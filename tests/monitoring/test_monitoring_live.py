"""A real Prometheus scrapes real services under load: whatever rules and dashboards ask for, it has an answer to."""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from uuid import uuid4

import pytest
from tests.env.kafka import RealKafka
from tests.env.kubernetes import KubeApi
from tests.env.notifier import Answer, Notifier, NotifierWorld, Receiver
from tests.env.predictor import World
from tests.env.records import streaming
from tests.env.s3 import S3
from tests.monitoring.prometheus import Prometheus, prometheus
from tests.monitoring.rules import Query, queries, recorded, rule_files, selectors
from tests.operator.cluster import CRD, QUICK, Cluster

from rollcast_cli.local.processes import wait_until

_SECONDS = 180.0
_ROWS = [*(b'{"x":%d}' % number for number in range(50)), b"not json", b'{"y":1}']
_STAYS = {
    **QUICK,
    "shadow": {"forSeconds": 2},
    # It waits for more samples than it will ever get.
    "steps": [{"weight": 50, "forSeconds": 1, "minPredictions": 1_000_000}],
    "abort": {**QUICK["abort"], "errorRatioAbove": 1},
}


@pytest.fixture(scope="module")
def running(
    kafka: RealKafka, s3: S3, kube_api: KubeApi, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """Of versions one is live, one in canary, one rolled back, one failed and one looked for; some requests are bad."""
    folder = tmp_path_factory.mktemp("monitoring")
    kube_api.install_crd(CRD)
    world = World(kafka.params, kafka.create_topics(f"monitoring-{uuid4().hex[:8]}."), s3.params(), folder)
    cluster = Cluster(kube_api, world)
    with ExitStack() as stack:
        stack.callback(cluster.stop)
        operator = cluster.begin()
        cluster.wait_phase(cluster.apply("v1", 2), "Live")
        ports = {
            "slots": [slot.port for slot in cluster.kubelet.slots().values()],
            "operator": [operator.port],
            "notifier": [stack.enter_context(_notifier(cluster, stack.enter_context(Receiver()))).port],
        }
        running = stack.enter_context(prometheus(folder, ports, rule_files()))
        stack.enter_context(streaming(world.requests(), _ROWS, keys=200, at_once=8))
        cluster.wait_phase(cluster.apply("nowhere", model="other"), "Verifying")
        cluster.wait_phase(cluster.apply("v0", 1, artifact={"sha256": "0" * 64}), "Failed")
        second = cluster.apply("v2", 3, rollout=_STAYS)
        cluster.wait_phase(second, "Canary")
        cluster.act(second, "abort")
        cluster.wait_phase(second, "RolledBack")
        third = cluster.apply("v3", 4, rollout=_STAYS)
        cluster.wait(
            lambda: cluster.condition(third, "Progressing").get("reason") == "WaitingForSamples", "it waits for samples"
        )
        yield running


@contextmanager
def _notifier(cluster: Cluster, receiver: Receiver) -> Iterator[Notifier]:
    """Tells a web server, which takes some, refuses some, and leaves some without a word."""

    def moody(number: int) -> Answer:
        match number % 10:
            case 3:
                return Answer(503, taken=False)
            case 5:
                return Answer(400, taken=False)
            case 7:
                return Answer(cut=True)
            case _:
                return Answer()

    receiver.answer = moody
    world = NotifierWorld(cluster.world.kafka, cluster.world.names, cluster.folder)
    world.write_hook_rules(receiver.url, when="prediction < 5")
    try:
        yield world.start(
            environ={
                "ROLLCAST_INSTALLATION": cluster.installation,
                "ROLLCAST_NAMESPACE": cluster.namespace,
                **{name: value for name, value in cluster.world.environment().items() if "_S3_" in name},
            }
        )
    finally:
        world.stop()


def _wait(condition: Callable[[], object], what: str) -> None:
    wait_until(condition, what=what, timeout_seconds=_SECONDS, interval_seconds=0.5)


def test_every_service_is_scraped(running: Prometheus) -> None:
    wanted = {"slots": ["up"], "operator": ["up"], "notifier": ["up"]}
    _wait(lambda: running.targets() == wanted, f"targets are {wanted}")


@pytest.mark.parametrize("query", [each for each in queries() if not each.is_alert], ids=str)
def test_what_is_asked_has_an_answer_and_the_labels_that_its_legend_names(running: Prometheus, query: Query) -> None:
    def has_numbers() -> bool:
        return any(not math.isnan(value) for value in running.values(query.expression))

    _wait(has_numbers, f"data for {query.expression}")
    _wait_for_what_it_selects(running, query)
    named = set(re.findall(r"{{(\w+)}}", query.legend))
    for sample in running.query(query.expression):
        assert named <= sample["metric"].keys(), query.legend


@pytest.mark.parametrize("name", recorded())
def test_what_is_recorded_is_there(running: Prometheus, name: str) -> None:
    _wait(lambda: any(not math.isnan(value) for value in running.values(name)), f"data for {name}")


@pytest.mark.parametrize("query", [each for each in queries() if each.is_alert], ids=str)
def test_an_alert_watches_series_that_there_are(running: Prometheus, query: Query) -> None:
    running.query(query.expression)
    _wait_for_what_it_selects(running, query)


def _wait_for_what_it_selects(running: Prometheus, query: Query) -> None:
    """An alert that is silent, or a count of nothing, may be so because nothing was ever selected."""
    for selector in selectors(query.expression):
        text = str(selector)
        _wait(lambda: running.query(text), f"series {text}")  # noqa: B023  # at once


def test_rules_are_evaluated_without_a_mistake_and_tell_what_has_happened(running: Prometheus) -> None:
    def evaluated() -> bool:
        return all(rule["health"] == "ok" for rule in running.rules())

    _wait(evaluated, "every rule was evaluated")
    assert [rule for rule in running.rules() if rule.get("lastError")] == []

    def firing() -> set[tuple[str, str]]:
        return {
            (alert["labels"]["alertname"], alert["labels"]["version"])
            for rule in running.rules()
            if rule["name"] in ("RollcastRolledBack", "RollcastRolloutFailed")
            for alert in rule["alerts"]
        }

    # A rule may be evaluated before there is anything scraped, or right after a scrape that came too late.
    wanted = {("RollcastRolledBack", "v2"), ("RollcastRolloutFailed", "v0")}
    _wait(lambda: firing() == wanted, f"just these are firing: {wanted}")
