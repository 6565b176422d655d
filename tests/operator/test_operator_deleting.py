"""ModelVersions of every kind are deleted, also while Kafka is away."""

import time

from tests.env.kafka import RealKafka
from tests.env.predictor import Requests
from tests.operator.cluster import Cluster
from tests.operator.traffic import checked, traffic

_KINDS = ("configmaps", "statefulsets", "services", "poddisruptionbudgets", "serviceaccounts")


def _left(cluster: Cluster) -> list[str]:
    return [
        f"{item['kind']} {item['metadata']['name']}"
        for kind in _KINDS
        for item in cluster.api.get(kind, "--namespace", cluster.namespace, "--selector", "rollcast.dev/model")["items"]
    ]


def _wait_gone(cluster: Cluster, name: str) -> float:
    began = time.monotonic()
    cluster.wait(lambda: cluster.get(name) is None, f"{name} is gone")
    return time.monotonic() - began


def test_a_candidate_the_live_one_any_other_and_the_last(
    cluster: Cluster, requests: Requests, kafka: RealKafka
) -> None:
    cluster.begin()
    first = cluster.apply("v1", 2)
    cluster.wait_phase(first, "Live")
    with traffic(requests):
        candidate = cluster.apply("v2", 3, rollout={"steps": [{"weight": 50, "forSeconds": 600}]})
        cluster.wait_phase(candidate, "Canary")
        cluster.delete(candidate)
        _wait_gone(cluster, candidate)
        assert cluster.phase(first) == "Live"

        third = cluster.apply("v3", 4)
        cluster.wait_phase(third, "Live")
        # The live one goes: the one before is rolled out again, and until then the deleted one's model serves.
        cluster.delete(third)
        _wait_gone(cluster, third)
        cluster.wait_phase(first, "Live")

        fourth = cluster.apply("v4", 5)
        cluster.wait_phase(fourth, "Live")
        cluster.wait_phase(first, "Superseded")
        cluster.delete(first)
        _wait_gone(cluster, first)
        assert cluster.phase(fourth) == "Live"
    answers = checked(cluster, requests)
    assert {prediction.version for _, prediction in answers.predictions} == {"v1", "v2", "v3", "v4"}

    cluster.delete(fourth)
    _wait_gone(cluster, fourth)
    cluster.wait(lambda: not _left(cluster), "nothing is left")
    cluster.wait(lambda: not cluster.kubelet.slots(), "no slot runs")

    # A model of the same name begins anew, its generations too.
    fifth = cluster.apply("v5", 6)
    cluster.wait_phase(fifth, "Live")
    requests.send_x(range(100))
    cluster.world.wait_answered(requests)
    times = cluster.world.read().times_answered()
    assert set(times.values()) == {1}
    assert len(times) == len(requests.sent)

    kafka.kill()
    try:
        time.sleep(3)
        cluster.delete(fifth)
        # 60 s by the operator's clock, and what a busy machine makes of them.
        assert _wait_gone(cluster, fifth) < 60 + 30
        cluster.wait(lambda: not cluster.kubelet.slots(), "no slot runs")
    finally:
        kafka.restart()
    cluster.wait(lambda: not _left(cluster), "nothing is left, not even the record")
    last = cluster.world._all_of(cluster.world.names.full("assignments"))[-1]
    assert last.value() is None
