"""Uninstalling: the hook stops the operator and takes its finalizers off, with the rights that the chart gives it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.chart.conftest import Render
from tests.chart.rendered import CI, ROOT, named, of_kind, pods
from tests.env.kubernetes import KubeApi, KubectlFailed

Json = dict[str, Any]

_CRD = ROOT / "libs" / "rollout" / "src" / "rollcast_rollout" / "crd" / "modelversion.yaml"
_OURS = ["rollcast.dev/finalizer", "rollcast.dev/kopf"]


@pytest.fixture
def models(kube_api: KubeApi) -> str:
    """A namespace whose ModelVersions have an operator's finalizers."""
    kube_api.install_crd(_CRD)
    namespace = kube_api.namespace()
    for name, finalizers in (("live", _OURS), ("shared", [*_OURS, "example.com/theirs"]), ("bare", [])):
        kube_api.apply(
            {
                "apiVersion": "rollcast.dev/v1alpha1",
                "kind": "ModelVersion",
                "metadata": {"name": name, "namespace": namespace, "finalizers": finalizers},
                "spec": {"model": "m", "version": name, "artifact": {"uri": f"s3://models/{name}.skops"}},
            }
        )
    return namespace


def _install(api: KubeApi, objects: list[Json]) -> Path:
    """The operator's Deployment, and the hook's rights; the kubeconfig of the hook's account."""
    hook = [found for found in objects if "retire" in found["metadata"]["name"]]
    rights = [found for found in hook if "Role" in found["kind"]]
    account = named(hook, "ServiceAccount", "rollcast-retire")
    namespace = account["metadata"]["namespace"]
    api.apply(account, *rights, *of_kind(objects, "Deployment"))
    return api.service_account(namespace, "rollcast-retire")


def _run_hook(objects: list[Json], kubeconfig: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """As the pod would be run."""
    (pod,) = [pod for owner, pod in pods(objects) if owner["metadata"]["name"] == "rollcast-retire"]
    return subprocess.run(
        [sys.executable, "-m", "rollcast_operator", *pod["spec"]["containers"][0]["args"], *more],
        env={"KUBECONFIG": str(kubeconfig), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def _finalizers(api: KubeApi, namespace: str) -> dict[str, list[str]]:
    items = api.get("modelversions", "--namespace", namespace)["items"]
    return {found["metadata"]["name"]: found["metadata"].get("finalizers", []) for found in items}


@pytest.mark.parametrize("cluster_wide", [False, True], ids=["in its namespaces", "cluster-wide"])
def test_the_hook_stops_the_operator_and_releases_what_waits_for_it(
    render: Render, kube_api: KubeApi, models: str, *, cluster_wide: bool
) -> None:
    namespace = kube_api.namespace()
    settings = {"models.namespaces": [models], "models.clusterWide": cluster_wide, "crds.enabled": False}
    objects = render(CI / "minimal-values.yaml", settings=settings, namespace=namespace)
    kubeconfig = _install(kube_api, objects)
    kube_api.kubectl("delete", "modelversion", "live", "--namespace", models, "--wait=false")
    assert "live" in _finalizers(kube_api, models)

    result = _run_hook(objects, kubeconfig)

    assert result.returncode == 0, result.stderr
    assert _finalizers(kube_api, models) == {"shared": ["example.com/theirs"], "bare": []}
    operator = kube_api.get("deployment", "rollcast-operator", "--namespace", namespace)
    assert operator["spec"]["replicas"] == 0


def test_the_hook_waits_until_the_operator_is_gone(render: Render, kube_api: KubeApi, models: str) -> None:
    """A pod that still runs would put its finalizers on again."""
    settings = {"models.namespaces": [models], "retire.timeoutSeconds": 2}
    namespace = kube_api.namespace()
    objects = render(CI / "minimal-values.yaml", settings=settings, namespace=namespace)
    kubeconfig = _install(kube_api, objects)
    labels = named(objects, "Deployment", "rollcast-operator")["spec"]["selector"]["matchLabels"]
    container = {"name": "operator", "image": "operator:1"}
    metadata = {"name": "operator-0", "namespace": namespace, "labels": labels}
    kube_api.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}})

    result = _run_hook(objects, kubeconfig)

    assert result.returncode == 1
    assert "stopping the operator: not done in time" in result.stderr
    assert _finalizers(kube_api, models)["live"] == _OURS

    kube_api.kubectl("delete", "pod", "operator-0", "--namespace", namespace, "--force", "--grace-period=0")
    # It is the waiting that was to be short.
    assert _run_hook(objects, kubeconfig, "--timeout-seconds", "120").returncode == 0
    assert _finalizers(kube_api, models)["live"] == []


_WITH_SETTINGS = {"s3.accessKeyId": "access", "s3.secretAccessKey": "secret", "networkPolicy.enabled": True}
_SETTINGS = [
    "configmap/rollcast-kafka",
    "configmap/rollcast-s3",
    "networkpolicy.networking.k8s.io/rollcast-predictor",
    "secret/rollcast-s3",
]


def _settings(api: KubeApi, namespace: str) -> list[str]:
    found = api.kubectl("get", "configmaps,secrets,networkpolicies", "--namespace", namespace, "--output", "name")
    return sorted(name for name in found.split() if "kube-root-ca.crt" not in name)


