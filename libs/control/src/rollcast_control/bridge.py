"""From what a trainer announces to a ModelVersion, so that nobody has to write one for every training."""

import re
from collections.abc import Mapping
from typing import Any

from rollcast_common.artifacts import parse_uri
from rollcast_common.contracts import ModelTrained
from rollcast_rollout.schema import API_VERSION, KIND

__all__ = ["BRIDGE_LABEL", "model_version_for", "name_for"]

BRIDGE_LABEL = "rollcast.dev/announced"
"""On every ModelVersion that was made of an announcement: only these are cleaned up by `revisionHistoryLimit`."""

_LONGEST_NAME = 253


def name_for(model: str, version: str) -> str:
    """A name that the API server takes: the same announcement gets the same one."""
    name = re.sub(r"[^a-z0-9.-]+", "-", f"{model}-{version}".lower()).strip("-.")
    return re.sub(r"[-.]*\.[-.]*", ".", name)[:_LONGEST_NAME].strip("-.")


def model_version_for(
    event: ModelTrained, *, bucket: str, namespace: str, template: Mapping[str, Any]
) -> dict[str, Any]:
    """`template` is the rest of the spec: `serving` and `rollout`. A bare key lies in `bucket`.

    Raises ConfigError when the event's uri is none.
    """
    artifact: dict[str, Any] = {"uri": parse_uri(event.uri, bucket).uri, "format": event.format}
    if event.sha256 is not None:
        artifact["sha256"] = event.sha256
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": name_for(event.model, event.version),
            "namespace": namespace,
            "labels": {BRIDGE_LABEL: "true"},
        },
        "spec": {**template, "model": event.model, "version": event.version, "artifact": artifact},
    }
