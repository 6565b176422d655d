"""PID 1 of a slot: starts the streamer, and when it dies, at once the next one.

Another streamer stands by: started, imported, with hosts to be had, only not streaming. When the active one dies it
is told to go on, so that what was open is taken up again within a second or two; a container that is
restarted would take ten times as long, and with every death longer.

A streamer and the supervisor share a socket. Down it goes one byte, "go"; up comes one byte, "I serve". Its end is
the end: a streamer whose supervisor is gone drains and ends.
"""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from rollcast_common.service import EXIT_PERMANENT
from rollcast_predictor.zygote import ZYGOTE_VARIABLE, Template

__all__ = ["CONTROL_VARIABLE", "Control", "streamer_command", "supervise"]

_log = structlog.get_logger()

CONTROL_VARIABLE = "ROLLCAST_CONTROL_FD"
"""Names the file descriptor of the socket to the supervisor; only a supervised streamer has it."""

_SOON_SECONDS = 5.0
_FIRST_WAIT_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 30.0


class Control:
    """The streamer's end of the socket."""

    def __init__(self, file_descriptor: int) -> None:
        self._socket = socket.socket(fileno=file_descriptor)

    @classmethod
    def inherited(cls) -> "Control | None":
        """None in a process that no supervisor started."""
        value = os.environ.pop(CONTROL_VARIABLE, None)
        return cls(int(value)) if value else None

    def wait_for_go(self) -> bool:
        """False when the supervisor has gone instead."""
        return self._socket.recv(1) == b"g"

    def serving(self) -> None:
        with contextlib.suppress(OSError):  # the supervisor is gone, and whoever waits for its end hears of that
            self._socket.send(b"s")

    def on_end(self, call: Callable[[], None]) -> None:
        """Call back when the supervisor is gone."""

        def watch() -> None:
            # An error, too, is its end: so says the kernel when it went without reading all that we had said.
            with contextlib.suppress(OSError):
                self._socket.recv(1)
            call()

        threading.Thread(target=watch, name="supervisor-watch", daemon=True).start()


@dataclass(slots=True)
class _Streamer:
    process: "subprocess.Popen[bytes]"
    control: socket.socket
    went_at: float | None = None
    served: bool = False

    def go(self) -> None:
        self.went_at = time.monotonic()
        # One that has died meanwhile is noticed next, as any streamer that ends.
        with contextlib.suppress(BrokenPipeError):
            self.control.send(b"g")


def supervise(command: list[str], *, standby: bool) -> int:
    """Run `command` as a streamer until SIGTERM or SIGINT, which are passed on to it.

    The result is the exit code to end with: 0 after a drain; 1 when a streamer ended in a way that another
    one could not mend, or before any has served.
    """
    return _Supervisor(command, standby=standby).run()


