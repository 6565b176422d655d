"""A ModelVersion as the brain sees it: what somebody wants served, and how carefully."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rollcast_common.contracts import ArtifactFormat

__all__ = ["ACTION_ANNOTATION", "Abort", "Artifact", "Autoscaling", "ModelVersion", "Rollout", "Serving", "Step"]

ACTION_ANNOTATION = "rollcast.dev/action"
"""`promote`, `abort`, `retry`, `rollback`, `pause` or `resume`. A shell takes it off once the plan has obeyed it."""


@dataclass(frozen=True, slots=True)
class Artifact:
    uri: str
    sha256: str | None = None
    format: ArtifactFormat = "skops"


@dataclass(frozen=True, slots=True)
class Autoscaling:
    min: int
    max: int
    lag_threshold: int


@dataclass(frozen=True, slots=True)
class Serving:
    """How it is served. Topics must be those of the version that is live; all else follows the desired version."""

    input_topic: str = "requests"
    output_topic: str = "app_messages"
    replicas: int = 1
    autoscaling: Autoscaling | None = None
    resources: Mapping[str, Any] = field(default_factory=dict)
    image: str | None = None
    service_account_name: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    weight: float
    for_seconds: float = 0.0
    min_predictions: int = 0


@dataclass(frozen=True, slots=True)
class Abort:
    """None switches a criterion off."""

    error_ratio_above: float | None = 0.01
    cost_ratio_above: float | None = 2.0
    prediction_drift_above: float | None = 0.25
    live_error_ratio_above: float | None = 1.2


@dataclass(frozen=True, slots=True)
class Rollout:
    paused: bool = False
    shadow_seconds: float | None = 30.0
    """None: no shadow. A resource says so with 0."""

    steps: tuple[Step, ...] = (Step(5, 30, 500), Step(25, 30), Step(50, 60))
    abort: Abort = Abort()
    progress_deadline_seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class ModelVersion:
    uid: str
    name: str
    namespace: str
    generation: int
    created: float
    """Seconds since the epoch."""

    deleting: bool
    model: str
    version: str
    artifact: Artifact
    serving: Serving = Serving()
    rollout: Rollout = Rollout()
    action: str | None = None
    status: Mapping[str, Any] = field(default_factory=dict)
    """What the resource says now; conditions that do not change keep their time from it."""

    @classmethod
    def from_resource(cls, resource: Mapping[str, Any]) -> "ModelVersion":
        """From a resource that the schema accepts, its defaults filled in or not."""
        meta, spec = resource["metadata"], resource["spec"]
        return cls(
            uid=meta["uid"],
            name=meta["name"],
            namespace=meta.get("namespace", "default"),
            generation=meta.get("generation", 1),
            created=datetime.fromisoformat(meta["creationTimestamp"]).timestamp(),
            deleting="deletionTimestamp" in meta,
            model=spec["model"],
            version=spec["version"],
            artifact=Artifact(
                uri=spec["artifact"]["uri"],
                sha256=spec["artifact"].get("sha256"),
                format=spec["artifact"].get("format", "skops"),
            ),
            serving=_serving(spec.get("serving") or {}),
            rollout=_rollout(spec.get("rollout") or {}),
            action=(meta.get("annotations") or {}).get(ACTION_ANNOTATION),
            status=resource.get("status") or {},
        )


def _serving(spec: Mapping[str, Any]) -> Serving:
    scaling = spec.get("autoscaling")
    return Serving(
        input_topic=spec.get("inputTopic", "requests"),
        output_topic=spec.get("outputTopic", "app_messages"),
        replicas=spec.get("replicas", 1),
        autoscaling=Autoscaling(scaling.get("min", 1), scaling["max"], scaling.get("lagThreshold", 1000))
        if scaling
        else None,
        resources=spec.get("resources") or {},
        image=spec.get("image"),
        service_account_name=spec.get("serviceAccountName"),
    )


def _rollout(spec: Mapping[str, Any]) -> Rollout:
    default = Rollout()
    shadow = spec.get("shadow", {})
    abort = spec.get("abort") or {}
    return Rollout(
        paused=spec.get("paused", False),
        shadow_seconds=(shadow or {}).get("forSeconds", default.shadow_seconds) or None,
        steps=tuple(
            Step(step["weight"], step.get("forSeconds", 0.0), step.get("minPredictions", 0)) for step in spec["steps"]
        )
        if "steps" in spec
        else default.steps,
        abort=Abort(
            abort.get("errorRatioAbove", default.abort.error_ratio_above),
            abort.get("costRatioAbove", default.abort.cost_ratio_above),
            abort.get("predictionDriftAbove", default.abort.prediction_drift_above),
            abort.get("liveErrorRatioAbove", default.abort.live_error_ratio_above),
        ),
        progress_deadline_seconds=spec.get("progressDeadlineSeconds", default.progress_deadline_seconds),
    )
