"""The streamer's side of a model host: start it, talk to it, end it."""

import signal
import socket
import time
from collections.abc import Callable
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
from rollcast_predictor.zygote import shared_zygote

__all__ = ["HostDied", "HostProcess", "HostTimedOut", "ModelRefused"]

_log = structlog.get_logger()

_END_SECONDS = 1.0

AnswerT = TypeVar("AnswerT")


class ModelRefused(ArtifactError):
    """A host looked at the model and will not serve it. `kind` is the name of the host's own error."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind


class HostDied(RollcastError):
    retryable = True


class HostTimedOut(RollcastError):
    retryable = True


class HostProcess:
    """One host with one model. `send` and `receive` alternate; a host that fails is `kill`ed and replaced."""

    _loaded_decoder = msgspec.msgpack.Decoder(Loaded | Refused)
    _scored_decoder = msgspec.msgpack.Decoder(Scored)

    def __init__(self, name: str, *, memory_bytes: int | None) -> None:
        """Raises ZygoteGone, after which another try makes another zygote."""
        self._name = name
        ours, theirs = socket.socketpair()
        with theirs:
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            self._host = shared_zygote().fork(theirs, memory_bytes=memory_bytes)
        self._channel = Channel(ours)

    @property
    def pid(self) -> int:
        return self._host.pid

    @property
    def is_running(self) -> bool:
        return self._host.exit_code() is None

    def load(self, order: LoadModel, *, deadline_seconds: float) -> Loaded:
        """Raises ModelRefused with the host's own words, HostDied or HostTimedOut."""
        answer = self._guarded("loading", deadline_seconds, lambda: self._load(order, deadline_seconds))
        if isinstance(answer, Refused):
            raise ModelRefused(answer.kind, answer.message)
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

    def has_answered(self) -> bool:
        """Whether an answer, or the host's end, can be read without waiting."""
        return self._channel.readable()

    def _guarded(self, doing: str, deadline_seconds: float, call: Callable[[], AnswerT]) -> AnswerT:
        try:
            return call()
        except ChannelTimeout:
            raise HostTimedOut(f"the host of {self._name} was not done {doing} after {deadline_seconds:g} s") from None
        except (ChannelClosed, msgspec.DecodeError):
            raise HostDied(f"the host of {self._name} ended while {doing} ({self._how_it_ended()})") from None

    def _how_it_ended(self) -> str:
        code = self._exit_code_within(_END_SECONDS)
        if code is None:
            # It runs on without its socket; or it is ending on a busy machine, and then its exit code stands already.
            self._host.kill()
            code = self._host.exit_code()
            if code is None or code == -signal.SIGKILL:
                return "its socket closed"
        if code == OUT_OF_MEMORY_EXIT_CODE:
            return "out of memory"
        if code < 0:
            hint = "; out of memory?" if -code == signal.SIGKILL else ""
            return f"signal {signal.Signals(-code).name}{hint}"
        return f"exit code {code}"

    def _exit_code_within(self, seconds: float) -> int | None:
        deadline = time.monotonic() + seconds
        while (code := self._host.exit_code()) is None and time.monotonic() < deadline:
            time.sleep(0.01)
        return code

    def close(self) -> None:
        """End it kindly: it sees its socket close and goes; if it does not, it is killed."""
        self._channel.close()
        if self._exit_code_within(_END_SECONDS) is None:
            self._host.kill()

    def kill(self) -> None:
        self._channel.close()
        self._host.kill()
