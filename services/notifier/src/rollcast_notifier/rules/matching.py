"""All conditions against a batch of predictions at once, column by column."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from rollcast_notifier.rules.columns import CELLS, CellType, Column
from rollcast_notifier.rules.conditions import Condition, Typing, table_of

__all__ = ["Matcher"]

_Failed = Callable[[int, str], None]


@dataclass(slots=True)
class _Answer:
    """Of one condition under one typing: what it is for each row, and why it could not be computed for some."""

    cells: pl.Series
    failures: dict[int, str] = field(default_factory=dict)


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
        cells = {column: [CELLS[kind](column.of(row)) for row in rows] for column, kind in self.types.items()}
        return table_of(self.types, cells)


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

        `failed(condition, why)` is called for each row of which a condition cannot be computed (a length below zero):
        there it is not true.
        """
        if not rows:
            return [[] for _ in self._conditions]
        answers: dict[tuple[int, int], _Answer] = {}
        for world in self._worlds:
            answers.update(zip(world.asked, _answers(world.table(rows), world.expressions), strict=True))
        found = []
        for number, condition in enumerate(self._conditions):
            answer = answers[number, 0]
            if len(condition.typings) > 1:
                answer = _chosen(condition, [answers[number, choice] for choice in range(len(condition.typings))], rows)
            for why in answer.failures.values():
                failed(number, why)
            found.append(answer.cells.arg_true().to_list())
        return found


def _answers(table: pl.DataFrame, expressions: Sequence[pl.Expr]) -> list[_Answer]:
    try:
        return [_Answer(cells) for cells in table.select(expressions).get_columns()]
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return [_alone(table, expression, 0) for expression in expressions]


def _alone(table: pl.DataFrame, expression: pl.Expr, first: int) -> _Answer:
    """One condition alone; where it fails, on halves, until the rows that it fails for are alone."""
    try:
        return _Answer(table.select(expression.alias("")).to_series())
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        if table.height == 1:
            return _Answer(pl.Series("", [None], dtype=pl.Boolean), {first: str(error).partition("\n")[0]})
    half = table.height // 2
    one, other = _alone(table[:half], expression, first), _alone(table[half:], expression, first + half)
    return _Answer(pl.concat([one.cells, other.cells]), one.failures | other.failures)


def _chosen(condition: Condition, answers: Sequence[_Answer], rows: Sequence[Mapping[str, Any]]) -> _Answer:
    """Each row's answer under the first typing that loses none of its values; else under the first."""
    cells: list[list[bool | None]] = [answer.cells.to_list() for answer in answers]
    chosen: list[bool | None] = []
    failures: dict[int, str] = {}
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
        if position in answers[choice].failures:
            failures[position] = answers[choice].failures[position]
    return _Answer(pl.Series("", chosen, dtype=pl.Boolean), failures)
