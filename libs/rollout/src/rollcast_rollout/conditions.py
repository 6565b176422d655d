"""Conditions of a status. One that does not change keeps the time of its last transition."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rollcast_rollout.model_version import ModelVersion
from rollcast_rollout.timestamps import rfc3339

__all__ = ["Condition", "earlier", "shown_conditions"]


@dataclass(frozen=True, slots=True)
class Condition:
    type: Literal["Ready", "ArtifactVerified", "Available", "Progressing"]
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str


def shown_conditions(version: ModelVersion, conditions: list[Condition], now: float) -> list[dict[str, Any]]:
    before = earlier(version)
    return [
        {
            "type": condition.type,
            "status": condition.status,
            "reason": condition.reason,
            "message": condition.message,
            "observedGeneration": version.generation,
            "lastTransitionTime": _since(before.get(condition.type), condition.status) or rfc3339(now),
        }
        for condition in conditions
    ]


def earlier(version: ModelVersion) -> dict[str, Mapping[str, Any]]:
    """The conditions that the resource has now, by type."""
    found = version.status.get("conditions") or []
    return {condition["type"]: condition for condition in found if "type" in condition}


def _since(before: Mapping[str, Any] | None, status: str) -> str | None:
    if before is None or before.get("status") != status:
        return None
    since = before.get("lastTransitionTime")
    return since if isinstance(since, str) else None
