"""A model that a host has loaded, verified and warmed, and the way to a fresh host of it."""

import threading
from collections.abc import Callable

from rollcast_predictor.host_process import HostDied, HostProcess
from rollcast_predictor.pinned import Pinned
from rollcast_predictor.wire import Loaded, LoadModel

__all__ = ["ServedModel", "start_host"]


def start_host(request: LoadModel, *, memory_bytes: int | None, deadline_seconds: float) -> tuple[HostProcess, Loaded]:
    """A host that is ready to score. Raises ModelRefused, HostDied or HostTimedOut, and leaves none behind."""
    host = HostProcess(request.name, memory_bytes=memory_bytes)
    try:
        return host, host.load(request, deadline_seconds=deadline_seconds)
    except BaseException:
        host.kill()
        raise


class ServedModel:
    """`request` verifies the file again, and fetches it again if the cache has lost it: it raises ArtifactError,
    StoreProblem or CacheProblem.
    """

    def __init__(
        self,
        pinned: Pinned,
        host: HostProcess,
        request: Callable[[], LoadModel],
        *,
        memory_bytes: int | None,
        load_deadline_seconds: float,
    ) -> None:
        self.pinned = pinned
        self.host = host
        self._request = request
        self._memory_bytes = memory_bytes
        self._load_deadline_seconds = load_deadline_seconds
        self._lock = threading.Lock()
        self._is_closed = False

    @property
    def name(self) -> str:
        return self.pinned.name

    @property
    def version(self) -> str:
        return self.pinned.version

    @property
    def sha256(self) -> str:
        return self.pinned.sha256

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def replace_host(self) -> None:
        """After a death or a timeout. Raises as `request` and `start_host` do, and HostDied once this is closed."""
        self.host.kill()
        host, _ = start_host(
            self._request(), memory_bytes=self._memory_bytes, deadline_seconds=self._load_deadline_seconds
        )
        with self._lock:
            if not self._is_closed:
                self.host = host
                return
        host.kill()
        raise HostDied(f"{self.name} is not needed any longer")

    def close(self) -> None:
        """No host of it is left, not even one that is just being started."""
        with self._lock:
            self._is_closed = True
        self.host.close()
