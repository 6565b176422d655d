"""All conditions against a batch of predictions at once, column by column."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from rollcast_notifier.rules.columns import CELLS, TYPES, CellType, Column
from rollcast_notifier.rules.conditions import Condition, Typing

__all__ = ["Matcher"]

_Failed = Callable[[int, int, str], None]


@dataclass
class _World:
    """A table in which each column has one type, and the conditions that can be asked of it together."""

    types: dict[Column, CellType] = field(default_factory=dict)
    asked: list[tuple[int, int]] = field(default_factory=list)
    """Positions of a condition, and of one of its typings."""
    expressions: list[pl.Expr] = field(default_factory=list)

    def takes(self, typing: Typing) -> bool:
        return all(self.types.get(column, kind) == kind for column, kind in typing.items())

    def table(self, rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
        plain: list[pl.Series] = []
        groups: dict[str, list[pl.Series]] = {}
        for column, kind in self.types.items():
            cell = CELLS[kind]
            series = pl.Series(column.name, [cell(column.of(row)) for row in rows], TYPES[kind])
            (groups.setdefault(column.group, []) if column.group else plain).append(series)
        return pl.DataFrame([*plain, *(pl.DataFrame(fields).to_struct(name) for name, fields in groups.items())])


class Matcher:
    """Nearly always there is one world, so one question to polars for all conditions of a batch."""

    def __init__(self, conditions: Sequence[Condition]) -> None:
        self._conditions = tuple(conditions)
        self._worlds: list[_World] = []
        for number, condition in enumerate(self._conditions):
            for choice, typing in enumerate(condition.typings):
                world = next((world for world in self._worlds if world.takes(typing)), None)
                if world is None:
                    world = _World()
                    self._worlds.append(world)
                world.types.update(typing)
                world.asked.append((number, choice))
                world.expressions.append(condition.expression.alias(str(len(world.expressions))))

    def matches(self, rows: Sequence[Mapping[str, Any]], failed: _Failed = lambda *_: None) -> list[list[int]]:
        """Of each condition the positions of the rows for which it is true, in order.

        `failed(condition, rows, why)` is called for rows of which a condition cannot be computed (a text that is CAST
        to a number and is none): there it is not true.
        """
        if not rows:
            return [[] for _ in self._conditions]
        answers: dict[tuple[int, int], pl.Series] = {}
        for world in self._worlds:
            table = world.table(rows)
            for asked, expression, answer in zip(
                world.asked, world.expressions, _select(table, world.expressions), strict=True
            ):
                answers[asked] = _one_by_one(table, expression, asked[0], failed) if answer is None else answer
        found = []
        for number, condition in enumerate(self._conditions):
            of_typings = [answers[number, choice] for choice in range(len(condition.typings))]
            answer = of_typings[0] if len(of_typings) == 1 else _chosen(condition, of_typings, rows)
            found.append(answer.arg_true().to_list())
        return found


def _select(table: pl.DataFrame, expressions: Sequence[pl.Expr]) -> list[pl.Series] | list[None]:
    try:
        return table.select(expressions).get_columns()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return [None] * len(expressions)


def _one_by_one(table: pl.DataFrame, expression: pl.Expr, number: int, failed: _Failed) -> pl.Series:
    """One condition alone; where it fails, on halves, until the rows that it fails for are alone."""
    try:
        return table.select(expression).to_series()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        if table.height == 1:
            failed(number, 1, str(error).partition("\n")[0])
            return pl.Series([None], dtype=pl.Boolean)
    half = table.height // 2
    return pl.concat([_one_by_one(part, expression, number, failed).alias("") for part in (table[:half], table[half:])])


def _chosen(condition: Condition, answers: Sequence[pl.Series], rows: Sequence[Mapping[str, Any]]) -> pl.Series:
    """Each row's answer under the first typing that loses none of its values; else under the first."""
    cells: list[list[bool | None]] = [answer.to_list() for answer in answers]
    chosen = []
    for position, row in enumerate(rows):
        values = {column: column.of(row) for column in condition.columns}
        choice = next(
            (
                index
                for index, typing in enumerate(condition.typings)
                if all(value is None or CELLS[typing[column]](value) is not None for column, value in values.items())
            ),
            0,
        )
        chosen.append(cells[choice][position])
    return pl.Series(chosen, dtype=pl.Boolean)
