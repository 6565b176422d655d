"""What the chart holds of others' is what they say now."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from tests.chart.conftest import Render
from tests.chart.rendered import CI, ROOT, named

Json = dict[str, Any]

_RBAC = ROOT / "operator" / "src" / "rollcast_operator" / "rbac"
_CRD = ROOT / "libs" / "rollout" / "src" / "rollcast_rollout" / "crd" / "modelversion.yaml"


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("copy_sources", ROOT / "charts" / "copy_sources.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("copy", _script().COPIES, ids=lambda path: path.name)
def test_a_copy_is_what_it_is_copied_from(copy: Path) -> None:
    source = _script().COPIES[copy]
    assert copy.read_bytes() == source.read_bytes(), f"{copy.name} is out of date: run `python charts/copy_sources.py`"


def test_nothing_else_is_in_the_folders_of_copies() -> None:
    copies = set(_script().COPIES)
    assert {path for copy in copies for path in copy.parent.iterdir()} == copies


def test_the_definition_is_the_one_that_the_code_has(render: Render) -> None:
    definition = named(render(CI / "minimal-values.yaml"), "CustomResourceDefinition", "modelversions.rollcast.dev")
    assert definition["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    del definition["metadata"]["labels"]
    assert definition == _read(_CRD)


@pytest.mark.parametrize(
    ("values", "kind", "name", "namespace", "file"),
    [
        ("minimal", "Role", "rollcast-operator", "ml", "role.yaml"),
        ("sasl-scram", "Role", "rollcast-operator", "wines", "role.yaml"),
        ("sasl-scram", "Role", "rollcast-operator", "beers", "role.yaml"),
        ("cluster-wide", "ClusterRole", "ml-rollcast-operator", None, "cluster-role.yaml"),
        ("minimal", "Role", "rollcast-operator-bridge", "ml", "bridge-role.yaml"),
        ("cluster-wide", "Role", "rollcast-operator-bridge", "beers", "bridge-role.yaml"),
    ],
)
def test_the_operator_gets_the_rights_that_it_says_it_needs(
    render: Render, values: str, kind: str, name: str, namespace: str | None, file: str
) -> None:
    objects = render(CI / f"{values}-values.yaml")
    role = named(objects, kind, name, namespace)
    assert role["rules"] == _read(_RBAC / file)["rules"]
    binding = named(objects, f"{kind}Binding", name, namespace)
    assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) == (kind, name)
    operator = named(objects, "Deployment", "rollcast-operator")["spec"]["template"]["spec"]
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": operator["serviceAccountName"], "namespace": "ml"}
    ]


def test_it_gets_no_other_rights(render: Render) -> None:
    for values in CI.glob("*-values.yaml"):
        operator = [
            found["metadata"]["name"]
            for found in render(values)
            if found["kind"].endswith("Role") and "retire" not in found["metadata"]["name"]
        ]
        assert set(operator) <= {
            "rollcast-operator",
            "rollcast-operator-bridge",
            "ml-rollcast-operator",
            "rc-operator",
            "rc-operator-bridge",
        }
