"""What the brain remembers of a model, in a ConfigMap beside its slots."""

from rollcast_common.identity import ModelIdentity
from rollcast_control.shell import ShellUnavailable
from rollcast_operator.kinds import CONFIG_MAP
from rollcast_operator.kube import Conflict, Gone, Kube
from rollcast_operator.manifests import labels_of, workload_name
from rollcast_rollout.record import Record, decode_record, encode_record

__all__ = ["RECORD_COMPONENT", "RecordMap"]

RECORD_COMPONENT = "rollout-record"
_KEY = "record.json"


class RecordMap:
    """Written only over what was read: two operators that take each other for dead cannot both go on."""

    def __init__(self, kube: Kube, identity: ModelIdentity) -> None:
        self._kube = kube
        self._identity = identity
        self._name = workload_name(identity.model)
        self._revision: str | None = None

    def read(self) -> Record | None:
        try:
            found = self._kube.get(CONFIG_MAP, self._identity.namespace, self._name)
        except Gone:
            self._revision = None
            return None
        labels = found["metadata"].get("labels") or {}
        wanted = labels_of(self._identity, RECORD_COMPONENT)
        if any(labels.get(name) != value for name, value in wanted.items()):
            raise ShellUnavailable(
                f"ConfigMap {self._identity.namespace}/{self._name} is not of installation "
                f"{self._identity.installation!r}: two installations cannot serve models of one name in one namespace"
            )
        self._revision = found["metadata"]["resourceVersion"]
        text = (found.get("data") or {}).get(_KEY)
        return decode_record(text.encode()) if text else None

    def write(self, record: Record) -> None:
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": self._name,
                "namespace": self._identity.namespace,
                "labels": labels_of(self._identity, RECORD_COMPONENT),
            },
            "data": {_KEY: encode_record(record).decode()},
        }
        if self._revision is None:
            written = self._kube.create(CONFIG_MAP, self._identity.namespace, body)
        else:
            body["metadata"]["resourceVersion"] = self._revision  # type: ignore[index]  # it is a mapping
            try:
                written = self._kube.replace(CONFIG_MAP, self._identity.namespace, self._name, body)
            except Gone as error:
                raise Conflict(str(error)) from None
        self._revision = written["metadata"]["resourceVersion"]

    def delete(self) -> None:
        self._kube.delete(CONFIG_MAP, self._identity.namespace, self._name)
        self._revision = None
