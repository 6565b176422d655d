"""Which slots are ready, as the cluster sees it, told at once when it changes."""

import subprocess
import threading
from collections.abc import Callable, Mapping
from typing import Any, Self

__all__ = ["Readiness"]

_AGAIN_SECONDS = 1.0
_COLUMNS = (
    'custom-columns=EVENT:.type,NAME:.object.metadata.name,READY:.object.status.conditions[?(@.type=="Ready")].status'
)


class Readiness:
    """Follows `kubectl get pods --watch`."""

    def __init__(self, namespace: str, selector: str) -> None:
        self._command = [
            *("kubectl", "get", "pods", "--namespace", namespace, "--selector", selector, "--no-headers"),
            *("--watch", "--output-watch-events", "--output", _COLUMNS),
        ]
        self._ready: set[str] = set()
        self._over = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run, name="readiness", daemon=True)

    def start(self) -> Self:
        self._thread.start()
        return self

    def stop(self) -> None:
        self._over.set()
        if self._process is not None:
            self._process.terminate()
            self._thread.join()

    def slots(self) -> Mapping[str, Callable[[], Any]]:
        """As `Sampler` asks: by name, whoever is ready."""
        return {name: lambda: {"ready": True} for name in tuple(self._ready)}

    def _run(self) -> None:
        while not self._over.is_set():
            with subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            ) as process:
                self._process = process
                assert process.stdout is not None
                for line in process.stdout:
                    event, name, ready = line.split()
                    if ready == "True" and event != "DELETED":
                        self._ready.add(name)
                    else:
                        self._ready.discard(name)
            self._over.wait(_AGAIN_SECONDS)  # the API server ends a watch now and then
