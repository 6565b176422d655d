"""The API server that the operator's tests rest on does what those tests assume."""

import json
import os
from pathlib import Path

import kopf
import pytest
from kubernetes.client import CoreV1Api
from kubernetes.config import new_client_from_config
from tests.env import kubernetes_binaries
from tests.env.kubernetes import KubeApi, KubectlFailed
from tests.env.kubernetes_binaries import BinariesUnavailable, binaries

from rollcast_cli.local.processes import wait_until

CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "cakes.test.rollcast.dev"},
    "spec": {
        "group": "test.rollcast.dev",
        "scope": "Namespaced",
        "names": {"plural": "cakes", "singular": "cake", "kind": "Cake", "listKind": "CakeList"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "properties": {"layers": {"type": "integer", "minimum": 1}}}
                        },
                    }
                },
            }
        ],
    },
}


def cake(namespace: str, layers: int) -> dict[str, object]:
    return {
        "apiVersion": "test.rollcast.dev/v1",
        "kind": "Cake",
        "metadata": {"name": "cake", "namespace": namespace},
        "spec": {"layers": layers},
    }


@pytest.fixture
def namespace(kube_api: KubeApi) -> str:
    return kube_api.namespace()


@pytest.fixture
def crd(kube_api: KubeApi, tmp_path: Path) -> None:
    path = tmp_path / "crd.json"
    path.write_text(json.dumps(CRD), encoding="utf-8")
    kube_api.install_crd(path)


def test_it_is_the_pinned_version_unless_another_folder_is_named(kube_api: KubeApi) -> None:
    version = json.loads(kube_api.kubectl("version", "--output", "json"))
    assert version["serverVersion"]["gitVersion"].startswith("v1.")
    if not os.environ.get(kubernetes_binaries.ASSETS_VARIABLE):
        assert version["serverVersion"]["gitVersion"] == kubernetes_binaries.KUBERNETES
        assert version["clientVersion"]["gitVersion"] == kubernetes_binaries.KUBERNETES


@pytest.mark.usefixtures("crd")
def test_custom_resources_are_kept_and_checked(kube_api: KubeApi, namespace: str) -> None:
    kube_api.apply(cake(namespace, 2))
    assert kube_api.get("cakes", "cake", "--namespace", namespace)["spec"] == {"layers": 2}
    with pytest.raises(KubectlFailed, match=r"spec\.layers: Invalid value: 0"):
        kube_api.apply(cake(namespace, 0))


@pytest.mark.usefixtures("crd")
def test_a_restart_keeps_what_was_written(kube_api: KubeApi, namespace: str) -> None:
    kube_api.apply(cake(namespace, 3))
    kube_api.restart()
    assert kube_api.get("cakes", "cake", "--namespace", namespace)["spec"] == {"layers": 3}


def test_while_it_is_stopped_connections_are_refused(kube_api: KubeApi, namespace: str) -> None:
    kube_api.stop()
    try:
        with pytest.raises(KubectlFailed, match="refused"):
            kube_api.get("namespace", namespace)
    finally:
        kube_api.start()
    assert kube_api.get("namespace", namespace)["metadata"]["name"] == namespace


def test_while_it_is_silent_requests_get_no_answer(kube_api: KubeApi, namespace: str) -> None:
    with kube_api.silent(), pytest.raises(KubectlFailed, match=r"(?i)timeout|deadline"):
        kube_api.kubectl("get", "namespace", namespace, "--request-timeout", "1s")
    assert kube_api.get("namespace", namespace)["metadata"]["name"] == namespace


def test_a_service_account_may_do_what_its_role_says_and_no_more(kube_api: KubeApi, namespace: str) -> None:
    kubeconfig = kube_api.service_account(namespace, "baker")
    with pytest.raises(KubectlFailed, match=f"system:serviceaccount:{namespace}:baker.*cannot list"):
        kube_api.kubectl("get", "configmaps", kubeconfig=kubeconfig)
    kube_api.kubectl("create", "role", "baker", "--verb", "list", "--resource", "configmaps", "-n", namespace)
    subject = f"{namespace}:baker"
    kube_api.kubectl("create", "rolebinding", "baker", "--role", "baker", "--serviceaccount", subject, "-n", namespace)

    def may_list() -> bool:
        """The API server learns of a binding a moment after it has taken it."""
        try:
            kube_api.kubectl("get", "configmaps", kubeconfig=kubeconfig)
        except KubectlFailed:
            return False
        return True

    wait_until(may_list, what="the role is in force", timeout_seconds=120)
    with pytest.raises(KubectlFailed, match="cannot create"):
        kube_api.kubectl("create", "configmap", "cake", kubeconfig=kubeconfig)


def test_the_python_client_and_kopf_log_in_with_the_kubeconfig(
    kube_api: KubeApi, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = CoreV1Api(new_client_from_config(str(kube_api.kubeconfig)))
    metadata = api.read_namespace(namespace).metadata
    assert metadata is not None
    assert metadata.name == namespace
    monkeypatch.setenv("KUBECONFIG", kube_api.environ["KUBECONFIG"])
    connection = kopf.login_with_kubeconfig(settings=kopf.OperatorSettings())
    assert connection is not None
    assert connection.server == kube_api.url


def test_a_named_folder_without_the_binaries_is_not_replaced_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    with pytest.raises(BinariesUnavailable, match="does not hold etcd, kube-apiserver, kubectl"):
        binaries(lambda _: None)


def test_without_go_the_reason_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BinariesUnavailable, match="there is no go here"):
        binaries(lambda _: None)
