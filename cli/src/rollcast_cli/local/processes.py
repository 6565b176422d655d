"""Children of the local stack: each leads its own process group, logs to a file, and outlives nobody."""

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from rollcast_common.errors import RollcastError

__all__ = ["Child", "ChildDied", "NotInTime", "start", "tail", "wait_until"]

_T = TypeVar("_T")


class ChildDied(RollcastError):
    """A process of the local stack ended by itself; the text carries the end of its log."""


class NotInTime(RollcastError):
    """A process of the local stack runs, but did not do in time what it was waited for."""


class _Watchdog:
    """One process beside us that ends our children when we die without a word. Started with the first child."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def guard(self, pid: int) -> None:
        with self._lock:
            if self._process is None:
                self._process = subprocess.Popen(  # noqa: S603  # our own script
                    [sys.executable, "-I", "-S", str(Path(__file__).with_name("watchdog.py"))],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                    bufsize=0,
                )
                atexit.register(self._close)
            self._tell(f"+{pid}\n")

    def release(self, pid: int) -> None:
        with self._lock:
            self._tell(f"-{pid}\n")

    def _tell(self, line: str) -> None:
        if self._process is None or self._process.stdin is None:
            return
        # Without its watchdog the stack still works; only our own abrupt death would leave children.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line.encode())

    def _close(self) -> None:
        with self._lock:
            if self._process is None or self._process.stdin is None:
                return
            self._process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=10)
            self._process = None


_watchdog = _Watchdog()


class Child:
    """A process that `start` started. Only such processes are ever signalled, by pid."""

    def __init__(self, role: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.role = role
        self.log = log
        self.pid = process.pid
        self._process = process
        self._lock = threading.Lock()
        self._over = False

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative is the signal that ended it."""
        code = self._process.poll()
        if code is not None:
            self._end_group()
        return code

    @property
    def alive(self) -> bool:
        return self.returncode is None

    def check(self) -> None:
        """Raises ChildDied with the end of its log when it does not run any more."""
        code = self.returncode
        if code is not None:
            how = f"was ended by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
            raise ChildDied(f"{self.role} {how}; the end of {self.log}:\n{self.log_tail()}")

    def log_tail(self, lines: int = 15) -> str:
        return tail(self.log, lines)

    def terminate(self) -> None:
        """Ask it to end, without waiting: SIGTERM to the leader alone, which drains its own children."""
        if self.returncode is None:
            self._process.send_signal(signal.SIGTERM)

    def stop(self, grace_seconds: float = 10.0) -> None:
        """SIGTERM, and SIGKILL to the whole group after `grace_seconds`. Does nothing when it is over."""
        self.terminate()
        try:
            self._process.wait(timeout=grace_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        self._end_group()

    def kill(self) -> None:
        """SIGKILL to the whole group, and wait: for tests and for what does not listen."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._end_group()

    def _end_group(self) -> None:
        """Once the leader is gone nobody looks after what it started. Once only: pids come round again."""
        with self._lock:
            if self._over:
                return
            self._over = True
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            _watchdog.release(self.pid)


def start(
    command: Sequence[str],
    *,
    role: str,
    log: Path,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    inherited: Sequence[int] = (),
) -> Child:
    """Start `command` with stdout and stderr appended to `log`.

    `environ` is laid over ours, `inherited` are file descriptors that stay open in the child.
    A terminal's Ctrl-C does not reach the child: stopping is the parent's decision.
    Raises ChildDied when the command cannot be started at all.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        with log.open("ab") as out:
            process = subprocess.Popen(  # noqa: S603  # commands of this package, no shell
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(environ or {})},
                start_new_session=True,
                pass_fds=tuple(inherited),
            )
    except OSError as error:
        raise ChildDied(f"{role}: {command[0]} cannot be started: {error.strerror}") from None
    _watchdog.guard(process.pid)
    return Child(role, process, log)


def wait_until(
    condition: Callable[[], _T],
    *,
    what: str,
    timeout_seconds: float,
    children: Sequence[Child] = (),
    interval_seconds: float = 0.05,
) -> _T:
    """The first true answer of `condition`.

    Raises ChildDied as soon as one of `children` is dead, NotInTime (with the ends of their logs) at the deadline.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        answer = condition()
        if answer:
            return answer
        for child in children:
            child.check()
        if time.monotonic() >= deadline:
            logs = "".join(f"\nthe end of {child.log}:\n{child.log_tail()}" for child in children)
            raise NotInTime(f"{what}: not within {timeout_seconds:g} s{logs}")
        time.sleep(interval_seconds)


def tail(path: Path, lines: int = 15) -> str:
    """The last lines of a file, or a word that there are none."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return "".join(deque(file, maxlen=lines)).rstrip() or "(empty)"
    except OSError:
        return "(no log)"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
