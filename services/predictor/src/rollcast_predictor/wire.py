"""What a streamer and a model host say to each other: one length-prefixed msgpack message at a time.

The streamer speaks, the host answers, never both at once; so neither can block the other while writing.
"""

import select
import socket
import struct
import time
from typing import TypeVar

import msgspec

from rollcast_common.contracts import ArtifactFormat

__all__ = ["Channel", "ChannelClosed", "ChannelTimeout", "LoadModel", "Loaded", "Refused", "ScoreBatch", "Scored"]

_LENGTH = struct.Struct("!I")
_RECEIVE_BYTES = 1 << 20


class LoadModel(msgspec.Struct, frozen=True, kw_only=True):
    """The first message: load this file, check it, warm it."""

    path: str
    format: ArtifactFormat
    name: str
    sha256: str | None = None
    """The digest of the file at `path`; a card must be about these bytes."""
    card_path: str | None = None
    allow_pickle: bool = False
    trusted_types: list[str] = []
    max_unpacked_bytes: int | None = None
    warm_rows: int = 1000


class Loaded(msgspec.Struct, frozen=True, tag=True):
    estimator: str
    load_seconds: float
    verify_seconds: float
    golden_rows: int


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The model is not served; `message` is one line for people."""

    kind: str
    message: str


class ScoreBatch(msgspec.Struct, frozen=True):
    sequence: int
    values: list[bytes | None]


class Scored(msgspec.Struct, frozen=True):
    """`results[i]` is JSON, empty where `errors` has (i, reason, message)."""

    sequence: int
    results: list[bytes]
    errors: list[tuple[int, str, str]]
    seconds: float = 0.0
    """What scoring took the host."""


class ChannelClosed(Exception):  # it says what happened
    """The other side is gone."""


class ChannelTimeout(Exception):  # it says what happened
    """The other side did not answer, or did not read, in time."""


MessageT = TypeVar("MessageT")

_encoder = msgspec.msgpack.Encoder()


class Channel:
    """One end of the socket pair. Timeouts are in seconds, for the whole message; None waits forever."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def send(self, message: msgspec.Struct, *, timeout_seconds: float | None = None) -> None:
        payload = _encoder.encode(message)
        try:
            self._connection.settimeout(timeout_seconds)
            self._connection.sendall(_LENGTH.pack(len(payload)) + payload)
        except TimeoutError:
            raise ChannelTimeout from None
        except OSError:
            raise ChannelClosed from None

    def receive(
        self, decoder: "msgspec.msgpack.Decoder[MessageT]", *, timeout_seconds: float | None = None
    ) -> MessageT:
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size, deadline))
        return decoder.decode(self._exactly(length, deadline))

    def _exactly(self, count: int, deadline: float | None) -> bytearray:
        buffer = bytearray(count)
        view = memoryview(buffer)
        filled = 0
        while filled < count:
            remaining = None
            if deadline is not None and (remaining := deadline - time.monotonic()) <= 0:
                raise ChannelTimeout
            try:
                self._connection.settimeout(remaining)
                received = self._connection.recv_into(view[filled : filled + _RECEIVE_BYTES])
            except TimeoutError:
                raise ChannelTimeout from None
            except OSError:
                raise ChannelClosed from None
            if received == 0:
                raise ChannelClosed
            filled += received
        return buffer

    def readable(self) -> bool:
        """Whether `receive` would have something to read, the other side's end included."""
        poll = select.poll()
        try:
            poll.register(self._connection, select.POLLIN)
        except ValueError:  # our own end is closed: reading says so
            return True
        return bool(poll.poll(0))

    def close(self) -> None:
        self._connection.close()
