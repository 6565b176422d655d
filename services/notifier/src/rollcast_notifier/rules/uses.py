"""What a condition takes its columns for: compared with 4.5 it is a number, with 'Spain' a text. Pure.

polars itself is no judge of this: it would compare the text "10" with 4.5 letter by letter, and true with a text.
"""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import polars as pl

from rollcast_notifier.rules.columns import CellType, Column, candidates
from rollcast_notifier.rules.expression_tree import OPERANDS, WrongCondition, columns_in, function_of

__all__ = ["possible_types"]

_Use = Literal["text", "number", "bool", "any", "text?", "number?", ""]
"""`any`: only asked whether it is there. `number?`: CAST to one, so it may be a text as well. Nothing: the place does
not tell.
"""

_COMPARISONS = frozenset({"Eq", "EqValidity", "NotEq", "NotEqValidity", "Gt", "GtEq", "Lt", "LtEq"})
_LOGIC = frozenset({"And", "Or", "Xor", "LogicalAnd", "LogicalOr"})
_OF_NUMBERS = frozenset(
    {"Abs", "Atan2", "Cbrt", "Ceil", "Exp", "Floor", "Log", "Log1p", "Pow", "Round", "Sign", "Trigonometry"}
)
_ONE_OF_ALL = frozenset({"Coalesce", "FillNull", "MaxHorizontal", "MinHorizontal"})
_TEXT_TO_NUMBER = frozenset({"CountMatches", "Find", "LenBytes", "LenChars"})
_TEXT_TO_BOOL = frozenset({"Contains", "EndsWith", "StartsWith"})
_TEXT_TO_OTHER = frozenset({"Split", "Strptime"})
_CAST_FROM: Mapping[_Use, _Use] = {"number": "number?", "bool": "bool", "text?": "text?"}
_WORDS = {"text": "a text", "number": "a number", "bool": "true or false"}


def possible_types(tree: Any) -> dict[Column, tuple[CellType, ...]]:
    """The types that each column may have. Raises WrongCondition where one is taken for different things."""
    uses: dict[Column, set[_Use]] = {}
    for column, use in _uses(tree, "bool"):
        uses.setdefault(column, set()).add(use)
    possible: dict[Column, tuple[CellType, ...]] = {}
    for column, found in uses.items():
        kinds = sorted(found & _WORDS.keys()) or sorted(use[:-1] for use in found if use.endswith("?"))[:1]
        if len(kinds) > 1:
            raise WrongCondition(
                f"takes {column} for {' and for '.join(_WORDS[kind] for kind in kinds)}; TRY_CAST one of both"
            )
        if not kinds:
            possible[column] = ("any",) if found == {"any"} else candidates(column)
        elif kinds[0] in candidates(column):
            possible[column] = tuple(kind for kind in candidates(column) if kind == kinds[0])
        else:
            kind = _WORDS[candidates(column)[0]]
            raise WrongCondition(
                f"takes {column} for {_WORDS[kinds[0]]}; it is {kind}, and texts stand in single quotes"
            )
    return possible


def _uses(node: Any, use: _Use) -> Iterator[tuple[Column, _Use]]:
    ((kind, content),) = node.items()
    if kind == "Column" or (kind == "Function" and function_of(content["function"])[0] == "StructExpr"):
        yield from ((column, use) for column in columns_in(node))
    elif kind != "Literal":
        for operand, inner in _operands(kind, content, use):
            yield from _uses(operand, inner)


def _operands(kind: str, content: Any, use: _Use) -> list[tuple[Any, _Use]]:
    """What an operation is applied to, and what it takes each of these for."""
    if kind == "Alias":
        return [(content[0], use)]
    if kind == "Cast":
        return [(content["expr"], _CAST_FROM.get(_cast_kind(content), ""))]
    if kind == "Function":
        return _function_operands(content, use)
    parts = [content[name] for name in OPERANDS[kind]]
    if kind == "BinaryExpr":
        return _binary_operands(content["op"], parts)
    result = use or _first_kind(parts[1:])
    return [(parts[0], "bool"), (parts[1], result), (parts[2], result)]


