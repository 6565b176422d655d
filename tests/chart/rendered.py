"""What the chart renders, and how a test finds its way in it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = ["CHART", "CI", "DEV", "FILES", "ROOT", "containers", "named", "of_kind", "pods"]

Json = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "rollcast"
CI = CHART / "ci"
DEV = CHART / "values-dev.yaml"
FILES = [DEV, *sorted(CI.glob("*-values.yaml"))]
"""Values files that together use every switch of the chart."""


def of_kind(objects: Sequence[Json], kind: str) -> list[Json]:
    return [found for found in objects if found["kind"] == kind]


def named(objects: Sequence[Json], kind: str, name: str, namespace: str | None = None) -> Json:
    """The one object of this name; fails where there are none or several."""
    (found,) = [
        found
        for found in of_kind(objects, kind)
        if found["metadata"]["name"] == name and namespace in (None, found["metadata"].get("namespace"))
    ]
    return found


def pods(objects: Sequence[Json]) -> Iterator[tuple[Json, Json]]:
    """Every object that brings pods, and each pod as {metadata, spec}."""
    for found in objects:
        spec = found.get("spec", {})
        if found["kind"] == "Pod":
            yield found, {"metadata": found["metadata"], "spec": spec}
        elif found["kind"] == "CronJob":
            yield found, spec["jobTemplate"]["spec"]["template"]
        elif found["kind"] in ("Deployment", "StatefulSet", "Job"):
            yield found, spec["template"]


def containers(pod: Json) -> list[Json]:
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]
