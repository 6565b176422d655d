"""What runs a model's slots: applied when it changes, put back when somebody removes it, and told when it cannot be."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.config import new_client_from_config
from tests.env.kafka import params_for
from tests.env.kubernetes import KubeApi, kube_api
from tests.env.predictor import World
from tests.operator.cluster import CRD, RBAC, Cluster

from rollcast_common.identity import ModelIdentity
from rollcast_operator.kube import Kube
from rollcast_operator.resource_cache import ResourceCache
from rollcast_operator.settings import OperatorSettings
from rollcast_operator.workloads import Slots
from rollcast_rollout.answer import Workload
from rollcast_rollout.model_version import Autoscaling, Serving

_NAMES = ("statefulset", "service", "poddisruptionbudget", "serviceaccount", "configmap")

_KEDA = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "scaledobjects.keda.sh"},
    "spec": {
        "group": "keda.sh",
        "scope": "Namespaced",
        "names": {"plural": "scaledobjects", "singular": "scaledobject", "kind": "ScaledObject"},
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


def _get(cluster: Cluster, kind: str, name: str = "rollcast-line") -> Any:
    return cluster.api.get(kind, name, "--namespace", cluster.namespace)


def _exists(cluster: Cluster, kind: str) -> bool:
    found = cluster.api.get(kind, "--namespace", cluster.namespace)["items"]
    return "rollcast-line" in [each["metadata"]["name"] for each in found]


@pytest.fixture
def waiting(cluster: Cluster) -> Cluster:
    """With an operator, and without anybody who runs slots."""
    cluster.start_operator()
    cluster.apply("v1", 2)
    cluster.wait(lambda: _exists(cluster, "statefulset"), "the slots are wanted")
    return cluster


def test_pods_are_restricted_and_name_their_slot(waiting: Cluster) -> None:
    cluster = waiting
    spec = _get(cluster, "statefulset")["spec"]
    assert spec["replicas"] == 1
    assert spec["podManagementPolicy"] == "Parallel"
    pod = spec["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    (container,) = pod["containers"]
    assert container["env"][0]["name"] == "ROLLCAST_ORDINAL"
    # The strictest of Kubernetes' own standards takes such a pod.
    cluster.api.kubectl(
        "label", "namespace", cluster.namespace, "pod-security.kubernetes.io/enforce=restricted", "--overwrite"
    )
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "slot", "namespace": cluster.namespace},
        "spec": pod,
    }
    cluster.api.kubectl("create", "--dry-run=server", "--filename", "-", stdin=json.dumps(manifest))


def test_what_somebody_removes_comes_back_and_nothing_else_is_written(waiting: Cluster) -> None:
    cluster = waiting
    cluster.wait(lambda: cluster.phase("line-v1") == "Promoting", "it waits for slots")
    before = _get(cluster, "statefulset")["metadata"]["uid"]
    cluster.api.kubectl("delete", "statefulset", "rollcast-line", "--namespace", cluster.namespace)
    cluster.wait(
        lambda: _exists(cluster, "statefulset") and _get(cluster, "statefulset")["metadata"]["uid"] != before,
        "it is back",
    )
    cluster.api.kubectl("scale", "statefulset", "rollcast-line", "--namespace", cluster.namespace, "--replicas", "3")
    cluster.wait(lambda: _get(cluster, "statefulset")["spec"]["replicas"] == 1, "as many as were asked for")
    revisions = {kind: _get(cluster, kind)["metadata"]["resourceVersion"] for kind in _NAMES if kind != "configmap"}
    assert cluster.operator is not None
    cluster.operator.child.stop()
    cluster.start_operator()
    cluster.wait(lambda: cluster.operator and cluster.operator.metric("models") == {"": 1}, "it looks after it")
    cluster.wait(lambda: cluster.condition("line-v1", "Progressing")["reason"] == "WaitingForSlots", "a turn later")
    assert revisions == {
        kind: _get(cluster, kind)["metadata"]["resourceVersion"] for kind in _NAMES if kind != "configmap"
    }


def test_a_verb_that_the_role_lacks_is_named_and_missed_until_it_is_there(cluster: Cluster) -> None:
    cluster.may_be_forbidden = True
    role = yaml.safe_load((RBAC / "role.yaml").read_text(encoding="utf-8"))
    role["metadata"]["namespace"] = cluster.namespace
    less = json.loads(json.dumps(role))
    for rule in less["rules"]:
        if rule["resources"] == ["statefulsets"]:
            rule["verbs"].remove("patch")
    cluster.api.apply(less)
    cluster.wait_may("patch", "statefulsets.apps", cluster.namespace, may=False)
    operator = cluster.start_operator()
    cluster.apply("v1", 2)
    (line, *_) = cluster.wait(lambda: operator.said("(403)"), "it is said")
    assert 'cannot patch resource "statefulsets"' in line["problem"]
    assert operator.is_alive
    cluster.api.apply(role)
    cluster.wait(lambda: _exists(cluster, "statefulset"), "it goes on")


def test_an_operator_of_the_whole_cluster_needs_no_more_than_the_cluster_role(world: World, tmp_path: Path) -> None:
    # Of its own: on the one that tests share it would look after the namespaces of all of them.
    with kube_api(tmp_path / "kubernetes", lambda _: None) as api:
        api.install_crd(CRD)
        cluster = Cluster(api, world)
        api.kubectl("delete", "rolebindings", "--all", "--namespace", cluster.namespace)
        role = yaml.safe_load((RBAC / "cluster-role.yaml").read_text(encoding="utf-8"))
        account = {"kind": "ServiceAccount", "name": "rollcast-operator", "namespace": cluster.namespace}
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "rollcast-operator"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "rollcast-operator"},
            "subjects": [account],
        }
        api.apply(role, binding)
        try:
            other = api.namespace()
            cluster.wait_may("patch", "statefulsets.apps", other)
            operator = cluster.start_operator(cluster_wide=True)
            cluster.upload("v1", 2)
            cluster.apply("v1", namespace=other)
            cluster.wait(lambda: cluster.phase("line-v1", namespace=other) == "Promoting", "it is looked after")
            cluster.delete("line-v1", namespace=other)
            cluster.wait(lambda: cluster.get("line-v1", namespace=other) is None, "it is gone")
            assert operator.said("(403)") == []
        finally:
            cluster.stop()


def test_with_keda_an_autoscaler_decides_and_without_it_the_least_run(waiting: Cluster) -> None:
    cluster = waiting
    cluster.api.apply(_KEDA)
    # The operator asks what kinds there are, which the API server tells a moment after one is established.
    cluster.wait(lambda: "scaledobjects" in cluster.api.kubectl("get", "--raw", "/apis/keda.sh/v1alpha1"), "it is told")
    try:
        assert cluster.operator is not None
        cluster.operator.child.stop()
        cluster.start_operator()
        cluster.patch("line-v1", {"serving": {"replicas": 3}})
        cluster.wait(lambda: _get(cluster, "statefulset")["spec"]["replicas"] == 3, "three are wanted")
        scaling = {"min": 2, "max": 6, "lagThreshold": 50}
        cluster.patch("line-v1", {"serving": {"replicas": 1, "autoscaling": scaling}})
        cluster.wait(lambda: _exists(cluster, "scaledobject"), "KEDA is asked")
        spec = _get(cluster, "scaledobject")["spec"]
        assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (2, 6)
        (trigger,) = spec["triggers"]
        assert trigger["metadata"]["topic"] == cluster.world.names.full("requests")
        assert trigger["metadata"]["consumerGroup"] == cluster.identity.consumer_group
        # Those that run stay until the autoscaler decides.
        assert _get(cluster, "statefulset")["spec"]["replicas"] == 3
        cluster.api.kubectl("scale", "statefulset", "rollcast-line", "-n", cluster.namespace, "--replicas", "4")
        cluster.wait(lambda: cluster.status("line-v1")["predictor"]["slots"] == 4, "they are expected")
        assert _get(cluster, "statefulset")["spec"]["replicas"] == 4
        cluster.patch("line-v1", {"serving": {"replicas": 1, "autoscaling": None}})
        cluster.wait(lambda: not _exists(cluster, "scaledobject"), "it is not asked any more")
        assert _get(cluster, "statefulset")["spec"]["replicas"] == 1
    finally:
        cluster.api.kubectl("delete", "crd", "scaledobjects.keda.sh")


def test_that_keda_was_just_removed_is_no_bug_of_the_operator(api: KubeApi) -> None:
    """It is asked for now and then, so for a while the operator takes it to be there."""
    identity = ModelIdentity("i", api.namespace(), "line")
    settings = OperatorSettings.from_mapping(
        {"installation": "i", "namespaces": (identity.namespace,), "slots": {"image": "slot:1"}}, source="a test"
    )
    refused: list[str] = []
    keda = {"is there"}
    slots = Slots(
        Kube(new_client_from_config(str(api.kubeconfig))),
        ResourceCache(),
        identity,
        settings,
        params_for("127.0.0.1:9"),
        has_keda=lambda: bool(keda),
        on_refused=refused.append,
    )
    slots.apply(Workload("line", Serving(autoscaling=Autoscaling(min=2, max=4, lag_threshold=50)), None))
    assert slots.replicas() == 1  # KEDA's to say, had it not gone
    keda.clear()
    slots.apply(Workload("line", Serving(autoscaling=Autoscaling(min=2, max=4, lag_threshold=50)), None))
    assert slots.replicas() == 2
    slots.apply(Workload("line", Serving(), 3))
    assert slots.replicas() == 3
    slots.apply(None)
    assert slots.replicas() is None
    assert refused == []
