"""One condition: an SQL expression that is true or false of one prediction, checked before it is ever used.

polars parses it. Of what polars can, only what looks at one row alone is let through: nothing that counts, sums or
ranks rows, nothing that reads a table or a file. The types of its columns follow from how it uses them, and it is tried
on a table without rows.
"""

import io
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from rollcast_notifier.rules.columns import TYPES, CellType, Column
from rollcast_notifier.rules.expression_tree import WrongCondition, columns_in, forgiving
from rollcast_notifier.rules.uses import possible_types

__all__ = ["Condition", "Typing", "WrongCondition", "parse_condition", "table_of"]

Typing = Mapping[Column, CellType]
"""Which type each column of a condition has."""

_MOST_CHARACTERS = 2000
"""Longer ones are a program; and what parses them goes down one call for each operator."""

_MOST_TRIALS = 250

_SAMPLE: Mapping[CellType, Sequence[Any]] = {
    "text": ("1", "a", "2026-01-01", ""),
    "number": (1.0, 2.5, 0.0, -1.0),
    "bool": (True, False, True, False),
    "numbers": ([1.0], [1.0, 2.5], [], [0.0]),
    "texts": (["1"], ["a", "b"], [], [""]),
    "any": (True, None, True, None),
}
_SAMPLES = 4

