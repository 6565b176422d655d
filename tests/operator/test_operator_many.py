"""Several models, and many versions."""

import time
from collections import Counter
from collections.abc import Callable

from tests.env.predictor import Requests
from tests.operator.cluster import Cluster
from tests.operator.kubelet import Kubelet
from tests.operator.traffic import traffic

from rollcast_common.identity import ModelIdentity

_STILL_SECONDS = 20.0
_LATE_WRITES = 5


def test_two_namespaces_serve_a_model_each_from_the_same_requests(cluster: Cluster, requests: Requests) -> None:
    other = cluster.api.namespace()
    cluster.prepare(other)
    kubelet = Kubelet(cluster.api, other, cluster.folder / "other")
    try:
        cluster.begin(namespaces=(cluster.namespace, other))
        kubelet.start()
        here = cluster.apply("v1", 2)
        there = cluster.apply("w1", 5, namespace=other)
        cluster.wait_phase(here, "Live")
        cluster.wait_phase(there, "Live", namespace=other)
        with traffic(requests, at_once=4):
            there = cluster.apply("w2", 6, namespace=other)
            cluster.wait_phase(there, "Live", namespace=other)
            assert cluster.phase(here) == "Live"
        requests.flush()
        wanted = {sent.request_id(cluster.world.names.full("requests")) for sent in requests.sent}
        for identity in (cluster.identity, ModelIdentity(cluster.installation, other, "line")):
            cluster.world.identity, cluster.world.group = identity, identity.consumer_group
            cluster.world.wait_answered(requests)
        answers = cluster.world.read()
        for identity, versions in (
            (cluster.identity, {"v1"}),
            (ModelIdentity(cluster.installation, other, "line"), {"w1", "w2"}),
        ):
            found = [each for _, each in answers.predictions if each.prediction_id.startswith(f"{identity}:")]
            assert Counter(each.request_id for each in found) == Counter(wanted)
            assert {each.version for each in found} == versions
    finally:
        kubelet.stop()


def test_two_hundred_versions_at_once_end_with_the_newest(cluster: Cluster, requests: Requests) -> None:
    operator = cluster.begin()
    ref = cluster.upload("v", 2)
    manifests = [cluster.manifest(f"{number:03d}", uri=ref.uri) for number in range(200)]
    cluster.api.apply(*manifests)
    newest = "line-199"
    with traffic(requests, at_once=2):
        cluster.wait_phase(newest, "Live", seconds=300)

    def phases() -> Counter[str]:
        found = cluster.api.get("modelversions", "--namespace", cluster.namespace)["items"]
        return Counter(each.get("status", {}).get("phase") for each in found)

    cluster.wait(lambda: phases() == {"Live": 1, "Superseded": 199}, "all say so")
    cluster.world.wait_answered(requests)
    cluster.world.check_exactly_once(requests)
    record = cluster.api.get("configmap", "rollcast-line", "--namespace", cluster.namespace)
    assert len(record["data"]["record.json"]) < 500_000
    # Nothing happens any more, so nothing is written any more: beyond the 15 s after which every model has a turn.
    still = _Still(lambda: operator.metric("api_writes_total"))
    cluster.wait(still, "nothing is written for a while")
    assert still.changes <= _LATE_WRITES


class _Still:
    """True once something has stayed the same for long enough. A late report of a slot is news, and may be written."""

    def __init__(self, look: Callable[[], dict[str, float]]) -> None:
        self._look = look
        self._last: dict[str, float] = {}
        self._since = time.monotonic()
        self.changes = -1
        """The first look is none."""

    def __call__(self) -> bool:
        if (now := self._look()) != self._last or not now:
            self._last, self._since = now, time.monotonic()
            self.changes += 1
        return time.monotonic() - self._since >= _STILL_SECONDS
