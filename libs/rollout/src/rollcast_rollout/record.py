"""What the brain remembers: written before it is acted upon, read by whoever comes next. To a shell it is opaque."""

import msgspec

from rollcast_common.contracts import Assignment

__all__ = ["Record"]


class Record(msgspec.Struct, kw_only=True, frozen=True):
    model: str
    assignment: Assignment | None = None
