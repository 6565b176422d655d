"""The columns of conditions, and how a fact becomes a cell of one.

What JSON holds has no fixed type: a year comes as 2009 or as "2009", and the same name is a number in one model and a
text in another. So a cell depends on the type that the condition needs and on its own row alone: what cannot be that
is null, as if it were not there.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from rollcast_notifier.rules.facts import FACTS, GROUPS

__all__ = ["CELLS", "TYPES", "CellType", "Column", "candidates"]

CellType = Literal["text", "number", "bool", "numbers", "texts", "any"]

TYPES: Mapping[CellType, pl.DataType] = {
    "text": pl.String(),
    "number": pl.Float64(),
    "bool": pl.Boolean(),
    "numbers": pl.List(pl.Float64()),
    "texts": pl.List(pl.String()),
    "any": pl.Boolean(),
}


@dataclass(frozen=True, slots=True, order=True)
class Column:
    """`prediction`, or one of a group: `features.country`."""

    name: str
    group: str = ""

    def __str__(self) -> str:
        return f"{self.group}.{self.name}" if self.group else self.name

    def of(self, facts: Mapping[str, Any]) -> Any:
        return facts[self.group].get(self.name) if self.group else facts[self.name]


def candidates(column: Column) -> tuple[CellType, ...]:
    """The types that a column may have, the first one preferred where a condition can do with several."""
    if column.group:
        return ("text", "number", "bool") if column.group == "features" else ("text", "number")
    if column.name == "prediction":
        return ("text", "number", "bool", "numbers", "texts")
    if column.name == "fallback":
        return ("bool",)
    return ("text", "number") if column.name == "key" else ("text",)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> float | None:
    """Also of its text, as CSV readers send it. Not a number, and infinite, are not known: SQL's NaN exceeds all."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and "_" in value:  # Python's own way to write 1000
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _bool(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _list(cell: Callable[[Any], Any]) -> Callable[[Any], list[Any] | None]:
    def cells(value: Any) -> list[Any] | None:
        if not isinstance(value, list):
            return None
        found = [cell(item) for item in value]
        return None if None in found else found

    return cells


def _any(value: Any) -> bool | None:
    """For who only asks whether it is there."""
    return None if value is None else True


CELLS: Mapping[CellType, Callable[[Any], Any]] = {
    "text": _text,
    "number": _number,
    "bool": _bool,
    "numbers": _list(_number),
    "texts": _list(_text),
    "any": _any,
}

assert set(GROUPS) == {"features", "headers"}  # noqa: S101  # `candidates` knows these
assert {"prediction", "fallback", "key"} <= set(FACTS)  # noqa: S101  # and these
