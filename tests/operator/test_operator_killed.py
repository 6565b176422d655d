"""The operator dies right after each of its writes, and whoever comes next goes on from what was written."""

from collections import Counter
from collections.abc import Callable

from tests.env.kubernetes import KubectlFailed
from tests.env.predictor import Requests
from tests.operator.cluster import Cluster, patient
from tests.operator.traffic import checked, traffic

from rollcast_cli.local.processes import ChildDied, wait_until

_DEATHS = 60
_SECONDS = 240.0


def _until(cluster: Cluster, done: Callable[[], bool], what: str) -> None:
    """Each operator may write once; the next one is started at once."""
    for _ in range(_DEATHS):
        operator = cluster.start_operator(
            command=("-m", "tests.operator.saboteur"),
            environ={"SABOTEUR_WRITES": "1", "SABOTEUR_LOG": str(cluster.folder / "deaths.txt")},
            wait=False,
        )
        try:
            with patient(done) as asked:
                wait_until(asked, what=what, timeout_seconds=_SECONDS, children=[operator.child], interval_seconds=0.2)
        except ChildDied:
            assert operator.child.returncode == -9, operator.child.log_tail()
            continue
        operator.child.stop()
        return
    raise AssertionError(f"{what}: not with {_DEATHS} operators")


def _gone(cluster: Cluster, kind: str) -> bool:
    try:
        return not cluster.api.get(kind, "--namespace", cluster.namespace, "--selector", "rollcast.dev/model")["items"]
    except KubectlFailed:
        return False


def test_killed_after_each_of_its_writes_it_rolls_out_and_cleans_up(cluster: Cluster, requests: Requests) -> None:
    cluster.kubelet.start()
    first = cluster.apply("v1", 2)
    _until(cluster, lambda: cluster.phase(first) == "Live", "v1 is live")
    with traffic(requests, at_once=4):
        second = cluster.apply("v2", 3)
        _until(cluster, lambda: cluster.phase(second) == "Live", "v2 is live")
    answers = checked(cluster, requests)
    assert {prediction.version for _, prediction in answers.predictions} == {"v1", "v2"}
    assert {prediction.track for _, prediction in answers.predictions} == {"stable", "candidate"}
    deaths = Counter((cluster.folder / "deaths.txt").read_text().splitlines())
    assert deaths["publish"] >= 5
    assert deaths["update configmaps"] >= 5
    assert deaths["patch modelversions/status"] >= 5
    for what in ("create configmaps", "patch statefulsets", "patch services", "patch modelversions"):
        assert deaths[what] >= 1, deaths

    cluster.delete(first)
    cluster.delete(second)

    def all_gone() -> bool:
        left = (cluster.get(first), cluster.get(second))
        kinds = ("configmaps", "statefulsets", "services", "poddisruptionbudgets", "serviceaccounts")
        return left == (None, None) and all(_gone(cluster, kind) for kind in kinds)

    _until(cluster, all_gone, "nothing is left")
    # No operator runs any more that could die meanwhile.
    wait_until(lambda: not cluster.kubelet.slots(), what="no slot runs", timeout_seconds=_SECONDS)
