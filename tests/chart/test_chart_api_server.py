"""The real API server takes what the chart renders, and admits its pods where only restricted ones may run."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from tests.chart.conftest import Render
from tests.chart.rendered import CHART, CI, DEV, FILES, named, pods
from tests.env.helm import Helm
from tests.env.kubernetes import KubeApi, KubectlFailed

Json = dict[str, Any]

_FOREIGN = {"PodMonitor", "PrometheusRule", "TriggerAuthentication"}
"""Of operators that are not there."""


@pytest.fixture(scope="module")
def restricted(kube_api: KubeApi) -> str:
    """A namespace that refuses every pod that the standard `restricted` forbids."""
    return kube_api.namespace({"pod-security.kubernetes.io/enforce": "restricted"})


def _dry_run(api: KubeApi, objects: list[Json]) -> str:
    text = "\n---\n".join(map(json.dumps, objects))
    command = ("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict")
    return api.kubectl(*command, "--filename", "-", stdin=text)


def _as_pods(objects: list[Json], namespace: str) -> list[Json]:
    found = []
    for owner, pod in pods(objects):
        name = f"{owner['kind'].lower()}-{owner['metadata']['name']}"
        spec = copy.deepcopy(pod["spec"])
        # Filled in by the StatefulSet's controller.
        claims = [claim["metadata"]["name"] for claim in owner["spec"].get("volumeClaimTemplates", ())]
        spec.setdefault("volumes", []).extend(
            {"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in claims
        )
        # What it is about is there in a cluster; here only the names could be checked.
        spec.pop("priorityClassName", None)
        metadata = {"name": name[:63], "namespace": namespace, "labels": pod["metadata"]["labels"]}
        found.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    return found


@pytest.mark.parametrize("values", FILES, ids=lambda path: path.stem)
def test_it_takes_every_object_of_a_values_file(
    render: Render, kube_api: KubeApi, restricted: str, values: Path
) -> None:
    tried = [found for found in render(values, namespace=restricted) if found["kind"] not in _FOREIGN]
    for found in tried:
        if "namespace" in found["metadata"]:
            found["metadata"]["namespace"] = restricted
    said = _dry_run(kube_api, tried)
    assert said.count("(server dry run)") == len(tried)


@pytest.mark.parametrize("values", FILES, ids=lambda path: path.stem)
def test_every_pod_is_admitted_where_only_restricted_ones_are(
    render: Render, kube_api: KubeApi, restricted: str, values: Path
) -> None:
    found = _as_pods(render(values, namespace=restricted), restricted)
    assert len(found) >= 2
    assert _dry_run(kube_api, found).count("(server dry run)") == len(found)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"runAsNonRoot": None}, "runAsNonRoot"),
        ({"seccompProfile": None}, "seccompProfile"),
        ({"runAsUser": 0}, "runAsUser=0"),
    ],
)
def test_a_pod_that_is_not_restricted_is_refused_there(
    render: Render, kube_api: KubeApi, restricted: str, change: Json, why: str
) -> None:
    """Or else the test above could not fail."""
    objects = render(CI / "minimal-values.yaml", namespace=restricted)
    (pod,) = _as_pods([named(objects, "Deployment", "rollcast-operator")], restricted)
    security = pod["spec"]["securityContext"]
    pod["spec"]["securityContext"] = {
        name: value for name, value in {**security, **change}.items() if value is not None
    }
    with pytest.raises(KubectlFailed, match=why):
        _dry_run(kube_api, [pod])


def test_helm_installs_upgrades_and_uninstalls_it(helm: Helm, kube_api: KubeApi) -> None:
    """What stays: the definition, ModelVersions, and the settings that slots read."""
    namespace = kube_api.namespace()
    where = ("--namespace", namespace)
    # Other tests have brought the definition already.
    chart = ("rollcast", str(CHART), *where, "--values", str(DEV), "--take-ownership")
    helm.run("install", *chart, environ=kube_api.environ)
    kube_api.kubectl("wait", "--for=condition=established", "crd/modelversions.rollcast.dev", "--timeout=90s")
    example = CHART.parents[1] / "examples" / "wine-price" / "modelversion.yaml"
    kube_api.kubectl("apply", *where, "--filename", str(example))
    before = kube_api.get("statefulset", "rollcast-notifier", *where)
    helm.run("upgrade", *chart, "--set", "image.tag=9.9.9,notifier.logLevel=debug", environ=kube_api.environ)
    after = kube_api.get("statefulset", "rollcast-notifier", *where)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["spec"]["template"]["spec"]["containers"][0]["image"] == "rollcast-notifier:9.9.9"

    # Nothing runs the hook's pod here; what it does has a test of its own.
    helm.run("uninstall", "rollcast", *where, "--no-hooks", environ=kube_api.environ)
    kinds = "deployments,statefulsets,cronjobs,jobs,services,roles,rolebindings,serviceaccounts,poddisruptionbudgets"
    assert kube_api.get(kinds, *where, "--selector", "app.kubernetes.io/instance=rollcast")["items"] == []
    assert kube_api.get("modelversion", "wine-price-v1", *where)["spec"]["version"] == "v1"
    kept = kube_api.get("configmaps,secrets", *where, "--selector", "app.kubernetes.io/component=clients")["items"]
    assert {found["metadata"]["name"] for found in kept} == {"rollcast-kafka", "rollcast-s3"}

    # And whoever comes back finds them.
    helm.run("install", *chart, environ=kube_api.environ)
    helm.run("uninstall", "rollcast", *where, "--no-hooks", environ=kube_api.environ)


def test_secrets_are_copied_to_where_models_are(helm: Helm, kube_api: KubeApi) -> None:
    namespace, wines, beers = (kube_api.namespace() for _ in range(3))
    secret = {"name": "bucket-credentials", "namespace": namespace}
    content = {"ROLLCAST_S3_ACCESS_KEY_ID": "someone", "ROLLCAST_S3_SECRET_ACCESS_KEY": "not-a-real-key"}
    kube_api.apply({"apiVersion": "v1", "kind": "Secret", "metadata": secret, "stringData": content})
    settings = f"models.namespaces={{{wines},{beers}}},models.copySecrets=true,s3.secret.name=bucket-credentials"
    values = ("--values", str(CI / "minimal-values.yaml"), "--set", f"{settings},crds.enabled=false")
    helm.run("install", "rollcast", str(CHART), "--namespace", namespace, *values, environ=kube_api.environ)
    original = kube_api.get("secret", "bucket-credentials", "--namespace", namespace)["data"]
    for place in (wines, beers):
        assert kube_api.get("secret", "bucket-credentials", "--namespace", place)["data"] == original
    helm.run("uninstall", "rollcast", "--namespace", namespace, "--no-hooks", environ=kube_api.environ)
    assert kube_api.get("secret", "bucket-credentials", "--namespace", wines)["data"] == original
