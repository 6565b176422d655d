"""The end of an installation: the operator goes, and nothing waits for it when it is deleted later."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any, Self

import structlog

from rollcast_common.errors import ConfigError, RollcastError
from rollcast_control.shell import ShellUnavailable
from rollcast_operator.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    FINALIZER,
    KOPF_FINALIZER,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    MODEL_VERSION,
    NETWORK_POLICY,
    POD,
    SECRET,
    STATEFUL_SET,
    TRIGGER_AUTHENTICATION,
)
from rollcast_operator.kube import Gone, Kind, Kube, Refused

__all__ = ["SlotSetting", "retire"]

_log = structlog.get_logger()

_AGAIN_SECONDS = 0.5
_OURS = (FINALIZER, KOPF_FINALIZER)
_SETTINGS = {kind.plural: kind for kind in (CONFIG_MAP, SECRET, NETWORK_POLICY, TRIGGER_AUTHENTICATION)}
_SLOTS = {MANAGED_BY_LABEL: MANAGED_BY}


@dataclass(frozen=True, slots=True)
class SlotSetting:
    """An object beside the slots of a namespace that only they need."""

    namespace: str
    kind: Kind
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """`wines/configmaps/rollcast-kafka`. Raises ConfigError."""
        match text.split("/"):
            case [namespace, plural, name] if namespace and plural in _SETTINGS and name:
                return cls(namespace, _SETTINGS[plural], name)
        kinds = ", ".join(_SETTINGS)
        raise ConfigError(f"--slot-setting was {text!r}, may be NAMESPACE/KIND/NAME, where KIND is one of {kinds}")


def retire(
    kube: Kube,
    *,
    namespaces: Sequence[str],
    deployment: tuple[str, str] | None,
    slot_settings: Sequence[SlotSetting] = (),
    timeout_seconds: float,
) -> int:
    """Stop the operator, then take its finalizers off every ModelVersion; how many had one.

    Slots, records and ModelVersions stay as they are: predictions go on, and an operator that comes later goes on,
    too. `slot_settings` are deleted where there is neither a slot nor a ModelVersion. `namespaces` is empty for all of
    them; `deployment` is the operator's namespace and name, None when it does not run. Raises RollcastError.
    """
    deadline = time.monotonic() + timeout_seconds
    if deployment is not None:
        # While it runs it would put them on again.
        _in_time(deadline, "stopping the operator", partial(_is_stopped, kube, *deployment))
    released: set[str] = set()
    for namespace in namespaces or (None,):
        _in_time(deadline, "releasing ModelVersions", partial(_are_released, kube, namespace, released))
    by_namespace = attrgetter("namespace")
    for namespace, settings in groupby(sorted(slot_settings, key=by_namespace), by_namespace):
        doing = f"deleting the settings of slots in {namespace}"
        _in_time(deadline, doing, partial(_are_cleared, kube, namespace, list(settings)))
    return len(released)


def _in_time(deadline: float, doing: str, is_done: Callable[[], bool]) -> None:
    problem = "it is still going on"
    while True:
        try:
            if is_done():
                return
        except (ShellUnavailable, Refused) as error:
            problem = str(error)
        if time.monotonic() >= deadline:
            raise RollcastError(f"{doing}: not done in time: {problem}")
        time.sleep(_AGAIN_SECONDS)


def _is_stopped(kube: Kube, namespace: str, name: str) -> bool:
    try:
        found = kube.get(DEPLOYMENT, namespace, name)
    except Gone:
        return True
    if found["spec"].get("replicas") != 0:
        to_zero = {"op": "replace", "path": "/spec/replicas", "value": 0}
        kube.patch(DEPLOYMENT, namespace, name, [to_zero], subresource="scale")
    return not any(kube.list_all(POD, namespace, labels=found["spec"]["selector"]["matchLabels"]))


def _are_released(kube: Kube, namespace: str | None, released: set[str]) -> bool:
    try:
        waiting = [found for found in kube.list_all(MODEL_VERSION, namespace) if _has_ours(found)]
    except Gone:  # they are not even defined
        return True
    for found in waiting:
        if _release(kube, found):
            released.add(found["metadata"]["uid"])
            _log.info("released", namespace=found["metadata"]["namespace"], name=found["metadata"]["name"])
    return not waiting


def _are_cleared(kube: Kube, namespace: str, settings: Sequence[SlotSetting]) -> bool:
    """Or still needed."""
    if _has_any(kube, MODEL_VERSION, namespace) or _has_any(kube, STATEFUL_SET, namespace, _SLOTS):
        _log.info("the settings of slots stay with the slots", namespace=namespace)
        return True
    for setting in settings:
        kube.delete(setting.kind, namespace, setting.name)
    _log.info("the settings of slots are deleted: there are none", namespace=namespace, objects=len(settings))
    return True


def _has_any(kube: Kube, kind: Kind, namespace: str, labels: Mapping[str, str] | None = None) -> bool:
    try:
        return any(kube.list_all(kind, namespace, labels=labels))
    except Gone:  # the kind is not even defined
        return False


def _has_ours(found: dict[str, Any]) -> bool:
    return any(name in _OURS for name in found["metadata"].get("finalizers") or ())


def _release(kube: Kube, found: dict[str, Any]) -> bool:
    """Over exactly what was read: the finalizers of others are not ours to lose. False: somebody was faster."""
    meta = found["metadata"]
    others = [name for name in meta["finalizers"] if name not in _OURS]
    operations = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": meta["resourceVersion"]},
        {"op": "add", "path": "/metadata/finalizers", "value": others},
    ]
    try:
        kube.patch(MODEL_VERSION, meta["namespace"], meta["name"], operations)
    except (Gone, Refused):
        return False
    return True