class _Supervisor:
    def __init__(self, command: list[str], *, standby: bool) -> None:
        self._command = command
        self._wants_standby = standby
        self._stopping = threading.Event()
        self._active: _Streamer | None = None
        self._standby: _Streamer | None = None
        self._served_once = False
        self._wait_seconds = _FIRST_WAIT_SECONDS
        self._template = Template()
        # Signals wake the one select() that this process waits in.
        self._wake, writer = socket.socketpair()
        for end in (self._wake, writer):
            end.settimeout(0)
        self._writer = writer
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def _stop(self, *_: object) -> None:
        self._stopping.set()

    def run(self) -> int:
        self._promote()
        told_to_stop = False
        while True:
            self._wait()
            if self._stopping.is_set() and not told_to_stop:
                told_to_stop = True
                self._dismiss_standby()
                if self._active is not None:
                    self._active.process.send_signal(signal.SIGTERM)
            code = self._reap()
            if code is not None:
                return code

    def _promote(self) -> None:
        streamer, self._standby = self._standby or self._start(), None
        streamer.go()
        self._active = streamer

    def _start(self) -> _Streamer:
        ours, theirs = socket.socketpair()
        zygote = self._template.fork()
        with theirs, zygote or contextlib.nullcontext():
            environ = {**os.environ, CONTROL_VARIABLE: str(theirs.fileno())}
            descriptors = [theirs.fileno()]
            if zygote is not None:  # else it starts one of its own
                environ[ZYGOTE_VARIABLE] = str(zygote.fileno())
                descriptors.append(zygote.fileno())
            process = subprocess.Popen(  # noqa: S603  # our own command line
                self._command, env=environ, pass_fds=descriptors, stdin=subprocess.DEVNULL
            )
        return _Streamer(process, ours)

    def _wait(self) -> None:
        """Return when a signal came (a child's end is one), or the active streamer said something."""
        sources = [self._wake]
        if self._active is not None and not self._active.served:
            sources.append(self._active.control)
        readable, _, _ = select.select(sources, [], [])
        if self._wake in readable:
            self._wake.recv(4096)
        active = self._active
        if active is not None and active.control in readable and _said(active.control) == b"s":
            active.served = self._served_once = True
            # Only now: while one starts, another beside it would take its processor.
            if self._wants_standby and self._standby is None and not self._stopping.is_set():
                self._standby = self._start()

    def _reap(self) -> int | None:
        """Take note of every child that has ended; as PID 1 also of those that others left behind."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return 0 if self._stopping.is_set() else EXIT_PERMANENT
            if pid == 0:
                return None
            code = os.waitstatus_to_exitcode(status)
            if pid == self._template.pid:
                _log.warning("the hosts' template ended", how=_how(code))
                self._template.reaped(code)
                if not self._stopping.is_set():
                    self._template = Template()
            elif self._standby is not None and pid == self._standby.process.pid:
                _forget(self._standby, code)
                self._standby = None
                _log.warning("standby ended", how=_how(code))
            elif self._active is not None and pid == self._active.process.pid:
                _forget(self._active, code)
                final = self._active_ended(self._active, code)
                if final is not None:
                    self._dismiss_standby()
                    self._template.close()
                    return final

    def _active_ended(self, streamer: _Streamer, code: int) -> int | None:
        if self._stopping.is_set():
            return code if code >= 0 else EXIT_PERMANENT
        # An orderly end that a person must look into: a drain that nobody asked for, or a refusal.
        if code in (0, EXIT_PERMANENT) or (code > 0 and not self._served_once):
            return EXIT_PERMANENT
        lived = time.monotonic() - (streamer.went_at or 0.0)
        # Nobody kills himself: what served and was killed says nothing about how the next one will fare.
        killed = streamer.served and code == -signal.SIGKILL
        if lived > _SOON_SECONDS:
            self._wait_seconds = _FIRST_WAIT_SECONDS
        elif not killed:
            _log.warning("streamers keep ending", wait_seconds=self._wait_seconds)
            deadline = time.monotonic() + self._wait_seconds
            while not self._stopping.is_set() and (left := deadline - time.monotonic()) > 0:
                if select.select([self._wake], [], [], left)[0]:
                    self._wake.recv(4096)
            self._wait_seconds = min(2 * self._wait_seconds, _LONGEST_WAIT_SECONDS)
            if self._stopping.is_set():
                return 0
        _log.error("streamer ended; the next one takes over", how=_how(code), stood_by=self._standby is not None)
        self._promote()
        return None

    def _dismiss_standby(self) -> None:
        if self._standby is not None:
            self._standby.control.close()
            self._standby.process.wait()
            self._standby = None


def _said(control: socket.socket) -> bytes:
    """A streamer that has died before it read "go" is an error to the kernel; to us it is one that ends."""
    try:
        return control.recv(1)
    except ConnectionResetError:
        return b""


def _forget(streamer: _Streamer, code: int) -> None:
    streamer.process.returncode = code  # it was reaped here; Popen must not look for it again
    streamer.control.close()


def _how(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def streamer_command() -> list[str]:
    """The command line that we were started with, for the streamer to have the same options."""
    return [sys.executable, "-m", "rollcast_predictor", *sys.argv[1:]]
