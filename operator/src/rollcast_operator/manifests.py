"""From a workload to the objects that run it. Pure: the same workload gives the same objects."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rollcast_common.identity import ModelIdentity
from rollcast_common.kafka import KafkaParams
from rollcast_operator.kinds import (
    APPLIED_ANNOTATION,
    COMPONENT_LABEL,
    CONFIG_MAP,
    DISRUPTION_BUDGET,
    INSTALLATION_LABEL,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    MODEL_LABEL,
    SCALED_OBJECT,
    SERVICE,
    SERVICE_ACCOUNT,
    STATEFUL_SET,
)
from rollcast_operator.kube import Kind
from rollcast_operator.settings import SlotSettings
from rollcast_rollout.answer import Workload
from rollcast_rollout.model_version import Autoscaling

__all__ = ["Manifest", "labels_of", "manifests", "slots_name", "workload_name"]

Json = dict[str, Any]

_COMPONENT = "predictor"
_CACHE = "/var/cache/rollcast"
_ETC = "/etc/rollcast"
_POD_INDEX = "apps.kubernetes.io/pod-index"


@dataclass(frozen=True, slots=True)
class Manifest:
    kind: Kind
    body: Json

    @property
    def name(self) -> str:
        name: str = self.body["metadata"]["name"]
        return name

    @property
    def digest(self) -> str:
        digest: str = self.body["metadata"]["annotations"][APPLIED_ANNOTATION]
        return digest


def workload_name(model: str) -> str:
    """At most 49 characters: with a pod's ordinal and a revision's hash it still is a label."""
    return f"rollcast-{model}"


def slots_name(model: str) -> str:
    """Of the ConfigMap with the slots' settings; `workload_name` is that of the record."""
    return f"rollcast-{model}-slots"


def labels_of(identity: ModelIdentity, component: str = _COMPONENT) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "rollcast",
        COMPONENT_LABEL: component,
        MANAGED_BY_LABEL: MANAGED_BY,
        INSTALLATION_LABEL: identity.installation,
        MODEL_LABEL: identity.model,
    }


def _selector(identity: ModelIdentity) -> dict[str, str]:
    """What a StatefulSet can never change."""
    return {
        COMPONENT_LABEL: _COMPONENT,
        INSTALLATION_LABEL: identity.installation,
        MODEL_LABEL: identity.model,
    }


def manifests(
    workload: Workload,
    identity: ModelIdentity,
    settings: SlotSettings,
    kafka: KafkaParams,
    *,
    allow_pickle: bool,
    replicas: int | None,
) -> list[Manifest]:
    """In the order in which they are applied. `replicas` is None where an autoscaler decides."""
    variables = _variables(workload, identity, settings, allow_pickle=allow_pickle)
    found: list[tuple[Kind, Json]] = []
    account = workload.serving.service_account_name or settings.service_account_name
    name = workload_name(identity.model)
    if account is None:
        account = name
        found.append((SERVICE_ACCOUNT, {"metadata": {"name": name}, "automountServiceAccountToken": False}))
    found += [
        (CONFIG_MAP, {"metadata": {"name": slots_name(identity.model)}, "data": variables}),
        (SERVICE, {"metadata": {"name": name}, "spec": _service(identity, settings)}),
        (DISRUPTION_BUDGET, {"metadata": {"name": name}, "spec": _budget(identity)}),
        (STATEFUL_SET, _stateful_set(workload, identity, settings, variables, account=account, replicas=replicas)),
    ]
    scaling = workload.serving.autoscaling
    if replicas is None and scaling is not None:
        spec = _scaled(identity, settings, kafka, variables, scaling)
        found.append((SCALED_OBJECT, {"metadata": {"name": name}, "spec": spec}))
    return [_marked(kind, body, identity) for kind, body in found]


