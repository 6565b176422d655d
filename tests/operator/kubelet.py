"""Plays the nodes that a test's cluster does not have: predictor processes from the StatefulSets' own templates."""

import contextlib
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
from tests.env.kubernetes import KubeApi, KubectlFailed
from tests.env.predictor import Slot

from rollcast_cli.local.ports import free_ports
from rollcast_cli.local.processes import Child, start

__all__ = ["Kubelet"]

_COMMAND = Path(sys.executable).with_name("rollcast-predictor")
_LOOK_EVERY_SECONDS = 0.3
_MISSING_SECONDS = 60.0
"""How long a pod waits for what its template names, also while the API server is away."""

_INDEX = "metadata.labels['apps.kubernetes.io/pod-index']"

Json = dict[str, Any]


class _Pod:
    def __init__(self, child: Child, port: int, template: Json) -> None:
        self.slot = Slot(child, port)
        self.template = template
        self.is_going = False


class Kubelet:
    """Of one namespace. What ends unasked is started again; what is no longer wanted is drained."""

    def __init__(self, api: KubeApi, namespace: str, folder: Path) -> None:
        self._api = api
        self._namespace = namespace
        self._folder = folder
        self._pods: dict[tuple[str, int], _Pod] = {}
        self._going: list[tuple[tuple[str, int], _Pod]] = []
        self._number = 0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kubelet", daemon=True)
        self.problem: BaseException | None = None

    def slots(self, model: str = "line") -> dict[int, Slot]:
        with self._lock:
            return {ordinal: pod.slot for (name, ordinal), pod in self._pods.items() if name == f"rollcast-{model}"}

    def started(self) -> int:
        """How many processes were started, those again that had ended."""
        return self._number

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        for pod in [*self._pods.values(), *(pod for _, pod in self._going)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                for process in psutil.Process(pod.slot.pid).children(recursive=True):
                    process.send_signal(signal.SIGCONT)
            pod.slot.child.kill()

    def _run(self) -> None:
        try:
            while not self._stopping.wait(_LOOK_EVERY_SECONDS):
                try:
                    found = self._api.get("statefulsets", "--namespace", self._namespace, "--request-timeout", "5s")
                except (KubectlFailed, ValueError):  # stopped or silent; what runs goes on
                    continue
                self._reconcile(found["items"])
        except BaseException as error:  # noqa: BLE001  # the test asks
            self.problem = error

    def _reconcile(self, sets: list[Json]) -> None:
        wanted = {
            (each["metadata"]["name"], ordinal): each["spec"]["template"]
            for each in sets
            if "deletionTimestamp" not in each["metadata"]
            for ordinal in range(each["spec"].get("replicas", 1))
        }
        with self._lock:
            self._going = [(key, pod) for key, pod in self._going if pod.slot.child.alive]
            for key, pod in list(self._pods.items()):
                if not pod.slot.child.alive:
                    del self._pods[key]
                elif not pod.is_going and wanted.get(key) != pod.template:
                    pod.is_going = True
                    pod.slot.child.terminate()
                    if key not in wanted:
                        self._going.append((key, self._pods.pop(key)))
            # No node starts a pod while there is still one of its name.
            names = {*self._pods, *(key for key, _ in self._going)}
            for key, template in wanted.items():
                if key not in names:
                    self._pods[key] = self._started(key[0], key[1], template)

    def _started(self, name: str, ordinal: int, template: Json) -> _Pod:
        self._number += 1
        folder = self._folder / f"{name}-{ordinal}"
        pod = template["spec"]
        (container,) = pod["containers"]
        mounts = self._mounted(pod, container, folder)
        environ = {
            variable: self._placed(value, mounts) for variable, value in self._variables(container, ordinal).items()
        }
        port = free_ports(1)[0]
        environ |= {"ROLLCAST_METRICS_HOST": "127.0.0.1", "ROLLCAST_METRICS_PORT": str(port)}
        child = start(
            ["env", "-i", *(f"{name}={value}" for name, value in (_own() | environ).items()), str(_COMMAND)]
            + container["args"],
            role=f"{name}-{ordinal}",
            log=self._folder / f"{name}-{ordinal}.log",
        )
        return _Pod(child, port, template)

    def _variables(self, container: Json, ordinal: int) -> dict[str, str]:
        found: dict[str, str] = {}
        for source in container.get("envFrom", []):
            if "configMapRef" in source:
                found |= self._get("configmap", source["configMapRef"]["name"]).get("data", {})
            else:
                found |= _decoded(self._get("secret", source["secretRef"]["name"]))
        for variable in container.get("env", []):
            if "value" in variable:
                found[variable["name"]] = variable["value"]
                continue
            assert variable["valueFrom"]["fieldRef"]["fieldPath"] == _INDEX
            found[variable["name"]] = str(ordinal)
        return found

    def _mounted(self, pod: Json, container: Json, folder: Path) -> dict[str, Path]:
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounts: dict[str, Path] = {}
        for mount in container["volumeMounts"]:
            volume, path = volumes[mount["name"]], folder / mount["name"]
            path.mkdir(parents=True, exist_ok=True)
            files: Mapping[str, str] = {}
            if "configMap" in volume:
                files = self._get("configmap", volume["configMap"]["name"]).get("data", {})
            elif "secret" in volume:
                files = _decoded(self._get("secret", volume["secret"]["secretName"]))
            for name, text in files.items():
                (path / name).write_text(text, encoding="utf-8")
            mounts[mount["mountPath"]] = path
        return mounts

    def _placed(self, value: str, mounts: Mapping[str, Path]) -> str:
        for inside, outside in mounts.items():
            if re.match(rf"{re.escape(inside)}(/|$)", value):
                return str(outside) + value[len(inside) :]
        return value

    def _get(self, kind: str, name: str) -> Json:
        deadline = time.monotonic() + _MISSING_SECONDS
        while True:
            try:
                found: Json = self._api.get(kind, name, "--namespace", self._namespace)
            except KubectlFailed:
                if self._stopping.is_set() or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
            else:
                return found


def _own() -> dict[str, str]:
    """What an image would set; nothing else of ours reaches a pod."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ} | {
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.environ.get("KUBELET_PYTHONPATH", ""),
    }


def _decoded(secret: Json) -> dict[str, str]:
    import base64

    return {name: base64.b64decode(value).decode() for name, value in secret.get("data", {}).items()}
