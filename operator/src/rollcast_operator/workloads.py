"""Runs a model's slots: applies what has changed, and removes what is not wanted any more."""

import time
from collections.abc import Callable

import structlog

from rollcast_common.identity import ModelIdentity
from rollcast_common.kafka import KafkaParams
from rollcast_control.shell import ShellUnavailable
from rollcast_operator.kinds import (
    APPLIED_ANNOTATION,
    CONFIG_MAP,
    DISRUPTION_BUDGET,
    SCALED_OBJECT,
    SERVICE,
    SERVICE_ACCOUNT,
    STATEFUL_SET,
)
from rollcast_operator.kube import Gone, Kind, Kube, Refused
from rollcast_operator.manifests import Manifest, labels_of, manifests
from rollcast_operator.resource_cache import ResourceCache
from rollcast_operator.settings import OperatorSettings
from rollcast_rollout.answer import Workload

__all__ = ["Slots"]

_log = structlog.get_logger()

_LOOK_AGAIN_SECONDS = 300.0
"""Only StatefulSets are watched; that somebody has removed a Service is found so late."""

_KINDS = (STATEFUL_SET, SERVICE, DISRUPTION_BUDGET, CONFIG_MAP, SERVICE_ACCOUNT)


class Slots:
    """Of one model."""

    def __init__(
        self,
        kube: Kube,
        cache: ResourceCache,
        identity: ModelIdentity,
        settings: OperatorSettings,
        kafka: KafkaParams,
        *,
        has_keda: Callable[[], bool],
        on_refused: Callable[[str], None],
    ) -> None:
        """`on_refused` hears, once for each text, why the API server does not take what is wanted."""
        self._kube = kube
        self._cache = cache
        self._identity = identity
        self._settings = settings
        self._kafka = kafka
        self._has_keda = has_keda
        self._on_refused = on_refused
        self._place = (identity.namespace, identity.model)
        self._done: tuple[str, ...] | None = None
        """Digests of what was applied last; empty when all was removed."""
        self._looked_at = 0.0
        self._refused: str | None = None

    def replicas(self) -> int | None:
        found = self._cache.stateful_set(self._place)
        return found.replicas if found is not None and found.digest is not None else None

    def apply(self, workload: Workload | None) -> None:
        if workload is None:
            self._remove()
            return
        scaling = workload.serving.autoscaling
        replicas = workload.replicas
        if replicas is None and scaling is not None and not self._has_keda():
            replicas = scaling.min
        wanted = manifests(
            workload,
            self._identity,
            self._settings.slots,
            self._kafka,
            allow_pickle=self._settings.allow_pickle,
            replicas=replicas,
        )
        digests = tuple(manifest.digest for manifest in wanted)
        if self._is_done(digests, wanted, replicas):
            return
        try:
            self._apply(wanted, replicas)
        except Refused as error:
            if self._refused != str(error):
                self._refused = str(error)
                self._on_refused(str(error))
        else:
            self._refused = None
        # Also what was refused: asked the same again, the API server gives the same answer.
        self._done, self._looked_at = digests, time.monotonic()

    def _is_done(self, digests: tuple[str, ...], wanted: list[Manifest], replicas: int | None) -> bool:
        if self._done != digests or time.monotonic() - self._looked_at > _LOOK_AGAIN_SECONDS:
            return False
        if self._refused is not None:
            return True
        found = self._cache.stateful_set(self._place)
        (stateful_set,) = (manifest for manifest in wanted if manifest.kind is STATEFUL_SET)
        return (
            found is not None
            and found.digest == stateful_set.digest
            and (replicas is None or found.replicas == replicas)
        )

    def _apply(self, wanted: list[Manifest], replicas: int | None) -> None:
        for manifest in wanted:
            self._apply_one(manifest, replicas)
        if self._has_keda() and not any(manifest.kind is SCALED_OBJECT for manifest in wanted):
            self._delete_all(SCALED_OBJECT)
        if not any(manifest.kind is SERVICE_ACCOUNT for manifest in wanted):
            self._delete_all(SERVICE_ACCOUNT)

    def _apply_one(self, manifest: Manifest, replicas: int | None) -> None:
        kind, namespace = manifest.kind, self._identity.namespace
        try:
            found = self._kube.get(kind, namespace, manifest.name)
        except Gone:
            found = None
        is_set = kind is STATEFUL_SET
        if found is not None and "deletionTimestamp" in found["metadata"]:
            # What is on its way out takes nothing in. Of a StatefulSet the watch tells when it is gone.
            return
        if found is not None:
            applied = (found["metadata"].get("annotations") or {}).get(APPLIED_ANNOTATION)
            counts = not is_set or replicas is None or found["spec"].get("replicas") == replicas
            if applied == manifest.digest and counts:
                if is_set:
                    self._cache.put_set(found)
                return
            if is_set and replicas is None:
                self._hand_over_replicas(manifest, found["spec"].get("replicas", 1))
        try:
            written = self._kube.apply(kind, namespace, manifest.body)
        except Gone as error:
            if kind is not SCALED_OBJECT:  # the namespace ends
                raise ShellUnavailable(str(error)) from None
            # KEDA was removed. When that is known, something else is wanted; until then the slots stay as many.
            _log.warning("slots are not scaled: KEDA has gone", model=str(self._identity), problem=str(error))
            return
        _log.info("applied", model=str(self._identity), kind=kind.name, name=manifest.name)
        if is_set:
            self._cache.put_set(written)

    def _hand_over_replicas(self, manifest: Manifest, replicas: int) -> None:
        """A field that its only owner leaves out of what it applies is reset, here to one slot. So for the time until
        an autoscaler takes it, it belongs to another owner.
        """
        body = {
            "apiVersion": manifest.kind.group_version,
            "kind": manifest.kind.name,
            "metadata": {"name": manifest.name, "namespace": self._identity.namespace},
            "spec": {"replicas": replicas},
        }
        self._kube.apply(manifest.kind, self._identity.namespace, body, manager="rollcast-autoscaler")

    def _remove(self) -> None:
        if self._done == () and self._cache.stateful_set(self._place) is None:
            return
        for kind in _KINDS:
            self._delete_all(kind)
        if self._has_keda():
            self._delete_all(SCALED_OBJECT)
        self._cache.forget_set(self._place)
        self._done, self._refused = (), None

    def _delete_all(self, kind: Kind) -> None:
        try:
            present = list(self._kube.list_all(kind, self._identity.namespace, labels=labels_of(self._identity)))
        except Gone:  # the kind is not known any more, such as after KEDA was removed: there is none of it
            return
        for found in present:
            if "deletionTimestamp" not in found["metadata"]:
                self._kube.delete(kind, self._identity.namespace, found["metadata"]["name"])
                _log.info("removed", model=str(self._identity), kind=kind.name, name=found["metadata"]["name"])
