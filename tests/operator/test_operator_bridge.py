"""What trainers announce becomes ModelVersions, once each, and old ones go."""

from tests.env.predictor import Requests
from tests.operator.cluster import QUICK, Cluster
from tests.operator.traffic import checked, traffic

from rollcast_common.contracts import ModelTrained
from rollcast_common.contracts.model_trained import encode_model_trained
from rollcast_common.kafka import ErrorWatch, make_producer


def _announce(cluster: Cluster, *values: bytes, key: bytes | None = b"line") -> None:
    producer = make_producer(cluster.world.kafka, ErrorWatch(""), client_id="test-trainer")
    for value in values:
        producer.produce(cluster.world.names.full("train"), value, key)
    assert producer.flush(30) == 0


def _trained(cluster: Cluster, version: str, slope: float, model: str = "line") -> bytes:
    ref = cluster.upload(version, slope)
    return encode_model_trained(
        ModelTrained(model=model, version=version, uri=ref.uri, format="skops", sha256=ref.sha256)
    )


def _names(cluster: Cluster) -> list[str]:
    found = cluster.api.get("modelversions", "--namespace", cluster.namespace)["items"]
    return sorted(each["metadata"]["name"] for each in found)


def test_announcements_are_rolled_out(cluster: Cluster, requests: Requests) -> None:
    cluster.config["bridge"] = {
        "namespace": cluster.namespace,
        "models": ["line"],
        "template": {"rollout": {**QUICK, "shadow": {"forSeconds": 0}, "steps": []}, "serving": {"replicas": 1}},
        "revision_history_limit": 1,
    }
    by_hand = cluster.apply("v0", 1)
    operator = cluster.begin()
    cluster.wait_phase(by_hand, "Live")
    with traffic(requests):
        # Nobody's, nonsense, a path with spaces, a version that no object can bear, and at last a good one.
        _announce(cluster, _trained(cluster, "x1", 9, model="other"), key=b"other")
        _announce(cluster, b"{", b"no path at all", b'{"schema":"9.0"}')
        cluster.upload("v1", 2)
        _announce(cluster, b"models/v1.skops")
        cluster.wait_phase("line-v1", "Live")
        # Announced twice, and in the same second as the next: the later one is wanted.
        second = _trained(cluster, "v2", 3)
        _announce(cluster, second, second, _trained(cluster, "v10", 4))
        cluster.wait_phase("line-v10", "Live")
        # Of two that are over, one is too many; what is not over yet when v11 comes is not counted.
        cluster.wait_phase("line-v1", "Superseded")
        cluster.wait_phase("line-v2", "Superseded")
        _announce(cluster, _trained(cluster, "v11", 5))
        cluster.wait_phase("line-v11", "Live")
        # v11 came when v1 and v2 were over: the older of them went. What a person has made stays.
        cluster.wait(lambda: _names(cluster) == ["line-v0", "line-v10", "line-v11", "line-v2"], "v1 is removed")
    checked(cluster, requests)
    results = operator.metric("announcements_total")
    assert results == {
        'result="other"': 1,
        'result="invalid"': 3,
        'result="created"': 4,
        'result="known"': 1,
    }
    # Its offsets are committed: another operator makes none of them again.
    operator.child.stop()
    cluster.delete("line-v2")
    operator = cluster.start_operator()
    _announce(cluster, b"{")
    cluster.wait(lambda: operator.metric("announcements_total").get('result="invalid"') == 1, "it reads on")
    cluster.wait(lambda: "line-v2" not in _names(cluster), "v2 is gone")
