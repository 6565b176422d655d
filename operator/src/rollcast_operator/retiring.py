"""The end of an installation: the operator goes, and nothing waits for it when it is deleted later."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import structlog

from rollcast_common.errors import RollcastError
from rollcast_control.shell import ShellUnavailable
from rollcast_operator.kinds import DEPLOYMENT, FINALIZER, KOPF_FINALIZER, MODEL_VERSION, POD
from rollcast_operator.kube import Gone, Kube, Refused

__all__ = ["retire"]

_log = structlog.get_logger()

_AGAIN_SECONDS = 0.5
_OURS = (FINALIZER, KOPF_FINALIZER)


def retire(
    kube: Kube,
    *,
    namespaces: Sequence[str],
    deployment: tuple[str, str] | None,
    timeout_seconds: float,
) -> int:
    """Stop the operator, then take its finalizers off every ModelVersion; how many had one.

    Slots, records and ModelVersions stay as they are: predictions go on, and an operator that comes later goes on,
    too. `namespaces` is empty for all of them; `deployment` is the operator's namespace and name, None when it does
    not run. Raises RollcastError.
    """
    deadline = time.monotonic() + timeout_seconds
    if deployment is not None:
        # While it runs it would put them on again.
        _in_time(deadline, "stopping the operator", partial(_is_stopped, kube, *deployment))
    released: set[str] = set()
    for namespace in namespaces or (None,):
        _in_time(deadline, "releasing ModelVersions", partial(_are_released, kube, namespace, released))
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
