"""A batch of consumed records, and the arithmetic of its offsets. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Message

from rollcast_common.contracts import DeadLetterReason
from rollcast_common.contracts.headers import header
from rollcast_common.contracts.request import MODEL_HEADER

__all__ = ["Batch", "Failure", "first_offsets", "headers_of", "partition_of"]

Failure = tuple[DeadLetterReason, str]


@dataclass(slots=True)
class Batch:
    """Records in the order in which they were polled, with the group metadata that they were polled under."""

    sequence: int
    messages: list[Message]
    group_metadata: Any
    failures: dict[int, Failure] = field(default_factory=dict)
    """Rows that are refused without asking the model, and rows that broke it."""

    skipped: set[int] = field(default_factory=set)
    """Rows that their sender restricted to another model."""

    @classmethod
    def from_messages(
        cls, sequence: int, messages: list[Message], group_metadata: Any, *, model: str, max_request_bytes: int
    ) -> "Batch":
        batch = cls(sequence, messages, group_metadata)
        for row, message in enumerate(messages):
            value = message.value()
            if value is not None and len(value) > max_request_bytes:
                batch.failures[row] = (
                    DeadLetterReason.TOO_LARGE,
                    f"the record has {len(value)} bytes; at most {max_request_bytes} are taken",
                )
            wanted = header(headers_of(message), MODEL_HEADER)
            if wanted is not None and wanted != model:
                batch.skipped.add(row)
        return batch

    def values(self) -> list[bytes | None]:
        """What the host is asked to score; rows that it need not see are None."""
        if not self.failures and not self.skipped:
            return [message.value() for message in self.messages]
        return [
            None if row in self.failures or row in self.skipped else message.value()
            for row, message in enumerate(self.messages)
        ]

    def split(self, at: int) -> tuple["Batch", "Batch"]:
        """The rows before row `at` and the others, each with rows counted from 0.

        Rows are in the order of their offsets, so each part can be committed by itself, the first one first.
        """
        parts = []
        for rows in (range(at), range(at, len(self.messages))):
            part = Batch(self.sequence, self.messages[rows.start : rows.stop], self.group_metadata)
            part.failures = {row - rows.start: failure for row, failure in self.failures.items() if row in rows}
            part.skipped = {row - rows.start for row in self.skipped if row in rows}
            parts.append(part)
        return parts[0], parts[1]

    def first_offsets(self) -> dict[tuple[str, int], int]:
        """Where to go back to when the batch did not happen."""
        return first_offsets(self.messages)

    def next_offsets(self) -> dict[tuple[str, int], int]:
        """What is committed with the batch: highest processed + 1, from the records themselves."""
        return {partition_of(message): _offset(message) + 1 for message in self.messages}


def first_offsets(messages: Iterable[Message]) -> dict[tuple[str, int], int]:
    """Of each (topic, partition) among the messages, the offset of its first one."""
    offsets: dict[tuple[str, int], int] = {}
    for message in messages:
        offsets.setdefault(partition_of(message), _offset(message))
    return offsets


def headers_of(message: Message) -> list[tuple[str, bytes | str | None]] | None:
    """A consumed record's headers are a list, or None; the client's own types are wider."""
    return message.headers()  # type: ignore[return-value]  # see above


def partition_of(message: Message) -> tuple[str, int]:
    return message.topic(), message.partition()  # type: ignore[return-value]  # a record without error has both


def _offset(message: Message) -> int:
    return message.offset()  # type: ignore[return-value]  # a record without error has one
