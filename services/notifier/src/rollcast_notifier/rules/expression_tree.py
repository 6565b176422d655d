"""The notation that polars has for an expression, as JSON: what of it conditions may hold, which columns it looks at.

What is not on the lists here is refused; so what a later polars brings is, too.
"""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from rollcast_notifier.rules.columns import Column
from rollcast_notifier.rules.facts import FACTS, GROUPS

__all__ = ["OPERANDS", "WrongCondition", "columns_in", "forgiving", "function_of"]

_PLAIN_NODES = frozenset({"Alias", "BinaryExpr", "Cast", "Column", "Function", "Literal", "Ternary"})
OPERANDS = {"BinaryExpr": ("left", "right"), "Cast": ("expr",), "Ternary": ("predicate", "truthy", "falsy")}
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


class WrongCondition(ValueError):
    """Says what is wrong, and where it can be said what would be right."""


def columns_in(node: Any) -> Iterator[Column]:
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
        yield from columns_in(content[0])
    elif kind != "Literal":
        for name in OPERANDS[kind]:
            yield from columns_in(content[name])


def _function_columns(content: Any) -> Iterator[Column]:
    name, inner = function_of(content["function"])
    allowed = _FUNCTIONS.get(name, frozenset())
    if allowed is not None and inner not in allowed:
        raise WrongCondition(f"uses a function ({name}) that conditions have not")
    if inner == "Strptime" and content["function"][name][inner][1]["format"] is None:
        # polars would guess it, from the other rows.
        raise WrongCondition("reads a date without saying how it is written: DATE(features.sold, '%Y-%m-%d')")
    if name != "StructExpr":
        for operand in content["input"]:
            yield from columns_in(operand)
        return
    (of,) = content["input"]
    field = content["function"][name][inner]
    group = of.get("Column") if isinstance(of, dict) else None
    if not isinstance(group, str) or group not in GROUPS:
        raise WrongCondition(f".{field}: only {' and '.join(GROUPS)} have something in them: features.<name>")
    yield Column(field, group)


def forgiving(node: Any) -> Any:
    """The same expression, but what cannot be converted is null, as all else that cannot be what is needed; SQL's CAST
    would be an error for the whole batch.
    """
    if isinstance(node, list):
        return [forgiving(item) for item in node]
    if not isinstance(node, dict):
        return node
    changed = {("options", "Strict"): "NonStrict", ("strict", True): False}
    return {
        name: changed[name, value] if isinstance(value, str | bool) and (name, value) in changed else forgiving(value)
        for name, value in node.items()
    }


def function_of(function: Any) -> tuple[str, str]:
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
