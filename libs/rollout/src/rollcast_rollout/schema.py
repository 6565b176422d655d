"""The ModelVersion resource as its CustomResourceDefinition describes it; the chart ships the same file."""

from functools import cache
from importlib.resources import files
from typing import Any

from rollcast_common.config import load_yaml_documents

__all__ = ["API_VERSION", "KIND", "crd", "crd_text", "open_api_schema"]

API_VERSION = "rollcast.dev/v1alpha1"
KIND = "ModelVersion"

_FILE = files("rollcast_rollout") / "crd" / "modelversion.yaml"


def crd_text() -> str:
    """The definition as it is written, for `kubectl apply`."""
    return _FILE.read_text(encoding="utf-8")


@cache
def crd() -> dict[str, Any]:
    """The definition. Everybody gets the same one: do not change it."""
    (document,) = load_yaml_documents(crd_text(), source=str(_FILE))
    definition: dict[str, Any] = document.value
    return definition


def open_api_schema() -> dict[str, Any]:
    """The structural schema of API_VERSION."""
    (version,) = (version for version in crd()["spec"]["versions"] if API_VERSION.endswith(f"/{version['name']}"))
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return schema
