"""One condition: an SQL expression that is true or false of one prediction, checked before it is ever used.

polars parses it. Of what polars can, only what looks at one row alone is let through, by a list of what is allowed:
nothing that counts, sums or ranks rows, nothing that reads a table or a file. What the condition needs its columns to
be (`features.year > 2005`: a number) is found by trying it on a table without rows.
"""

import difflib
import io
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from rollcast_notifier.rules.columns import TYPES, CellType, Column, candidates
from rollcast_notifier.rules.facts import FACTS, GROUPS

__all__ = ["Condition", "Typing", "WrongCondition", "empty_table", "parse_condition"]

Typing = Mapping[Column, CellType]
"""Which type each column of a condition has."""

_MOST_CHARACTERS = 2000
"""Longer ones are a program; and what parses them goes down one call for each operator."""

_MOST_TRIALS = 250

# What polars' own notation of an expression may hold: `BinaryExpr` and so on. What is not here is refused, so what a
# later polars brings is, too.
_PLAIN_NODES = frozenset({"Alias", "BinaryExpr", "Cast", "Column", "Function", "Literal", "Ternary"})
_OPERANDS = {"BinaryExpr": ("left", "right"), "Cast": ("expr",), "Ternary": ("predicate", "truthy", "falsy")}
_FUNCTIONS: Mapping[str, frozenset[str] | None] = {
    "Abs": None,
    "Atan2": None,
    "Boolean": frozenset({"IsBetween", "IsIn", "IsNotNull", "IsNull", "Not"}),
    "Cbrt": None,
    "Ceil": None,
    "Coalesce": None,
    "Exp": None,
    "FillNull": None,
    "Floor": None,
    "ListExpr": frozenset({"Contains", "Get", "Length", "Max", "Mean", "Min", "Sum"}),
    "Log": None,
    "Log1p": None,
    "MaxHorizontal": None,
    "MinHorizontal": None,
    "Pow": None,
    "Round": None,
    "Sign": None,
    "Sql": frozenset({"Binary", "IsIn", "Round", "ToFloat"}),
    "StringExpr": None,
    "StructExpr": frozenset({"FieldByName"}),
    "TemporalExpr": None,
    "Trigonometry": None,
}  # fmt: skip
_OTHER_ROWS = "looks at other rows; a condition is about one prediction alone"
_REASONS = {
    "Agg": f"counts or sums up rows, so it {_OTHER_ROWS}",
    "Len": f"counts rows, so it {_OTHER_ROWS}",
    "Over": f"has a window (OVER), so it {_OTHER_ROWS}",
    "Explode": "makes several rows of one; a condition is about one prediction alone",
    "Selector": "takes several columns at once; name each",
}

