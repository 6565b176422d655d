"""The main job on a real API server: `kubectl apply`, and predictions move from one model to the next."""

from tests.env.predictor import Requests
from tests.operator.cluster import Cluster
from tests.operator.traffic import checked, traffic


def test_a_version_goes_live_and_the_next_one_is_rolled_under_traffic(cluster: Cluster, requests: Requests) -> None:
    operator = cluster.begin()
    first = cluster.apply("v1", 2)
    cluster.wait_phase(first, "Live")
    with traffic(requests), cluster.watching((first, "Live")) as phases:
        second = cluster.apply("v2", 3)
        cluster.wait(lambda: phases(second)[-1:] == ["Live"], "v2 is live")
        seen = phases(second)
    assert [phase for phase in seen if phase not in ("Pending", "Verifying")] == [
        *("Shadow", "Canary", "Promoting", "Live")
    ] or seen[-3:] == ["Shadow", "Canary", "Live"]
    answers = checked(cluster, requests)
    assert {prediction.version for _, prediction in answers.predictions} == {"v1", "v2"}
    cluster.wait_phase(first, "Superseded")
    head, *rows = cluster.api.kubectl("get", "mv", "--namespace", cluster.namespace).splitlines()
    assert head.split() == ["NAME", "MODEL", "VERSION", "PHASE", "WEIGHT", "READY", "REASON", "AGE"]
    assert [row.split()[:4] for row in rows] == [
        ["line-v1", "line", "v1", "Superseded"],
        ["line-v2", "line", "v2", "Live"],
    ]
    cluster.wait(lambda: cluster.condition(second, "Ready").get("status") == "True", "v2 is ready")
    # The event is posted after the status is written.
    cluster.wait(lambda: cluster.events(second)[-1:] == ["Live"], "that is said")
    assert [reason for reason in cluster.events(second) if reason not in ("Pending", "Verifying")][:2] == [
        "Shadow",
        "Canary",
    ]
    assert operator.said("lacks") == []
    # That a broker is slow to answer, or to know a new topic, is no fault of the operator's.
    assert [line for line in operator.said("cannot") if line["event"] != "topic cannot be followed now"] == []
    assert operator.said("reconciling failed") == []
