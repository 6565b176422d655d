"""The streamer's side of a model host: start it, talk to it, end it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec
import structlog

from rollcast_common.errors import ArtifactError, RollcastError
from rollcast_predictor.host import OUT_OF_MEMORY_EXIT_CODE
from rollcast_predictor.wire import (
    Channel,
    ChannelClosed,
    ChannelTimeout,
    Loaded,
    LoadModel,
    Refused,
    ScoreBatch,
    Scored,
)

__all__ = ["HostDied", "HostProcess", "HostTimedOut", "ModelRefused", "host_environment"]

_log = structlog.get_logger()

# All that a host is told of the environment: enough to find Python and its libraries, no credential.
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "TMPDIR", "TZ", "VIRTUAL_ENV")

_KILL_WAIT_SECONDS = 10.0

AnswerT = TypeVar("AnswerT")


class ModelRefused(ArtifactError):
    """A host looked at the model and will not serve it."""


class HostDied(RollcastError):
    retryable = True


class HostTimedOut(RollcastError):
    retryable = True


def host_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Hosts run one thread each: several hosts with OpenMP teams of their own slow each other to a third."""
    passed_on = {name: environ[name] for name in _PASSED_ON if name in environ}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return passed_on | threads | {"PYTHONUNBUFFERED": "1"}


class HostProcess:
    """One host with one model. `send` and `receive` alternate; a host that fails is `kill`ed and replaced."""

    _loaded_decoder = msgspec.msgpack.Decoder(Loaded | Refused)
    _scored_decoder = msgspec.msgpack.Decoder(Scored)

    def __init__(self, name: str, *, memory_bytes: int | None) -> None:
        self._name = name
        ours, theirs = socket.socketpair()
        with theirs:
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            self._process = subprocess.Popen(  # noqa: S603  # our own module
                [
                    sys.executable,
                    "-m",
                    "rollcast_predictor.host",
                    str(theirs.fileno()),
                    str(memory_bytes or 0),
                ],
                pass_fds=(theirs.fileno(),),
                env=host_environment(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),  # a model that prints must not end up in somebody's data
                close_fds=True,
            )
        self._channel = Channel(ours)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def load(self, order: LoadModel, *, deadline_seconds: float) -> Loaded:
        """Raises ModelRefused with the host's own words, HostDied or HostTimedOut."""
        answer = self._guarded("loading", deadline_seconds, lambda: self._load(order, deadline_seconds))
        if isinstance(answer, Refused):
            raise ModelRefused(f"{answer.kind}: {answer.message}")
        return answer

    def _load(self, order: LoadModel, deadline_seconds: float) -> Loaded | Refused:
        self._channel.send(order, timeout_seconds=deadline_seconds)
        answer: Loaded | Refused = self._channel.receive(self._loaded_decoder, timeout_seconds=deadline_seconds)
        return answer

    def send(self, batch: ScoreBatch, *, deadline_seconds: float) -> None:
        """Raises HostDied or HostTimedOut."""
        self._guarded(
            "taking a batch", deadline_seconds, lambda: self._channel.send(batch, timeout_seconds=deadline_seconds)
        )

    def receive(self, sequence: int, *, deadline_seconds: float) -> Scored:
        """The answer to batch `sequence`; answers to batches given up earlier are skipped.

        Raises HostDied or HostTimedOut.
        """
        while True:
            scored = self._guarded(
                "scoring",
                deadline_seconds,
                lambda: self._channel.receive(self._scored_decoder, timeout_seconds=deadline_seconds),
            )
            if scored.sequence == sequence:
                return scored

    def _guarded(self, doing: str, deadline_seconds: float, call: Callable[[], AnswerT]) -> AnswerT:
        try:
            return call()
        except ChannelTimeout:
            raise HostTimedOut(f"the host of {self._name} was not done {doing} after {deadline_seconds:g} s") from None
        except (ChannelClosed, msgspec.DecodeError):
            raise HostDied(f"the host of {self._name} ended while {doing} ({self._how_it_ended()})") from None

    def _how_it_ended(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1.0)
        code = self._process.returncode
        if code is None:
            return "its socket closed"
        if code == OUT_OF_MEMORY_EXIT_CODE:
            return "out of memory"
        if code < 0:
            hint = "; out of memory?" if -code == signal.SIGKILL else ""
            return f"signal {signal.Signals(-code).name}{hint}"
        return f"exit code {code}"

    def close(self) -> None:
        """End it kindly: it sees its socket close and goes; if it does not, it is killed."""
        self._channel.close()
        try:
            self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        self._channel.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait(timeout=_KILL_WAIT_SECONDS)