def _binary_operands(operation: str, parts: Sequence[Any]) -> list[tuple[Any, _Use]]:
    if operation in _COMPARISONS:
        left, right = parts
        return [(left, _kind(right)), (right, _kind(left))]
    return [(part, "bool" if operation in _LOGIC else "number") for part in parts]


def _function_operands(content: Any, use: _Use) -> list[tuple[Any, _Use]]:
    (name, inner), parts = function_of(content["function"]), content["input"]
    if (name, inner) == ("Sql", "Binary"):
        return _binary_operands(content["function"][name][inner], parts)
    if name in _ONE_OF_ALL:
        return [(part, use or _first_kind(parts)) for part in parts]
    if inner == "IsIn":
        return [(parts[0], _kind(parts[1])), *((part, "") for part in parts[1:])]
    if name in _OF_NUMBERS or name == "Sql":
        return [(part, "number") for part in parts]
    of_first: _Use = ""
    if name == "Boolean":
        of_first = {"IsNull": "any", "IsNotNull": "any", "Not": "bool"}.get(inner, "")  # type: ignore[assignment]  # mypy widens the texts
    elif name == "StringExpr" and inner != "ConcatHorizontal":
        of_first = "text"
    return [(part, of_first if index == 0 else "") for index, part in enumerate(parts)]


def _kind(node: Any) -> _Use:  # a table of cases
    """What an expression gives."""
    ((kind, content),) = node.items()
    if kind == "Literal":
        return _literal_kind(node)
    if kind == "Cast":
        return _cast_kind(content)
    if kind == "Alias":
        return _kind(content[0])
    if kind == "Ternary":
        return _first_kind([content["truthy"], content["falsy"]])
    if kind == "BinaryExpr":
        is_bool = content["op"] in _COMPARISONS | _LOGIC
        return "bool" if is_bool else _kind(content["left"]) or "number"  # || is a sum of texts
    return _function_kind(content) if kind == "Function" else ""


def _function_kind(content: Any) -> _Use:
    (name, inner), parts = function_of(content["function"]), content["input"]
    if name in _ONE_OF_ALL:
        return _first_kind(parts)
    if name == "Boolean" or inner == "IsIn" or inner in _TEXT_TO_BOOL:
        return "bool"
    if (name, inner) == ("Sql", "Binary"):
        return "bool" if content["function"][name][inner] in _COMPARISONS else "number"
    if name in _OF_NUMBERS or name == "Sql" or inner in _TEXT_TO_NUMBER:
        return "number"
    return "text" if name == "StringExpr" and inner not in _TEXT_TO_OTHER else ""


def _first_kind(nodes: Sequence[Any]) -> _Use:
    return next((kind for node in nodes if (kind := _kind(node))), "")


def _literal_kind(node: Any) -> _Use:
    """Of a list what it is a list of."""
    dtype = pl.select(pl.Expr.deserialize(io.StringIO(json.dumps(node)), format="json")).dtypes[0]
    while isinstance(dtype, pl.List):
        dtype = dtype.inner  # type: ignore[assignment]  # a type's class may stand for the type
    if dtype == pl.String:
        return "text"
    return "number" if dtype.is_numeric() else "bool" if dtype == pl.Boolean else ""


def _cast_kind(content: Any) -> _Use:
    dtype = content["dtype"].get("Literal") if isinstance(content["dtype"], dict) else None
    if dtype == "String":
        return "text"
    if dtype == "Boolean":
        return "bool"
    name = dtype if isinstance(dtype, str) else next(iter(dtype), "") if isinstance(dtype, dict) else ""
    if name in ("Date", "Datetime", "Time"):
        return "text?"
    return "number" if name.startswith(("Int", "UInt", "Float", "Decimal")) else ""
