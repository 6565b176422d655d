"""A dead letter: topic `dead_letters`, the original key and bytes, and headers that say why.

The headers of the original record come along unchanged; ours begin with `rollcast-`. A value that is too
large for the topic is cut, flagged, and its full size said.

The topic also holds marks: records without a value that say which dead letter was replayed. A mark and the
replayed request are written in one transaction.
"""

from dataclasses import dataclass
from enum import StrEnum

from rollcast_common.contracts.headers import RawHeaders, header
from rollcast_common.contracts.versioning import check_schema
from rollcast_common.errors import ContractError

__all__ = [
    "DeadLetter",
    "DeadLetterReason",
    "dead_letter_headers",
    "original_headers",
    "parse_dead_letter",
    "replay_mark_headers",
    "replayed_place",
]

_SCHEMA = "1.0"
_MESSAGE_LIMIT_CHARACTERS = 500

_OURS = "rollcast-"
_REPLAYED = "rollcast-replayed"


class DeadLetterReason(StrEnum):
    """Why a record got no prediction. A closed list: it labels metrics."""

    EMPTY = "empty"
    NOT_JSON = "not-json"
    NOT_AN_OBJECT = "not-an-object"
    MISSING_FEATURE = "missing-feature"
    WRONG_TYPE = "wrong-type"
    TOO_LARGE = "too-large"
    MODEL_ERROR = "model-error"
    MODEL_TIMEOUT = "model-timeout"
    MODEL_CRASH = "model-crash"
    BAD_OUTPUT = "bad-output"
    OUTPUT_REFUSED = "output-refused"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Where a refused record came from, why it was refused, and by which model."""

    reason: DeadLetterReason
    message: str
    source_topic: str
    source_partition: int
    source_offset: int
    model: str
    version: str
    request_id: str
    truncated: bool = False
    original_size_bytes: int | None = None


def dead_letter_headers(letter: DeadLetter) -> list[tuple[str, bytes]]:
    pairs = [
        ("rollcast-schema", _SCHEMA),
        ("rollcast-reason", letter.reason.value),
        ("rollcast-message", letter.message[:_MESSAGE_LIMIT_CHARACTERS]),
        ("rollcast-source-topic", letter.source_topic),
        ("rollcast-source-partition", str(letter.source_partition)),
        ("rollcast-source-offset", str(letter.source_offset)),
        ("rollcast-model", letter.model),
        ("rollcast-version", letter.version),
        ("rollcast-request-id", letter.request_id),
    ]
    if letter.truncated:
        pairs.append(("rollcast-truncated", "true"))
    if letter.original_size_bytes is not None:
        pairs.append(("rollcast-original-size", str(letter.original_size_bytes)))
    return [(name, value.encode("utf-8", "replace")) for name, value in pairs]


def parse_dead_letter(headers: RawHeaders | None) -> DeadLetter:
    """Raises ContractError when the headers are not those of a dead letter."""

    def wanted(name: str) -> str:
        value = header(headers, name)
        if value is None:
            raise ContractError(f"DeadLetter: header {name} is missing")
        return value

    check_schema("DeadLetter", wanted("rollcast-schema"), major=1)
    try:
        size = header(headers, "rollcast-original-size")
        return DeadLetter(
            reason=DeadLetterReason(wanted("rollcast-reason")),
            message=wanted("rollcast-message"),
            source_topic=wanted("rollcast-source-topic"),
            source_partition=int(wanted("rollcast-source-partition")),
            source_offset=int(wanted("rollcast-source-offset")),
            model=wanted("rollcast-model"),
            version=wanted("rollcast-version"),
            request_id=wanted("rollcast-request-id"),
            truncated=header(headers, "rollcast-truncated") == "true",
            original_size_bytes=int(size) if size else None,
        )
    except ValueError as error:
        raise ContractError(f"DeadLetter: {error}") from None


def replay_mark_headers(partition: int, offset: int) -> list[tuple[str, bytes]]:
    """The headers of a mark: the dead letter at this place of the topic was replayed."""
    return [("rollcast-schema", _SCHEMA.encode()), (_REPLAYED, f"{partition}:{offset}".encode())]


def replayed_place(headers: RawHeaders | None) -> tuple[int, int] | None:
    """Which dead letter (partition, offset) a mark is about; None of a record that is no mark.

    Raises ContractError when a mark names no place.
    """
    place = header(headers, _REPLAYED)
    if place is None:
        return None
    partition, colon, offset = place.partition(":")
    if not (colon and partition.isdecimal() and offset.isdecimal()):
        raise ContractError(f"DeadLetter: header {_REPLAYED} was {place!r}, may be partition:offset")
    return int(partition), int(offset)


def original_headers(headers: RawHeaders | None) -> list[tuple[str, bytes | str | None]]:
    """The headers that the request itself had."""
    return [(name, value) for name, value in headers or () if not name.startswith(_OURS)]