def _marked(kind: Kind, body: Json, identity: ModelIdentity) -> Manifest:
    meta = {**body["metadata"], "namespace": identity.namespace, "labels": labels_of(identity)}
    body = {"apiVersion": kind.group_version, "kind": kind.name, **body, "metadata": meta}
    meta["annotations"] = {APPLIED_ANNOTATION: _digest(body)}
    return Manifest(kind, body)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def _variables(
    workload: Workload, identity: ModelIdentity, settings: SlotSettings, *, allow_pickle: bool
) -> dict[str, str]:
    own = {
        "ROLLCAST_MODEL": identity.model,
        "ROLLCAST_INSTALLATION": identity.installation,
        "ROLLCAST_NAMESPACE": identity.namespace,
        "ROLLCAST_TOPIC_REQUESTS": workload.serving.input_topic,
        "ROLLCAST_TOPIC_APP_MESSAGES": workload.serving.output_topic,
        "ROLLCAST_ALLOW_PICKLE": str(allow_pickle).lower(),
        "ROLLCAST_CACHE_DIR": _CACHE,
        "ROLLCAST_METRICS_HOST": "0.0.0.0",  # noqa: S104  # of a pod: its probes come from outside
        "ROLLCAST_METRICS_PORT": str(settings.metrics_port),
    }
    if settings.kafka_config_map is not None:
        own["ROLLCAST_KAFKA_CONFIG"] = f"{_ETC}/kafka/kafka_config.yaml"
    if settings.s3_config_map is not None:
        own["ROLLCAST_S3_CONFIG"] = f"{_ETC}/s3/s3_config.yaml"
    return {**settings.env, **own}


def _service(identity: ModelIdentity, settings: SlotSettings) -> Json:
    return {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": _selector(identity),
        "ports": [{"name": "metrics", "port": settings.metrics_port, "targetPort": "metrics"}],
    }


def _budget(identity: ModelIdentity) -> Json:
    return {
        "maxUnavailable": 1,
        "selector": {"matchLabels": _selector(identity)},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }


def _stateful_set(
    workload: Workload,
    identity: ModelIdentity,
    settings: SlotSettings,
    variables: Mapping[str, str],
    *,
    account: str,
    replicas: int | None,
) -> Json:
    pod_annotations = {**settings.pod_annotations, "rollcast.dev/settings": _digest(variables)}
    spec: Json = {
        "serviceName": workload_name(identity.model),
        # A slot waits for no other: which partitions it gets is Kafka's matter.
        "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "RollingUpdate"},
        "selector": {"matchLabels": _selector(identity)},
        "template": {
            "metadata": {"labels": {**settings.pod_labels, **labels_of(identity)}, "annotations": pod_annotations},
            "spec": _pod(workload, identity, settings, account=account),
        },
    }
    if replicas is not None:
        spec["replicas"] = replicas
    return {"metadata": {"name": workload_name(identity.model)}, "spec": spec}


def _pod(workload: Workload, identity: ModelIdentity, settings: SlotSettings, *, account: str) -> Json:
    volumes, mounts = _volumes(settings)
    security: Json = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    if settings.run_as_user is not None:
        security |= {"runAsUser": settings.run_as_user, "runAsGroup": settings.run_as_user}
        security["fsGroup"] = settings.run_as_user
    spec: Json = {
        "serviceAccountName": account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": security,
        "terminationGracePeriodSeconds": settings.termination_grace_seconds,
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": _selector(identity)},
            }
        ],
        "containers": [_container(workload, identity, settings, mounts)],
        "volumes": volumes,
    }
    if settings.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    if settings.node_selector:
        spec["nodeSelector"] = settings.node_selector
    if settings.tolerations:
        spec["tolerations"] = list(settings.tolerations)
    if settings.priority_class_name is not None:
        spec["priorityClassName"] = settings.priority_class_name
    return spec


