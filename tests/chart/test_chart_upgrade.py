"""What Kubernetes lets nobody change is as it was in the first chart: else `helm upgrade` would fail."""

import json
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from tests.chart.rendered import CHART, ROOT
from tests.env.helm import Helm
from tests.env.kubernetes import KubeApi

Json = dict[str, Any]

_VALUES = {
    "kafka.servers": "kafka:9092",
    "s3.bucket": "models",
    "s3.accessKeyId": "someone",
    "s3.secretAccessKey": "secret",
    "dev.s3.enabled": True,
    "dev.kafka.enabled": True,
}
_OF_A_SET = ("selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates")


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def first_chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart of the commit that brought it."""
    path = "charts/rollcast"
    try:
        shallow = _git("rev-parse", "--is-shallow-repository").strip() == b"true"
        commits = _git("log", "--diff-filter=A", "--format=%H", "--", f"{path}/Chart.yaml").split()
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs the history of the repository: {error}")
    if not commits:
        pytest.skip(f"needs the commit that brought {path}: {'a shallow clone lacks it' if shallow else 'none has it'}")
    folder = tmp_path_factory.mktemp("first")
    with tarfile.open(fileobj=BytesIO(_git("archive", commits[-1].decode(), path))) as archive:
        archive.extractall(folder, filter="data")
    return folder / path


@pytest.fixture(scope="module")
def first(helm: Helm, first_chart: Path) -> list[Json]:
    return helm.template(first_chart, settings=_VALUES)


@pytest.fixture(scope="module")
def now(helm: Helm) -> list[Json]:
    return helm.template(CHART, settings=_VALUES)


def _by_name(objects: list[Json], kind: str) -> dict[str, Json]:
    return {found["metadata"]["name"]: found for found in objects if found["kind"] == kind}


def test_a_stateful_set_keeps_what_cannot_be_changed(first: list[Json], now: list[Json]) -> None:
    before, after = _by_name(first, "StatefulSet"), _by_name(now, "StatefulSet")
    assert "rollcast-notifier" in before
    assert before.keys() <= after.keys()
    for name, found in before.items():
        for field in _OF_A_SET:
            assert found["spec"].get(field) == after[name]["spec"].get(field), f"{name}: {field}"


def test_a_deployment_keeps_its_selector(first: list[Json], now: list[Json]) -> None:
    before, after = _by_name(first, "Deployment"), _by_name(now, "Deployment")
    assert before
    for name, found in before.items():
        assert found["spec"]["selector"] == after[name]["spec"]["selector"]


def test_a_job_is_the_same_or_has_another_name(first: list[Json], now: list[Json]) -> None:
    before, after = _by_name(first, "Job"), _by_name(now, "Job")
    hooks = [name for name, found in before.items() if "helm.sh/hook" in found["metadata"].get("annotations", {})]
    assert len(before) - len(hooks) == 1
    for name in before.keys() & after.keys() - set(hooks):
        assert before[name]["spec"] == after[name]["spec"]


def test_a_binding_keeps_its_role_and_a_service_its_kind(first: list[Json], now: list[Json]) -> None:
    for kind, field in (("RoleBinding", "roleRef"), ("ClusterRoleBinding", "roleRef")):
        after = _by_name(now, kind)
        assert all(found[field] == after[name][field] for name, found in _by_name(first, kind).items() if name in after)
    after = _by_name(now, "Service")
    for name, found in _by_name(first, "Service").items():
        assert found["spec"].get("clusterIP") == after[name]["spec"].get("clusterIP"), name


def test_model_versions_of_then_are_served_now(first: list[Json], now: list[Json]) -> None:
    def served(objects: list[Json]) -> set[str]:
        definition = _by_name(objects, "CustomResourceDefinition")["modelversions.rollcast.dev"]
        return {version["name"] for version in definition["spec"]["versions"] if version["served"]}

    assert served(first) <= served(now)


def test_a_release_of_then_is_upgraded_to_this_one(helm: Helm, kube_api: KubeApi, first_chart: Path) -> None:
    """By the API server, which is who refuses."""
    where = ("--namespace", kube_api.namespace())
    values = [argument for name, value in _VALUES.items() for argument in ("--set-json", f"{name}={json.dumps(value)}")]
    more = (*where, *values, "--take-ownership")
    helm.run("install", "rollcast", str(first_chart), *more, environ=kube_api.environ)
    before = kube_api.get("statefulset", "rollcast-notifier", *where)
    helm.run("upgrade", "rollcast", str(CHART), *more, environ=kube_api.environ)
    assert kube_api.get("statefulset", "rollcast-notifier", *where)["metadata"]["uid"] == before["metadata"]["uid"]
    helm.run("uninstall", "rollcast", *where, "--no-hooks", environ=kube_api.environ)
