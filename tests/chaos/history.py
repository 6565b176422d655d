"""What actors write down: one JSON line for each thing that they did or saw. The judge reads nothing else.

Actors append to files of their own, so a killed one leaves at worst half a last line, which is not read.
Times are seconds of one machine's monotonic clock.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

__all__ = [
    "Accepted",
    "Announced",
    "Arrived",
    "Assigned",
    "Committed",
    "DeadLettered",
    "Event",
    "Fault",
    "OpenTransaction",
    "Result",
    "Sample",
    "Subscribed",
    "Writer",
    "read_history",
]


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    pass


class Accepted(_Event, frozen=True, kw_only=True, tag="accepted"):
    """Kafka acknowledged a request. `expected` is its right answer; None if only a dead letter is right."""

    id: str
    key: str
    partition: int
    offset: int
    expected: dict[str, Any] | None
    """By model digest: what that model says about this row."""

    time: float
    """When the acknowledgement came."""


class Result(_Event, frozen=True, kw_only=True, tag="result"):
    """A reader with isolation `read_committed` saw a prediction."""

    id: str
    key: str
    partition: int
    offset: int
    version: str
    sha256: str
    value: Any
    time: float


class DeadLettered(_Event, frozen=True, kw_only=True, tag="dead-lettered"):
    """The same reader saw a dead letter; the source is where it says its original lies."""

    id: str
    key: str
    partition: int
    offset: int
    source_partition: int
    source_offset: int
    reason: str
    time: float


class Announced(_Event, frozen=True, kw_only=True, tag="announced"):
    """A model whose file has this digest was put into the store and announced, at this time."""

    version: str
    sha256: str
    time: float


class Assigned(_Event, frozen=True, kw_only=True, tag="assigned"):
    """Seen from outside: who owned which partitions at this time."""

    owners: dict[int, str]
    time: float


class Sample(_Event, frozen=True, kw_only=True, tag="sample"):
    """Which slots said that they are ready, sampled every 100 ms."""

    ready: list[str]
    time: float


class Fault(_Event, frozen=True, kw_only=True, tag="fault"):
    kind: str
    target: str
    time: float
    until: float | None = None
    """When what was broken was whole again, if that is not the same moment."""


class Committed(_Event, frozen=True, kw_only=True, tag="committed"):
    """At the end: the group's committed offset, the partition's end, and the reader's position there."""

    partition: int
    committed: int
    end: int
    caught_up_at: float | None
    """When the group had nothing left to read here; None if that was not seen."""


class OpenTransaction(_Event, frozen=True, kw_only=True, tag="open-transaction"):
    """At the end: a partition whose last stable offset stays behind its end."""

    topic: str
    partition: int


class Subscribed(_Event, frozen=True, kw_only=True, tag="subscribed"):
    """From the beginning on: this receiver is to be told of each prediction with one of these keys, and of no other."""

    receiver: str
    keys: tuple[str, ...]


class Arrived(_Event, frozen=True, kw_only=True, tag="arrived"):
    """A receiver was told of a prediction. `answered`: and said so in a way that whoever told it could hear."""

    id: str
    receiver: str
    answered: bool
    time: float


Event = (
    Accepted
    | Result
    | DeadLettered
    | Announced
    | Assigned
    | Sample
    | Fault
    | Committed
    | OpenTransaction
    | Subscribed
    | Arrived
)

_decoder = msgspec.json.Decoder(Event)
_encoder = msgspec.json.Encoder()


class Writer:
    """Appends events to a file; each line is written whole before the next begins."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def write(self, events: Iterable[Event]) -> None:
        lines = b"".join(_encoder.encode(event) + b"\n" for event in events)
        if lines:
            self._file.write(lines)

    def close(self) -> None:
        self._file.close()


def read_history(paths: Iterable[Path]) -> Iterator[Event]:
    """All events of all files. A last line without its end was never finished, and is left out."""
    for path in sorted(paths):
        for line in path.read_bytes().split(b"\n")[:-1]:
            yield _decoder.decode(line)