def _container(workload: Workload, identity: ModelIdentity, settings: SlotSettings, mounts: list[Json]) -> Json:
    # Of two that name the same variable the last one counts: what the operator decides stands.
    sources: list[Json] = [{"configMapRef": {"name": name}} for name in settings.env_from_config_maps]
    sources += [{"secretRef": {"name": name}} for name in settings.env_from_secrets]
    sources.append({"configMapRef": {"name": slots_name(identity.model)}})
    return {
        "name": "predictor",
        "image": workload.serving.image or settings.image,
        "imagePullPolicy": settings.image_pull_policy,
        "args": ["run"],
        "envFrom": sources,
        "env": [
            {"name": "ROLLCAST_ORDINAL", "valueFrom": {"fieldRef": {"fieldPath": f"metadata.labels['{_POD_INDEX}']"}}}
        ],
        "ports": [{"name": "metrics", "containerPort": settings.metrics_port}],
        "resources": dict(workload.serving.resources) or settings.resources,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        # Starting is looking for Kafka; a slot without a model is alive and not ready.
        "startupProbe": _probe("/healthz", period=2, failures=60),
        "livenessProbe": _probe("/healthz", period=10, failures=6),
        "readinessProbe": _probe("/readyz", period=2, failures=3),
        "volumeMounts": mounts,
    }


def _probe(path: str, *, period: int, failures: int) -> Json:
    return {
        "httpGet": {"path": path, "port": "metrics"},
        "periodSeconds": period,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    }


def _volumes(settings: SlotSettings) -> tuple[list[Json], list[Json]]:
    volumes: list[Json] = [
        {"name": "tmp", "emptyDir": {}},
        {"name": "cache", "emptyDir": {"sizeLimit": settings.cache_size}},
    ]
    mounts: list[Json] = [{"name": "tmp", "mountPath": "/tmp"}, {"name": "cache", "mountPath": _CACHE}]  # noqa: S108  # of the pod's own
    for name, source in (
        ("kafka", {"configMap": {"name": settings.kafka_config_map}} if settings.kafka_config_map else None),
        ("kafka-secret", {"secret": {"secretName": settings.kafka_secret}} if settings.kafka_secret else None),
        ("s3", {"configMap": {"name": settings.s3_config_map}} if settings.s3_config_map else None),
    ):
        if source is not None:
            volumes.append({"name": name, **source})
            mounts.append({"name": name, "mountPath": f"{_ETC}/{name}", "readOnly": True})
    return volumes + list(settings.volumes), mounts + list(settings.volume_mounts)


def _scaled(
    identity: ModelIdentity,
    settings: SlotSettings,
    kafka: KafkaParams,
    variables: Mapping[str, str],
    scaling: Autoscaling,
) -> Json:
    """One slot at a time, and slowly: each that goes leaves its partitions without an owner for a session timeout."""
    prefix = variables.get("ROLLCAST_TOPIC_PREFIX", kafka.topics.prefix)
    trigger: Json = {
        "type": "kafka",
        "metadata": {
            "bootstrapServers": kafka.broker.servers,
            "consumerGroup": variables.get("ROLLCAST_KAFKA_GROUP_ID", identity.consumer_group),
            "topic": prefix + variables["ROLLCAST_TOPIC_REQUESTS"],
            "lagThreshold": str(scaling.lag_threshold),
            "offsetResetPolicy": "earliest",
            **settings.keda_trigger,
        },
    }
    if settings.keda_authentication is not None:
        trigger["authenticationRef"] = {"name": settings.keda_authentication}
    return {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": workload_name(identity.model)},
        "minReplicaCount": scaling.min,
        "maxReplicaCount": scaling.max,
        "pollingInterval": 15,
        "advanced": {
            "horizontalPodAutoscalerConfig": {
                "behavior": {
                    "scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]},
                    "scaleDown": {
                        "stabilizationWindowSeconds": 300,
                        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 120}],
                    },
                }
            }
        },
        "triggers": [trigger],
    }
