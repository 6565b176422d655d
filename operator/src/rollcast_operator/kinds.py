"""The kinds of objects that the operator reads and writes, and the marks that it puts on them."""

from rollcast_operator.kube import Kind

__all__ = [
    "APPLIED_ANNOTATION",
    "COMPONENT_LABEL",
    "CONFIG_MAP",
    "DEPLOYMENT",
    "DISRUPTION_BUDGET",
    "EVENT",
    "FINALIZER",
    "INSTALLATION_LABEL",
    "KOPF_FINALIZER",
    "MANAGED_BY",
    "MANAGED_BY_LABEL",
    "MODEL_LABEL",
    "MODEL_VERSION",
    "NETWORK_POLICY",
    "POD",
    "SCALED_OBJECT",
    "SECRET",
    "SERVICE",
    "SERVICE_ACCOUNT",
    "STATEFUL_SET",
    "TRIGGER_AUTHENTICATION",
    "VERSION_ANNOTATION",
]

MODEL_VERSION = Kind("rollcast.dev/v1alpha1", "ModelVersion", "modelversions")
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
SECRET = Kind("v1", "Secret", "secrets")
EVENT = Kind("v1", "Event", "events")
SERVICE = Kind("v1", "Service", "services")
SERVICE_ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts")
POD = Kind("v1", "Pod", "pods")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
STATEFUL_SET = Kind("apps/v1", "StatefulSet", "statefulsets")
DISRUPTION_BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
NETWORK_POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
SCALED_OBJECT = Kind("keda.sh/v1alpha1", "ScaledObject", "scaledobjects")
TRIGGER_AUTHENTICATION = Kind("keda.sh/v1alpha1", "TriggerAuthentication", "triggerauthentications")

FINALIZER = "rollcast.dev/finalizer"
KOPF_FINALIZER = "rollcast.dev/kopf"
"""kopf's own, by the name that it is given here."""

INSTALLATION_LABEL = "rollcast.dev/installation"
MODEL_LABEL = "rollcast.dev/model"
VERSION_ANNOTATION = "rollcast.dev/version"
"""On events: a deleted ModelVersion can no longer be asked which version it was."""
COMPONENT_LABEL = "app.kubernetes.io/component"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "rollcast-operator"

APPLIED_ANNOTATION = "rollcast.dev/applied"
"""A digest of what was applied: what has the same one need not be applied again."""