_QUOTED = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|`[^`]*`")
_SELECT = re.compile(r"(?<![.\w])select\b", re.IGNORECASE)
_CLOCK = re.compile(
    r"(?<![.\w])(current_date|current_time|current_timestamp|localtime|localtimestamp|now\s*\(|today\s*\()",
    re.IGNORECASE,
)


@dataclass(frozen=True, eq=False)
class Condition:
    text: str
    expression: pl.Expr
    columns: tuple[Column, ...]
    typings: tuple[Typing, ...]
    """Those under which it makes sense, nearly always one. Of several, a row takes the first that loses none of its
    values."""


def parse_condition(text: str) -> Condition:
    """Raises WrongCondition."""
    if len(text) > _MOST_CHARACTERS:
        raise WrongCondition(f"has {len(text)} characters, may have {_MOST_CHARACTERS}; split it into subscriptions")
    unquoted = _QUOTED.sub("''", text)
    if _SELECT.search(unquoted):
        raise WrongCondition("has a SELECT in it; a condition is about one prediction alone")
    if clock := _CLOCK.search(unquoted):
        word = clock[1].rstrip("( \t\n")
        raise WrongCondition(f"{word} would be the time at which the rules were read; leave it out")
    try:
        return _checked(text)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise WrongCondition(_plain(error)) from None
    except RecursionError:
        raise WrongCondition("is nested too deeply; split it into subscriptions") from None


def _checked(text: str) -> Condition:
    expression = pl.sql_expr(text)
    tree = json.loads(expression.meta.serialize(format="json"))
    columns = tuple(sorted(set(columns_in(tree))))
    if not columns:
        raise WrongCondition("looks at no column, so it is the same for every prediction; leave `when` out to tell all")
    condition = Condition(text, _expression_of(forgiving(tree)), columns, _typings(expression, tree))
    _try_out(condition)
    return condition


def table_of(typing: Typing, cells: Mapping[Column, Sequence[Any]]) -> pl.DataFrame:
    """The columns as polars knows them: those of a group are fields of one structure."""
    plain: list[pl.Series] = []
    groups: dict[str, list[pl.Series]] = {}
    for column, kind in typing.items():
        series = pl.Series(column.name, cells[column], TYPES[kind])
        (groups.setdefault(column.group, []) if column.group else plain).append(series)
    return pl.DataFrame([*plain, *(pl.DataFrame(fields).to_struct(name) for name, fields in groups.items())])


def _typings(expression: pl.Expr, tree: Any) -> tuple[Typing, ...]:
    """All under which the expression is true or false. Raises WrongCondition when there are none.

    `a AND b` makes sense where a and b do: each part has few columns, so few trials settle them.
    """
    possible = possible_types(tree)
    for part in _parts(tree):
        of_part = sorted(set(columns_in(part)))
        fitting = _fitting(_expression_of(part), {column: possible[column] for column in of_part})
        for column in of_part:
            seen = {typing[column] for typing in fitting}
            possible[column] = _narrowed(tuple(kind for kind in possible[column] if kind in seen))
    return tuple(_alike(_fitting(expression, possible), [column for column in possible if len(possible[column]) > 1]))


def _expression_of(tree: Any) -> pl.Expr:
    return pl.Expr.deserialize(io.StringIO(json.dumps(tree)), format="json")


def _try_out(condition: Condition) -> None:
    """Some of what cannot be done polars only says when there is something to do it with.

    Raises WrongCondition when the condition can be computed for none of some made-up rows, not even under one typing.
    """
    problem = ""
    for typing, number in itertools.product(condition.typings, range(_SAMPLES)):
        cells = {column: _SAMPLE[kind][number] for column, kind in typing.items()}
        try:
            table_of(typing, {column: [cell] for column, cell in cells.items()}).select(condition.expression)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            problem = problem or _plain(error)
        else:
            return
    hint = "; a date is read by DATE(features.sold, '%Y-%m-%d')" if "casting from string to date" in problem else ""
    raise WrongCondition(f"cannot be computed: {problem}{hint}")


def _parts(node: Any) -> Iterator[Any]:
    binary = node.get("BinaryExpr")
    if binary is not None and binary["op"] in ("And", "Or"):
        yield from _parts(binary["left"])
        yield from _parts(binary["right"])
    else:
        yield node


def _narrowed(types: tuple[CellType, ...]) -> tuple[CellType, ...]:
    """Polars compares true and false with texts and with numbers, and a list with what it holds. That a column could
    be these, too, says nothing where it must be a text, or must be a number.
    """
    plain: tuple[CellType, ...] = tuple(kind for kind in types if kind in ("text", "number"))
    return plain if len(plain) == 1 else types


def _alike(typings: Sequence[Typing], open_columns: Sequence[Column]) -> Sequence[Typing]:
    """Those under which the columns that may be this or that are all the same, where there are such."""
    alike = [typing for typing in typings if len({typing[column] for column in open_columns}) <= 1]
    return alike or typings[:1]


def _fitting(expression: pl.Expr, possible: Mapping[Column, Sequence[CellType]]) -> list[Typing]:
    fitting: list[Typing] = []
    problem: str | None = None
    for typing in _trials(possible):
        try:
            result = table_of(typing, dict.fromkeys(typing, ())).select(expression.alias("_"))
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            problem = problem or _plain(error)
            continue
        if result.dtypes == [pl.Boolean]:
            fitting.append(typing)
        else:
            problem = problem or f"gives {result.dtypes[0]}, not true or false; compare it with something"
    if not fitting:
        named = ", ".join(map(str, possible))
        raise WrongCondition(f"{problem}{f' ({named})' if named else ''}")
    return fitting


def _trials(possible: Mapping[Column, Sequence[CellType]]) -> Iterator[Typing]:
    """Every combination; where these are too many, those in which all columns that can be of one type are."""
    if math.prod(map(len, possible.values())) <= _MOST_TRIALS:
        for types in itertools.product(*possible.values()):
            yield dict(zip(possible, types, strict=True))
    else:
        for kind in TYPES:
            yield {column: kind if kind in types else types[0] for column, types in possible.items()}


def _plain(error: BaseException) -> str:
    """The error of polars as one line for whoever wrote the condition."""
    line = str(error).strip().partition("\n")[0].strip()
    if not line or "Ident {" in line or "Span(" in line:
        return "is a form of SQL that conditions have not"
    return f"{line[:200]}…" if len(line) > 200 else line  # noqa: PLR2004  # a line that can be read