def _keep(api: KubeApi, objects: list[Json]) -> None:
    """What helm leaves there."""
    api.apply(*[o for o in objects if o["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"])


def test_where_nothing_is_served_the_settings_of_slots_go_too(render: Render, kube_api: KubeApi) -> None:
    kube_api.install_crd(_CRD)
    unused, namespace = kube_api.namespace(), kube_api.namespace()
    settings = {"models.namespaces": [unused], "crds.enabled": False, **_WITH_SETTINGS}
    objects = render(CI / "minimal-values.yaml", settings=settings, namespace=namespace)
    kubeconfig = _install(kube_api, objects)
    _keep(kube_api, objects)
    kube_api.kubectl("create", "configmap", "of-somebody-else", "--namespace", unused)
    assert _settings(kube_api, unused) == ["configmap/of-somebody-else", *_SETTINGS]

    result = _run_hook(objects, kubeconfig)

    assert result.returncode == 0, result.stderr
    assert _settings(kube_api, unused) == ["configmap/of-somebody-else"]


@pytest.mark.parametrize("who", ["a ModelVersion", "a slot"])
def test_where_something_is_served_its_settings_stay(render: Render, kube_api: KubeApi, models: str, who: str) -> None:
    namespace = kube_api.namespace()
    settings = {"models.namespaces": [models], "crds.enabled": False, **_WITH_SETTINGS}
    objects = render(CI / "minimal-values.yaml", settings=settings, namespace=namespace)
    kubeconfig = _install(kube_api, objects)
    _keep(kube_api, objects)
    if who == "a slot":
        labels = {"app.kubernetes.io/managed-by": "rollcast-operator"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "predictor", "image": "slot:1"}]}}
        spec = {"serviceName": "m", "selector": {"matchLabels": labels}, "template": template}
        metadata = {"name": "m", "namespace": models, "labels": labels}
        kube_api.apply({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": spec})
        kube_api.kubectl(
            "patch", "mv", "shared", "-n", models, "--type=merge", "-p", '{"metadata":{"finalizers":null}}'
        )
        kube_api.kubectl("patch", "mv", "live", "-n", models, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
        kube_api.kubectl("delete", "mv", "--all", "--namespace", models)

    assert _run_hook(objects, kubeconfig).returncode == 0

    assert _settings(kube_api, models) == _SETTINGS


_RETIRING = [path for path in sorted(CI.glob("*-values.yaml")) if "retire:" not in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("values", _RETIRING, ids=lambda path: path.stem)
def test_all_that_stays_beside_slots_is_known_to_the_hook(render: Render, values: Path) -> None:
    """Whatever helm is told to keep and the operator's definition is not: the hook has its name and the right."""
    objects = render(values)
    kept = {
        (o["metadata"]["namespace"], _plural(o["kind"]), o["metadata"]["name"])
        for o in objects
        if o["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
        and "namespace" in o["metadata"]
    }
    (hook,) = [pod for owner, pod in pods(objects) if owner["metadata"]["name"].endswith("-retire")]
    arguments = hook["spec"]["containers"][0]["args"]
    known = {tuple(a.partition("=")[2].split("/")) for a in arguments if a.startswith("--slot-setting=")}
    assert kept <= known
    may_delete = {
        (role["metadata"]["namespace"], resource, name)
        for role in of_kind(objects, "Role")
        if role["metadata"]["name"].endswith("-retire-settings")
        for rule in role["rules"]
        if rule["verbs"] == ["delete"]
        for resource in rule["resources"]
        for name in rule["resourceNames"]
    }
    assert known == may_delete


def _plural(kind: str) -> str:
    lower = kind.lower()
    return f"{lower[:-1]}ies" if lower.endswith("y") else f"{lower}s"


def test_nothing_to_retire_is_no_error(render: Render, kube_api: KubeApi) -> None:
    """A half-installed release can be uninstalled, too."""
    namespace = kube_api.namespace()
    objects = render(CI / "minimal-values.yaml", namespace=namespace)
    kubeconfig = _install(kube_api, objects)
    kube_api.kubectl("delete", "deployment", "rollcast-operator", "--namespace", namespace)
    assert _run_hook(objects, kubeconfig).returncode == 0


def test_the_hook_may_do_nothing_else(render: Render, kube_api: KubeApi, models: str) -> None:
    namespace = kube_api.namespace()
    objects = render(CI / "minimal-values.yaml", settings={"models.namespaces": [models]}, namespace=namespace)
    kubeconfig = _install(kube_api, objects)
    for arguments in (
        ("delete", "modelversion", "bare", "--namespace", models),
        ("get", "secrets", "--namespace", namespace),
        ("get", "secrets", "--namespace", models),
        ("delete", "configmap", "kube-root-ca.crt", "--namespace", models),
        ("delete", "deployment", "rollcast-operator", "--namespace", namespace),
        ("get", "modelversions", "--all-namespaces"),
    ):
        with pytest.raises(KubectlFailed, match="Forbidden"):
            kube_api.kubectl(*arguments, kubeconfig=kubeconfig)


def test_all_of_the_hook_is_a_hook_and_goes_when_it_has_succeeded(render: Render) -> None:
    for values in ("minimal", "cluster-wide", "sasl-scram"):
        hook = [o for o in render(CI / f"{values}-values.yaml") if "retire" in o["metadata"]["name"]]
        weights = {}
        for found in hook:
            annotations = found["metadata"]["annotations"]
            assert annotations["helm.sh/hook"] == "pre-delete"
            assert annotations["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"
            weights[found["kind"]] = int(annotations["helm.sh/hook-weight"])
        assert weights["ServiceAccount"] <= weights["Role"] < weights["RoleBinding"] < weights["Job"]