_QUOTED = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|`[^`]*`")
_SELECT = re.compile(r"(?<![.\w])select\b", re.IGNORECASE)
_CLOCK = re.compile(
    r"(?<![.\w])(current_date|current_time|current_timestamp|localtime|localtimestamp|now\s*\(|today\s*\()",
    re.IGNORECASE,
)


class WrongCondition(ValueError):
    """Says what is wrong, and where it can be said what would be right."""


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
        expression = pl.sql_expr(text)
        tree = json.loads(expression.meta.serialize(format="json"))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise WrongCondition(_plain(error)) from None
    columns = tuple(sorted(set(_columns(tree))))
    if not columns:
        raise WrongCondition("looks at no column, so it is the same for every prediction; leave `when` out to tell all")
    return Condition(text, expression, columns, _typings(expression, tree))


def empty_table(typing: Typing) -> pl.DataFrame:
    """A table without rows that has these columns."""
    plain: dict[str, pl.DataType] = {}
    groups: dict[str, list[pl.Field]] = {}
    for column, cell_type in typing.items():
        if column.group:
            groups.setdefault(column.group, []).append(pl.Field(column.name, TYPES[cell_type]))
        else:
            plain[column.name] = TYPES[cell_type]
    return pl.DataFrame(schema=plain | {name: pl.Struct(fields) for name, fields in groups.items()})


def _columns(node: Any) -> Iterator[Column]:
    """The columns that an expression looks at. Raises WrongCondition for what is not allowed in it."""
    if isinstance(node, str):
        raise WrongCondition(_REASONS.get(node, f"uses {node}, which conditions have not"))
    ((kind, content),) = node.items()
    if kind not in _PLAIN_NODES:
        raise WrongCondition(_REASONS.get(kind, f"uses {kind}, which conditions have not"))
    if kind == "Column":
        yield _plain_column(content)
    elif kind == "Function":
        yield from _function_columns(content)
    elif kind == "Alias":
        yield from _columns(content[0])
    elif kind != "Literal":
        for name in _OPERANDS[kind]:
            yield from _columns(content[name])


def _function_columns(content: Any) -> Iterator[Column]:
    name, inner = _name_of(content["function"])
    allowed = _FUNCTIONS.get(name, frozenset())
    if allowed is not None and inner not in allowed:
        raise WrongCondition(f"uses a function ({name}) that conditions have not")
    if name != "StructExpr":
        for operand in content["input"]:
            yield from _columns(operand)
        return
    (of,) = content["input"]
    field = content["function"][name][inner]
    group = of.get("Column") if isinstance(of, dict) else None
    if not isinstance(group, str) or group not in GROUPS:
        raise WrongCondition(f".{field}: only {' and '.join(GROUPS)} have something in them: features.<name>")
    yield Column(field, group)


def _name_of(function: Any) -> tuple[str, str]:
    """`{"StringExpr": {"Contains": …}}` is Contains of StringExpr; `"Abs"` is itself."""
    if isinstance(function, str):
        return function, ""
    ((name, detail),) = function.items()
    return name, detail if isinstance(detail, str) else next(iter(detail), "") if isinstance(detail, dict) else ""


def _plain_column(name: str) -> Column:
    if name in GROUPS:
        raise WrongCondition(f"{name} is a whole group; name one in it: {name}.<name>")
    if name not in FACTS:
        near = difflib.get_close_matches(name.lower(), [*FACTS, *GROUPS], n=1)
        hint = f"did you mean {near[0]}?" if near else f"a feature is written features.{name}."
        raise WrongCondition(
            f"no column {name!r}; {hint} Columns: {', '.join(FACTS)}, {', '.join(f'{g}.<name>' for g in GROUPS)}; "
            "a text stands in single quotes"
        )
    return Column(name)


def _typings(expression: pl.Expr, tree: Any) -> tuple[Typing, ...]:
    """All under which the expression is true or false. Raises WrongCondition when there are none.

    `a AND b` makes sense where a and b do: each part has few columns, so few trials settle them.
    """
    possible: dict[Column, tuple[CellType, ...]] = {}
    for column, uses in _uses(tree).items():
        if uses == {"any"}:
            possible[column] = ("any",)
        else:
            possible[column] = ("number",) if "number" in uses else candidates(column)
    for part in _parts(tree):
        of_part = sorted(set(_columns(part)))
        part_expression = pl.Expr.deserialize(io.StringIO(json.dumps(part)), format="json")
        fitting = _fitting(part_expression, {column: possible[column] for column in of_part})
        for column in of_part:
            seen = {typing[column] for typing in fitting}
            possible[column] = _narrowed(tuple(kind for kind in possible[column] if kind in seen))
    return tuple(_alike(_fitting(expression, possible), [column for column in possible if len(possible[column]) > 1]))


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


def _uses(node: Any) -> dict[Column, set[str]]:
    """How each column is used where that alone tells its type: `any` only asked whether it is there, `number` CAST to
    one.
    """
    uses: dict[Column, set[str]] = {}
    for column, use in _each_use(node, ""):
        uses.setdefault(column, set()).add(use)
    return uses


def _each_use(node: Any, use: str) -> Iterator[tuple[Column, str]]:
    ((kind, content),) = node.items()
    if kind == "Column" or (kind == "Function" and _name_of(content["function"])[0] == "StructExpr"):
        yield from ((column, use) for column in _columns(node))
    elif kind == "Function":
        inner = "any" if _name_of(content["function"]) in (("Boolean", "IsNull"), ("Boolean", "IsNotNull")) else ""
        for operand in content["input"]:
            yield from _each_use(operand, inner)
    elif kind == "Alias":
        yield from _each_use(content[0], use)
    elif kind == "Cast":
        wanted = content["dtype"].get("Literal") if isinstance(content["dtype"], dict) else None
        is_number = isinstance(wanted, str) and wanted.startswith(("Int", "UInt", "Float"))
        yield from _each_use(content["expr"], "number" if is_number else "")
    elif kind != "Literal":
        for name in _OPERANDS[kind]:
            yield from _each_use(content[name], "")


def _parts(node: Any) -> Iterator[Any]:
    binary = node.get("BinaryExpr") if isinstance(node, dict) else None
    if binary is not None and binary["op"] in ("And", "Or"):
        yield from _parts(binary["left"])
        yield from _parts(binary["right"])
    else:
        yield node


def _fitting(expression: pl.Expr, possible: Mapping[Column, Sequence[CellType]]) -> list[Typing]:
    fitting: list[Typing] = []
    problem: str | None = None
    for typing in _trials(possible):
        try:
            result = empty_table(typing).select(expression.alias("_"))
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            problem = problem or _plain(error)
            continue
        if result.dtypes == [pl.Boolean]:
            fitting.append(typing)
        else:
            found = result.dtypes[0] if result.width == 1 else "several columns"
            problem = problem or f"gives {found}, not true or false; compare it with something"
    if not fitting:
        named = ", ".join(map(str, possible))
        raise WrongCondition(f"{problem or 'is used in ways that do not go together'}{f' ({named})' if named else ''}")
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
