"""The slots that the operator makes of the chart's settings: admitted by a real API server, with all that they read."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.chart.conftest import Render
from tests.chart.rendered import CI, FILES, named
from tests.env.kubernetes import KubeApi

from rollcast_common.identity import ModelIdentity
from rollcast_common.kafka import load_kafka_params
from rollcast_operator.kinds import SCALED_OBJECT, STATEFUL_SET
from rollcast_operator.manifests import manifests
from rollcast_operator.settings import load_operator_config
from rollcast_rollout.answer import Workload
from rollcast_rollout.model_version import Autoscaling, Serving

Json = dict[str, Any]


def _made(objects: list[Json], folder: Path, namespace: str, *, autoscaling: Autoscaling | None = None) -> list[Any]:
    """What the operator makes of a model, told what the chart tells it."""
    paths = {}
    for name, key in (("operator", "operator_config.yaml"), ("kafka", "kafka_config.yaml")):
        paths[key] = folder / key
        paths[key].write_text(
            named(objects, "ConfigMap", _of_release(objects, name), "ml")["data"][key], encoding="utf-8"
        )
    return manifests(
        Workload("wine-price", Serving(autoscaling=autoscaling), None if autoscaling else 2),
        ModelIdentity("rollcast", namespace, "wine-price"),
        load_operator_config(paths["operator_config.yaml"], image=None).slots,
        load_kafka_params(paths["kafka_config.yaml"], {}),
        allow_pickle=False,
        replicas=None if autoscaling else 2,
    )


def _of_release(objects: list[Json], name: str) -> str:
    (deployment,) = [found for found in objects if found["kind"] == "Deployment"]
    prefix: str = deployment["metadata"]["name"].removesuffix("-operator")
    return f"{prefix}-{name}"


def _pod(made: list[Any]) -> Json:
    (stateful_set,) = [manifest.body for manifest in made if manifest.kind is STATEFUL_SET]
    template: Json = stateful_set["spec"]["template"]
    return template


@pytest.fixture(scope="module")
def restricted(kube_api: KubeApi) -> str:
    return kube_api.namespace({"pod-security.kubernetes.io/enforce": "restricted"})


@pytest.mark.parametrize("values", FILES, ids=lambda path: path.stem)
def test_a_slot_is_admitted_where_only_restricted_pods_are(
    render: Render, kube_api: KubeApi, restricted: str, tmp_path: Path, values: Path
) -> None:
    pod = _pod(_made(render(values), tmp_path, restricted))
    pod["spec"].pop("priorityClassName", None)  # the class itself is not here
    pod |= {"apiVersion": "v1", "kind": "Pod"}
    pod["metadata"] |= {"name": "slot", "namespace": restricted}
    said = kube_api.kubectl("create", "--dry-run=server", "--validate=strict", "--filename", "-", stdin=json.dumps(pod))
    assert "created (server dry run)" in said


@pytest.mark.parametrize("values", FILES, ids=lambda path: path.stem)
def test_what_a_slot_reads_is_in_its_namespace(render: Render, tmp_path: Path, values: Path) -> None:
    """Made by the chart, or named in the values as somebody else's."""
    objects = render(values)
    mine = {"rollcast-wine-price-slots"}
    theirs = {"rollcast-user", "shop-cluster-ca-cert", "rollcast-bucket", "company-ca", "kafka-ca", "signers"}
    theirs |= {"rollcast-predictor"}
    kafka = [found for found in objects if found["metadata"]["name"] == _of_release(objects, "kafka")]
    for namespace in {found["metadata"]["namespace"] for found in kafka if "annotations" in found["metadata"]}:
        spec = _pod(_made(objects, tmp_path, namespace))["spec"]
        asked = {("ConfigMap", v["configMap"]["name"]) for v in spec["volumes"] if "configMap" in v}
        asked |= {("Secret", v["secret"]["secretName"]) for v in spec["volumes"] if "secret" in v}
        for source in spec["containers"][0]["envFrom"]:
            asked |= {(kind[0].upper() + kind[1:-3], reference["name"]) for kind, reference in source.items()}
        there = {(o["kind"], o["metadata"]["name"]) for o in objects if o["metadata"].get("namespace") == namespace}
        assert {name for kind, name in asked - there} <= mine | theirs
        assert len(asked & there) >= 2


def test_a_slot_finds_its_files_where_the_configuration_says(render: Render, tmp_path: Path) -> None:
    for values in ("sasl-scram", "mtls", "mtls-inline", "sasl-inline"):
        objects = render(CI / f"{values}-values.yaml")
        made = _made(objects, tmp_path, "wines")
        container = _pod(made)["spec"]["containers"][0]
        places = [mount["mountPath"] for mount in container["volumeMounts"]]
        broker = load_kafka_params(tmp_path / "kafka_config.yaml", {}).broker
        files = [broker.password_file, broker.ssl_ca_file, broker.ssl_certificate_file, broker.ssl_key_file]
        assert [file for file in files if file is not None]
        for file in filter(None, files):
            assert str(file.parent) in places, (values, file)


def test_an_autoscaled_model_gives_keda_its_credentials(render: Render, tmp_path: Path) -> None:
    scaling = Autoscaling(min=1, max=4, lag_threshold=100)
    made = _made(render(CI / "sasl-scram-values.yaml"), tmp_path, "wines", autoscaling=scaling)
    (scaled,) = [manifest.body for manifest in made if manifest.kind is SCALED_OBJECT]
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["authenticationRef"] == {"name": "rollcast-kafka"}
    assert trigger["metadata"]["sasl"] == "scram_sha512"
    assert trigger["metadata"]["tls"] == "enable"
    assert trigger["metadata"]["topic"] == "shop-requests"
