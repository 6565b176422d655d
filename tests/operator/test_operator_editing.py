"""What people do to ModelVersions: edit, scale, and act by hand."""

import pytest
from tests.env.kubernetes import KubectlFailed
from tests.env.predictor import Requests
from tests.operator.cluster import Cluster
from tests.operator.traffic import checked, traffic

_LONG = {"steps": [{"weight": 20, "forSeconds": 1}, {"weight": 50, "forSeconds": 600}]}


def test_edits_in_place(cluster: Cluster, requests: Requests) -> None:
    cluster.begin()
    name = cluster.apply("v1", 2)
    cluster.wait_phase(name, "Live")
    with traffic(requests):
        with pytest.raises(KubectlFailed, match="uri was"):
            cluster.patch(name, {"artifact": {"uri": f"s3://{cluster.world.s3.bucket}/models/v2.skops"}})
        ref = cluster.upload("v2", 3)
        cluster.patch(name, {"version": "v2", "artifact": {"uri": ref.uri}})
        cluster.wait(lambda: cluster.status(name).get("sequence") == 2, "it has another sequence")
        cluster.wait_phase(name, "Live")
        slots = cluster.kubelet.started()
        # Neither the rollout nor the number of slots is another artifact.
        cluster.patch(name, {"rollout": {"shadow": {"forSeconds": 2}}})
        cluster.wait(lambda: cluster.status(name)["observedGeneration"] == 3, "it is seen")
        assert cluster.status(name)["sequence"] == 2
        assert cluster.kubelet.started() == slots
        cluster.patch(name, {"serving": {"resources": {"requests": {"cpu": "100m"}}}})
        cluster.wait(lambda: cluster.kubelet.started() > slots, "the slot is replaced")
        cluster.wait(lambda: cluster.condition(name, "Ready").get("status") == "True", "it serves again")
        cluster.expected_errors.add("slots cannot run as they are wanted")
        cluster.patch(name, {"serving": {"resources": {"requests": {"cpu": "a lot"}}}})
        cluster.wait(lambda: "WorkloadRefused" in cluster.events(name), "what is wrong is said")
        assert cluster.phase(name) == "Live"
    checked(cluster, requests)


def test_slots_are_added_and_removed_in_a_canary(cluster: Cluster, requests: Requests) -> None:
    cluster.begin()
    first = cluster.apply("v1", 2)
    cluster.wait_phase(first, "Live")
    with traffic(requests, at_once=4):
        second = cluster.apply("v2", 3, rollout=_LONG)
        cluster.wait(
            lambda: cluster.status(second).get("rollout", {}).get("weight") == 50, "v2 answers half of the keys"
        )
        cluster.patch(second, {"serving": {"replicas": 2}})
        cluster.wait(lambda: cluster.status(second)["predictor"] == {"readySlots": 2, "slots": 2}, "two slots have it")
        cluster.patch(second, {"serving": {"replicas": 1}})
        cluster.wait(lambda: cluster.status(second)["predictor"] == {"readySlots": 1, "slots": 1}, "one slot has it")
        cluster.wait(lambda: [*cluster.kubelet.slots()] == [0], "the other one is told to end")
        assert cluster.phase(second) == "Canary"
        cluster.act(second, "promote")
        cluster.wait_phase(second, "Live")
    checked(cluster, requests)


def test_actions_by_hand(cluster: Cluster, requests: Requests) -> None:
    cluster.begin()
    first = cluster.apply("v1", 2)
    cluster.wait_phase(first, "Live")

    def act(name: str, action: str, phase: str) -> None:
        cluster.act(name, action)
        cluster.wait_phase(name, phase)
        cluster.wait(lambda: cluster.action(name) is None, "the annotation is taken off")

    with traffic(requests):
        second = cluster.apply("v2", 3, rollout=_LONG)
        cluster.wait_phase(second, "Canary")
        act(second, "pause", "Paused")
        act(second, "resume", "Canary")
        act(second, "abort", "RolledBack")
        assert cluster.status(second)["lastFailure"]["reason"] == "AbortedByHand"
        act(second, "retry", "Canary")
        act(second, "promote", "Live")
        act(second, "rollback", "RolledBack")
        cluster.wait_phase(first, "Live")
        act(first, "dance", "Live")
        cluster.wait(lambda: "ActionRefused" in cluster.events(first), "it is refused")
    checked(cluster, requests)
