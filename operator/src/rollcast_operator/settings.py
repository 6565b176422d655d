"""All that the operator can be told, in one frozen place."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from rollcast_common.config import Settings, load_yaml
from rollcast_common.errors import ConfigError
from rollcast_rollout.schema import API_VERSION, KIND
from rollcast_rollout.validation import validate

__all__ = ["BridgeSettings", "OperatorConfig", "OperatorSettings", "SlotSettings", "load_operator_config"]


class SlotSettings(Settings):
    """What every predictor pod gets, whatever its ModelVersion says. Names are of objects in the model's namespace."""

    image: str = Field(min_length=1)
    """The predictor image. A ModelVersion's own `serving.image` goes before it."""

    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()

    kafka_config_map: str | None = None
    """A ConfigMap with the key `kafka_config.yaml`."""

    kafka_secret: str | None = None
    """A Secret whose keys are files in /etc/rollcast/kafka-secret: passwords, certificates."""

    s3_config_map: str | None = None
    """A ConfigMap with the key `s3_config.yaml`."""

    env_from_secrets: tuple[str, ...] = ()
    """Secrets whose keys become variables, such as ROLLCAST_KAFKA_PASSWORD."""

    env_from_config_maps: tuple[str, ...] = ()

    env: dict[str, str] = Field(default_factory=dict)
    """More variables, such as ROLLCAST_BATCH_ROWS. What the operator itself decides cannot be set."""

    service_account_name: str | None = None
    """None: each model gets a ServiceAccount of its own, without rights."""

    resources: dict[str, Any] = Field(default_factory=dict)
    """Where a ModelVersion asks for none."""

    run_as_user: int | None = None
    """None: the image's own user, which must not be root."""

    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: tuple[dict[str, Any], ...] = ()
    priority_class_name: str | None = None
    pod_labels: dict[str, str] = Field(default_factory=dict)
    pod_annotations: dict[str, str] = Field(default_factory=dict)

    volumes: tuple[dict[str, Any], ...] = ()
    """More of a pod's volumes, such as a CA or the key that models are verified with."""

    volume_mounts: tuple[dict[str, Any], ...] = ()
    """Where the predictor's container finds them."""

    termination_grace_seconds: int = Field(default=60, ge=1)
    """How long a slot may take to commit what it has begun."""

    metrics_port: int = Field(default=9108, ge=1, le=65535)
    cache_size: str = "4Gi"
    """The most that model files may take on a slot's disk."""

    keda_authentication: str | None = None
    """A TriggerAuthentication of KEDA's, where Kafka wants credentials."""

    keda_trigger: dict[str, str] = Field(default_factory=dict)
    """More metadata for KEDA's Kafka trigger, such as `tls: enable`."""


class BridgeSettings(Settings):
    """Makes a ModelVersion of each model that a trainer announces on topic `train`. Off where it is left out."""

    namespace: str
    models: tuple[str, ...] = ()
    """Only these; none named means all."""

    default_model: str = ""
    """Whose a bare path without a key is. Empty: such a record is passed over."""

    template: dict[str, Any] = Field(default_factory=dict)
    """`serving` and `rollout` of the ModelVersions that are made."""

    revision_history_limit: int = Field(default=10, ge=1)
    """How many announced ModelVersions of a model stay that are neither live nor on their way."""

    @model_validator(mode="after")
    def _template_is_one(self) -> Self:
        if unknown := sorted(self.template.keys() - {"serving", "rollout"}):
            raise ValueError(f"template holds {', '.join(unknown)}, may hold serving and rollout")
        example = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": "example"},
            "spec": {**self.template, "model": "example", "version": "1", "artifact": {"uri": "s3://bucket/key"}},
        }
        if problems := validate(example):
            raise ValueError(f"template: {'; '.join(map(str, problems))}")
        return self


class OperatorConfig(Settings):
    """All of `operator_config.yaml`."""

    slots: SlotSettings
    bridge: BridgeSettings | None = None


class OperatorSettings(Settings):
    installation: str = "rollcast"
    """Stands before every model's identity. Two operators on one Kafka need two."""

    namespaces: tuple[str, ...] = ()
    """Whose ModelVersions are looked after."""

    cluster_wide: bool = False
    """All namespaces; needs a ClusterRole."""

    slots: SlotSettings
    bridge: BridgeSettings | None = None

    allow_pickle: bool = False
    """Lets model files run code when slots load them."""

    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(default=9109, ge=0, le=65535)

    threads: int = Field(default=4, ge=1, le=64)
    """How many models are reconciled at the same time."""

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.cluster_wide == bool(self.namespaces):
            raise ValueError("name the namespaces to look after (--watch-namespace, repeatable), or --cluster-wide")
        if self.bridge is not None and not self.cluster_wide and self.bridge.namespace not in self.namespaces:
            raise ValueError(
                f"bridge.namespace was {self.bridge.namespace!r}, may be one that is looked after: "
                + ", ".join(self.namespaces)
            )
        return self

    def watches(self, namespace: str) -> bool:
        return self.cluster_wide or namespace in self.namespaces


def load_operator_config(path: Path | None, *, image: str | None) -> OperatorConfig:
    """`image` goes over the file's. Raises ConfigError."""
    values = load_yaml(path) if path is not None else {}
    if image is not None:
        slots = values.get("slots") or {}
        values = {**values, "slots": {**slots, "image": image} if isinstance(slots, dict) else slots}
    if not values:
        raise ConfigError(
            "the operator does not know which image predictors run: give --config operator_config.yaml with "
            "slots.image, or --predictor-image"
        )
    return OperatorConfig.from_mapping(values, source=str(path) if path is not None else "command line and environment")
