"""Every values file gives objects that Kubernetes takes, and settings that every part takes."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from tests.chart.conftest import Render
from tests.chart.rendered import CHART, CI, DEV, FILES, of_kind
from tests.env.helm import Helm, HelmFailed

from rollcast_common.artifacts import load_s3_params
from rollcast_common.kafka import load_kafka_params
from rollcast_notifier.rules.rule_book import RuleBook
from rollcast_operator.settings import load_operator_config
from rollcast_trainer.settings import load_settings

Json = dict[str, Any]

_OLDEST = "1.28"
_FOREIGN = {"CustomResourceDefinition", "PodMonitor", "PrometheusRule", "TriggerAuthentication"}
"""Kinds that Kubernetes' published schemas do not hold."""


@pytest.mark.parametrize("values", FILES, ids=lambda path: path.stem)
def test_a_values_file_is_clean_for_the_linter(helm: Helm, values: Path) -> None:
    said = helm.run("lint", "--strict", str(CHART), "--values", str(values))
    assert "1 chart(s) linted, 0 chart(s) failed" in said


@pytest.mark.parametrize("values", FILES, ids=lambda path: path.stem)
def test_what_it_renders_fits_the_schemas_of_the_oldest_kubernetes(render: Render, values: Path) -> None:
    """Those of the newest are the API server's own: see the tests that ask it."""
    objects = render(values)
    checked = [found for found in objects if found["kind"] not in _FOREIGN]
    assert len(checked) > 5
    for found in checked:
        kubernetes_validate.validate(found, _OLDEST, strict=True)


@pytest.mark.parametrize("values", FILES, ids=lambda path: path.stem)
def test_objects_are_named_once_and_say_where_they_belong(render: Render, values: Path) -> None:
    objects = render(values)
    names = Counter((o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects)
    assert [name for name, count in names.items() if count > 1] == []
    cluster_wide = {"CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"}
    assert {o["kind"] for o in objects if "namespace" not in o["metadata"]} <= cluster_wide
    for found in objects:
        assert found["metadata"]["labels"]["app.kubernetes.io/part-of"] == "rollcast"
        assert found["metadata"]["labels"]["app.kubernetes.io/instance"] == "rollcast"


@pytest.mark.parametrize("values", FILES, ids=lambda path: path.stem)
def test_the_parts_accept_the_settings_that_it_renders(render: Render, values: Path, tmp_path: Path) -> None:
    load: Any = {
        "kafka_config.yaml": lambda path: load_kafka_params(path, {}),
        "s3_config.yaml": lambda path: load_s3_params(path, {}),
        "operator_config.yaml": lambda path: load_operator_config(path, image=None),
        "notifications.yaml": RuleBook.load,
        "train.yaml": lambda path: load_settings(path, data=_csv(path)),
    }
    seen = set()
    for found in of_kind(render(values), "ConfigMap"):
        for name in found["data"].keys() & load.keys():
            file = tmp_path / name
            file.write_text(found["data"][name], encoding="utf-8")
            load[name](file)
            seen.add(name)
    assert {"kafka_config.yaml", "s3_config.yaml", "operator_config.yaml"} <= seen


def _csv(path: Path) -> Path | None:
    """What `--data` names, where train.yaml itself names no data."""
    return None if "sklearn" in path.read_text(encoding="utf-8") else path.with_suffix(".csv")


def test_the_parts_are_told_of_kafka_what_the_values_say(render: Render, tmp_path: Path) -> None:
    file = tmp_path / "kafka_config.yaml"
    objects = render(CI / "sasl-scram-values.yaml")
    maps = [o for o in of_kind(objects, "ConfigMap") if "kafka_config.yaml" in o["data"]]
    assert {found["metadata"]["namespace"] for found in maps} == {"ml", "wines", "beers"}
    assert len({found["data"]["kafka_config.yaml"] for found in maps}) == 1
    file.write_text(maps[0]["data"]["kafka_config.yaml"], encoding="utf-8")
    params = load_kafka_params(file, {})
    assert params.broker.security_protocol == "SASL_SSL"
    assert params.broker.sasl_mechanism == "SCRAM-SHA-512"
    assert params.broker.username == "rollcast"
    assert str(params.broker.password_file) == "/etc/rollcast/kafka-secret/password"
    assert str(params.broker.ssl_ca_file) == "/etc/rollcast/kafka-ca/ca.crt"
    assert params.broker.properties == {"socket.keepalive.enable": True}
    assert params.consumer.auto_offset_reset == "latest"
    assert params.topics.full("requests") == "shop-orders"
    assert params.topics.full("train") == "shop-train"


def test_without_the_two_that_must_be_given_it_says_which(helm: Helm) -> None:
    with pytest.raises(HelmFailed, match=r"kafka\.servers is missing"):
        helm.template(CHART)
    with pytest.raises(HelmFailed, match=r"s3\.bucket is missing"):
        helm.template(CHART, settings={"kafka.servers": "kafka:9092"})


def test_it_can_be_packaged(helm: Helm, tmp_path: Path) -> None:
    helm.run("package", str(CHART), "--destination", str(tmp_path))
    (package,) = tmp_path.iterdir()
    assert helm.template(package, values=[DEV]) == helm.template(CHART, values=[DEV])


def test_names_are_no_longer_than_kubernetes_allows(helm: Helm) -> None:
    objects = helm.template(CHART, values=[CI / "sasl-scram-values.yaml"], release="r" * 53)
    assert all(len(found["metadata"]["name"]) <= 63 for found in objects if found["kind"] != "CustomResourceDefinition")
    for found in objects:
        assert all(len(value) <= 63 for value in found["metadata"]["labels"].values())


def test_a_trainer_whose_name_is_too_long_is_refused(helm: Helm) -> None:
    with pytest.raises(HelmFailed, match="a CronJob's name may have 52 characters"):
        helm.template(CHART, values=[DEV], release="r" * 53)


def test_the_schema_names_every_value_and_no_other() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    assert _paths_of_schema(schema, schema, "") - {"global"} == _paths_of_values(values, schema, schema, "")


def _resolved(part: Json, schema: Json) -> Json:
    found: Json = schema["$defs"][part["$ref"].removeprefix("#/$defs/")] if "$ref" in part else part
    return found


def _paths_of_schema(part: Json, schema: Json, path: str) -> set[str]:
    properties = _resolved(part, schema).get("properties")
    if not properties or path.endswith(("resources", ".template")):
        return {path}
    return {
        found
        for name, inner in properties.items()
        for found in _paths_of_schema(inner, schema, f"{path}.{name}".lstrip("."))
    }


def _paths_of_values(values: Any, part: Json, schema: Json, path: str) -> set[str]:
    properties = _resolved(part, schema).get("properties")
    if not properties or path.endswith(("resources", ".template")):
        return {path}
    return {
        found
        for name, inner in values.items()
        for found in _paths_of_values(inner, properties[name], schema, f"{path}.{name}".lstrip("."))
    }
