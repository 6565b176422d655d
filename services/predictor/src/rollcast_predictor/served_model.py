"""A model that a host has loaded, verified and warmed, and the way to a fresh host of it."""

from collections.abc import Callable
from dataclasses import dataclass

from rollcast_predictor.host_process import HostProcess
from rollcast_predictor.orders import Order
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


@dataclass(slots=True)
class ServedModel:
    order: Order
    sha256: str
    request: Callable[[], LoadModel]
    """Verifies the file again, and fetches it again if the cache has lost it. Raises ArtifactError, StoreProblem
    or CacheProblem."""

    host: HostProcess
    memory_bytes: int | None
    load_deadline_seconds: float

    @property
    def name(self) -> str:
        return self.order.name

    def replace_host(self) -> None:
        """After a death or a timeout. Raises as `request` and `start_host` do."""
        self.host.kill()
        self.host, _ = start_host(
            self.request(), memory_bytes=self.memory_bytes, deadline_seconds=self.load_deadline_seconds
        )
