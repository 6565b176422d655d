"""All models of an installation: each is reconciled when something happened to it, by one thread at a time."""

import heapq
import threading
import time
from collections.abc import Callable
from typing import Literal, Self

import structlog

from rollcast_control.controller import Controller
from rollcast_control.shell import ShellUnavailable

__all__ = ["Clock", "Manager"]

_log = structlog.get_logger()

_NET_SECONDS = 15.0
"""What nobody is told of is found so late."""

_FIRST_RETRY_SECONDS = 0.2
_LONGEST_RETRY_SECONDS = 10.0
_SAY_EVERY_SECONDS = 30.0


class Clock:
    """Seconds since the epoch that never run backwards, whatever becomes of the machine's clock."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def __call__(self) -> float:
        return self._offset + time.monotonic()


class _Model:
    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        self.retry_seconds = 0.0
        self.due_at: float | None = None
        """When its next turn is. What else lies in the queue for it is left over, and passed over."""
        self.not_before = 0.0
        """After a turn that failed, news does not bring the next one forward."""
        self.is_running = False
        self.is_dirty = False
        self.reconciled_at = time.monotonic()
        self.said_at = -_SAY_EVERY_SECONDS


class Manager:
    """`make` makes a model's controller from its identity, `<installation>/<namespace>/<model>`."""

    def __init__(
        self,
        make: Callable[[str], Controller],
        *,
        threads: int = 4,
        on_reconciled: Callable[[str, float], None] = lambda *_: None,
        on_failed: Callable[[Literal["api", "bug"]], None] = lambda _: None,
    ) -> None:
        """`on_reconciled` is told of each turn and how many seconds it took, `on_failed` of each that is made again."""
        self._make = make
        self._on_reconciled = on_reconciled
        self._on_failed = on_failed
        self._models: dict[str, _Model] = {}
        self._due: list[tuple[float, str]] = []
        self._condition = threading.Condition()
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._run, name=f"reconciling-{number}", daemon=True) for number in range(threads)
        ]
        self.failure: BaseException | None = None

    def wake(self, identity: str, *, after: float = 0.0) -> None:
        """Models that nobody has told of before are taken up."""
        with self._condition:
            if identity not in self._models:
                self._models[identity] = _Model(self._make(identity))
            self._schedule(identity, after)

    def forget(self, identity: str) -> None:
        with self._condition:
            self._models.pop(identity, None)

    def models(self) -> list[str]:
        with self._condition:
            return list(self._models)

    def oldest_seconds(self) -> float:
        """How long ago the model that has waited longest was reconciled."""
        with self._condition:
            now = time.monotonic()
            return max((now - model.reconciled_at for model in self._models.values()), default=0.0)

    def _schedule(self, identity: str, after: float) -> None:
        model = self._models[identity]
        if model.is_running and after == 0:
            model.is_dirty = True
            return
        at = max(time.monotonic() + after, model.not_before)
        if model.due_at is not None and model.due_at <= at:
            return
        model.due_at = at
        heapq.heappush(self._due, (at, identity))
        self._condition.notify()

    def _run(self) -> None:
        try:
            while (identity := self._next()) is not None:
                self._turn(identity)
        except BaseException as error:  # noqa: BLE001  # its owner asks, and must hear of it
            self.failure = error

    def _next(self) -> str | None:
        with self._condition:
            while not self._stopping:
                now = time.monotonic()
                if not self._due:
                    self._condition.wait(1.0)
                    continue
                at, identity = self._due[0]
                if at > now:
                    self._condition.wait(min(at - now, 1.0))
                    continue
                heapq.heappop(self._due)
                model = self._models.get(identity)
                if model is None or model.due_at != at:
                    continue
                model.due_at = None
                if model.is_running:
                    model.is_dirty = True
                    continue
                model.is_running, model.is_dirty = True, False
                return identity
        return None

    def _turn(self, identity: str) -> None:
        model = self._models.get(identity)
        if model is None:
            return
        started = time.monotonic()
        after: float | None
        try:
            after = model.controller.reconcile()
            model.retry_seconds = 0.0
        except ShellUnavailable as problem:
            model.retry_seconds = after = min(
                max(2 * model.retry_seconds, _FIRST_RETRY_SECONDS), _LONGEST_RETRY_SECONDS
            )
            self._say(model, identity, problem)
            self._on_failed("api")
        except Exception:  # noqa: BLE001  # a bug of one model must not end the others' rollouts
            _log.exception("reconciling failed", model=identity)
            self._on_failed("bug")
            model.retry_seconds = after = min(
                max(2 * model.retry_seconds, _FIRST_RETRY_SECONDS), _LONGEST_RETRY_SECONDS
            )
        self._on_reconciled(identity, time.monotonic() - started)
        with self._condition:
            model.reconciled_at = time.monotonic()
            model.is_running = False
            model.not_before = time.monotonic() + model.retry_seconds
            wait = 0.0 if model.is_dirty else min(_NET_SECONDS if after is None else after, _NET_SECONDS)
            if self._models.get(identity) is model:
                self._schedule(identity, wait)

    def _say(self, model: _Model, identity: str, problem: ShellUnavailable) -> None:
        if time.monotonic() - model.said_at >= _SAY_EVERY_SECONDS:
            model.said_at = time.monotonic()
            _log.warning("not reconciled now", model=identity, problem=str(problem))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        for thread in self._threads:
            thread.join()
