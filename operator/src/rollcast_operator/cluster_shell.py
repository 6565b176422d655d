"""The shell of the rollout brain on a cluster: one model's ModelVersions, its record, its slots."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog

from rollcast_common.identity import ModelIdentity
from rollcast_control.shell import ShellUnavailable
from rollcast_operator.kinds import EVENT, FINALIZER, MODEL_LABEL, MODEL_VERSION, VERSION_ANNOTATION
from rollcast_operator.kube import Gone, Kube, Refused
from rollcast_operator.records import RecordMap
from rollcast_operator.resource_cache import CachedVersion, ResourceCache
from rollcast_operator.workloads import Slots
from rollcast_rollout.answer import Event, Workload
from rollcast_rollout.model_version import ACTION_ANNOTATION, ModelVersion
from rollcast_rollout.record import Record
from rollcast_rollout.schema import API_VERSION, KIND

__all__ = ["ClusterShell"]

_log = structlog.get_logger()

_LONGEST_MESSAGE = 1024
_TRIES = 3
_REPORTER = "rollcast-operator"


class ClusterShell:
    """For the one thread that reconciles the model."""

    def __init__(
        self,
        kube: Kube,
        cache: ResourceCache,
        identity: ModelIdentity,
        slots: Slots,
        *,
        on_event: Callable[[Event], None] = lambda _: None,
    ) -> None:
        self._kube = kube
        self._cache = cache
        self._identity = identity
        self._records = RecordMap(kube, identity)
        self._slots = slots
        self._on_event = on_event
        self._place = (identity.namespace, identity.model)
        self._released: dict[str, CachedVersion] = {}
        """Whose finalizer was taken off, until they were said farewell."""

    # What is there.

    def model_versions(self) -> Sequence[ModelVersion]:
        """None is planned for before it waits for us when it is deleted."""
        for cached in self._cache.versions(self._place):
            if not cached.version.deleting:
                self._set_finalizer(cached.version.uid, wanted=True)
        return [cached.version for cached in self._cache.versions(self._place)]

    def read_record(self) -> Record | None:
        return self._records.read()

    def replicas(self) -> int | None:
        return self._slots.replicas()

    # What is done.

    def write_record(self, record: Record) -> None:
        self._records.write(record)

    def delete_record(self) -> None:
        self._records.delete()

    def apply_workload(self, workload: Workload | None) -> None:
        self._slots.apply(workload)

    def write_status(self, uid: str, status: Mapping[str, Any]) -> None:
        if (cached := self._cache.get(uid)) is not None:
            whole = {"op": "add", "path": "/status", "value": status}
            self._patch(cached, [_is_still(uid), whole], subresource="status")

    def take_off_action(self, uid: str) -> None:
        """Only the one that was obeyed: another may have been asked for meanwhile."""
        cached = self._cache.get(uid)
        if cached is None or cached.version.action is None:
            return
        path = "/metadata/annotations/" + ACTION_ANNOTATION.replace("~", "~0").replace("/", "~1")
        self._patch(
            cached,
            [
                _is_still(uid),
                {"op": "test", "path": path, "value": cached.version.action},
                {"op": "remove", "path": path},
            ],
        )

    def release(self, uid: str) -> None:
        if (before := self._cache.get(uid)) is not None:
            self._released[uid] = before
        self._set_finalizer(uid, wanted=False)
        cached = self._cache.get(uid)
        if cached is not None and cached.version.deleting and not cached.finalizers:
            self._cache.remove(uid)

    def _set_finalizer(self, uid: str, *, wanted: bool) -> None:
        """Over exactly what was read: the finalizers of others are not ours to lose."""
        for _ in range(_TRIES):
            cached = self._cache.get(uid)
            if cached is None or (FINALIZER in cached.finalizers) == wanted:
                return
            others = [name for name in cached.finalizers if name != FINALIZER]
            self._patch(
                cached,
                [
                    _is_still(uid),
                    {"op": "test", "path": "/metadata/resourceVersion", "value": str(cached.revision)},
                    {"op": "add", "path": "/metadata/finalizers", "value": [*others, FINALIZER] if wanted else others},
                ],
            )

    def post(self, event: Event) -> None:
        self._on_event(event)
        # Its farewell is posted when it may be gone already.
        released = self._released.pop(event.uid, None)
        cached = self._cache.get(event.uid) or released
        if cached is None:
            return
        version, now = cached.version, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{version.name[:230]}.{uuid.uuid4().hex[:16]}",
                "namespace": version.namespace,
                "labels": {MODEL_LABEL: version.model},
                "annotations": {VERSION_ANNOTATION: version.version},
            },
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": version.name,
                "namespace": version.namespace,
                "uid": version.uid,
                "resourceVersion": str(cached.revision),
            },
            "type": event.type,
            "reason": event.reason,
            "message": event.message[:_LONGEST_MESSAGE],
            "source": {"component": _REPORTER},
            "reportingComponent": _REPORTER,
            "reportingInstance": self._identity.installation,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            self._kube.create(EVENT, version.namespace, body)
        except (ShellUnavailable, Gone, Refused) as error:
            # It stands in our log; nothing is worth doing a turn again for a line in somebody else's.
            _log.warning("event not posted", model=str(self._identity), reason=event.reason, problem=str(error))

    def _patch(
        self, cached: CachedVersion, operations: list[dict[str, Any]], *, subresource: str | None = None
    ) -> None:
        """What the API server answers is what is known from now on."""
        version = cached.version
        try:
            written = self._kube.patch(
                MODEL_VERSION, version.namespace, version.name, operations, subresource=subresource
            )
        except Gone:
            self._cache.remove(version.uid)
            return
        except Refused as error:
            if "test" in str(error) and "failed" in str(error):
                # Something has changed that the watch will tell of.
                _log.info("written over by somebody else", model=str(self._identity), name=version.name)
                self._refresh(cached)
                return
            _log.error("a ModelVersion was not written", model=str(self._identity), problem=str(error))
            return
        self._cache.put(written)

    def _refresh(self, cached: CachedVersion) -> None:
        version = cached.version
        try:
            found = self._kube.get(MODEL_VERSION, version.namespace, version.name)
        except Gone:
            self._cache.remove(version.uid)
            return
        if found["metadata"]["uid"] != version.uid:
            self._cache.remove(version.uid)
        self._cache.put(found)


def _is_still(uid: str) -> dict[str, Any]:
    """A name may have been given to another object since."""
    return {"op": "test", "path": "/metadata/uid", "value": uid}
