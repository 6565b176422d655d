"""Slots under chaos: started as a StatefulSet would, sabotaged if need be, started again when they end."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from tests.chaos.actors import MAX_REQUEST_BYTES
from tests.chaos.saboteur import DEATHS, MARK_VARIABLE, ORDER_VARIABLE
from tests.env.predictor import Slot, World

from rollcast_cli.local.ports import free_ports
from rollcast_cli.local.processes import start, wait_until

__all__ = ["KeptSlot"]

_ROOT = Path(__file__).parents[2]
_LOOK_EVERY_SECONDS = 0.2
_READY_SECONDS = 120.0
_DRAIN_SECONDS = 60.0


class KeptSlot:
    """One slot, by its ordinal. Whoever else ends it, a new process takes its place, as Kubernetes would see to it."""

    def __init__(
        self,
        world: World,
        ordinal: int,
        *,
        sabotage: tuple[str, str] | None = None,
        standby: bool = True,
        batch_deadline_seconds: float = 30.0,
    ) -> None:
        self.name = f"{world.group}-{ordinal}"
        self.ordinal = ordinal
        self.restarts: list[int] = []
        """The exit codes of processes that ended unasked."""
        self._world = world
        self._sabotage = sabotage
        self._standby = standby
        self._batch_deadline_seconds = batch_deadline_seconds
        self._mark = world.folder / f"slot-{ordinal}.provoked"
        self._order = world.folder / f"slot-{ordinal}.die-at"
        self._port = free_ports(1)[0]
        self._lock = threading.RLock()
        self._slot: Slot | None = None
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name=f"keeper-{ordinal}", daemon=True)

    def start(self) -> "KeptSlot":
        with self._lock:
            self._start()
        self._keeper.start()
        return self

    def _start(self) -> None:
        predictor = ["-m", "rollcast_predictor"]
        if self._sabotage is not None:
            predictor = ["-m", "tests.chaos.saboteur", *self._sabotage]
        options = [
            "--allow-pickle",
            *("--batch-deadline-seconds", str(self._batch_deadline_seconds)),
            *("--max-request-bytes", str(MAX_REQUEST_BYTES)),
        ]
        child = start(
            [sys.executable, *predictor, "run", *options],
            role=f"slot {self.ordinal}",
            log=self._world.folder / f"slot-{self.ordinal}.log",
            environ={
                **self._world.environment(),
                "ROLLCAST_ORDINAL": str(self.ordinal),
                "ROLLCAST_METRICS_PORT": str(self._port),
                "ROLLCAST_STANDBY": str(self._standby).lower(),
                # Hosts unpickle a class of tests/chaos.
                "PYTHONPATH": str(_ROOT),
                MARK_VARIABLE: str(self._mark),
                ORDER_VARIABLE: str(self._order),
            },
            cwd=_ROOT,
        )
        self._slot = Slot(child, self._port, answer_seconds=5.0)

    def _keep(self) -> None:
        while not self._over.wait(_LOOK_EVERY_SECONDS):
            with self._lock:
                if self._slot is not None and (code := self._slot.child.returncode) is not None:
                    self.restarts.append(code)
                    self._start()

    def health(self) -> dict[str, Any]:
        slot = self._slot
        return slot.health() if slot is not None else {}

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = _READY_SECONDS) -> None:
        wait_until(condition, what=f"slot {self.ordinal}: {what}", timeout_seconds=seconds)

    def wait_ready(self, *, partitions: int = 0) -> None:
        def ready() -> bool:
            health = self.health()
            return bool(health.get("ready")) and health["partitions"] >= partitions

        self.wait(ready, "ready")

    # Whom a fault may hit.

    @property
    def streamer_pid(self) -> int | None:
        """None while nobody says it."""
        health = self.health()
        if not health:
            return None
        slot = self._slot
        return health.get("pid") or (slot.pid if slot is not None else None)

    @property
    def host_pid(self) -> int | None:
        return self.health().get("host_pid")

    def die_at(self, point: str) -> None:
        """The streamer kills itself at this one of the saboteur's DEATHS; returns when it has come there."""
        assert point in DEATHS
        assert self._sabotage is not None
        assert self._sabotage[0] == "die"
        self._order.write_text(point, encoding="utf-8")
        self.wait(lambda: not self._order.exists(), f"it dies {point}")

    def provoked(self) -> int:
        """How many aborts or deaths the saboteur has provoked."""
        return self._mark.stat().st_size if self._mark.exists() else 0

    # Coming and going.

    def terminate(self) -> int:
        """SIGTERM, and the exit code: what was begun is committed first. It stays away until `start_again`."""
        with self._lock:
            slot, self._slot = self._slot, None
        assert slot is not None
        slot.child.terminate()
        wait_until(lambda: not slot.child.alive, what=f"{self.name} drains", timeout_seconds=_DRAIN_SECONDS)
        assert slot.child.returncode is not None
        return slot.child.returncode

    def start_again(self) -> None:
        with self._lock:
            self._start()

    def stop(self) -> int | None:
        """Drained for good; the exit code, None if it was away already."""
        self._over.set()
        if self._keeper.ident is not None:
            self._keeper.join()
        return self.terminate() if self._slot is not None else None

    def kill(self) -> None:
        """For good, whatever state it is in."""
        self._over.set()
        slot, self._slot = self._slot, None
        if slot is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                for process in psutil.Process(slot.pid).children(recursive=True):
                    process.send_signal(signal.SIGCONT)
            slot.child.kill()


def signal_process(pid: int | None, number: signal.Signals) -> bool:
    """False when it is gone already."""
    if pid is None:
        return False
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
