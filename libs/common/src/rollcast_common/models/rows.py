"""From raw request bytes to columns, with every row that does not fit set aside and told why. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from rollcast_common.contracts import DeadLetterReason
from rollcast_common.models.card import Feature, InputSchema

__all__ = ["DecodedRows", "RowDecoder", "RowError"]


class RowError(msgspec.Struct, frozen=True):
    """Why one row gets no prediction; `message` is for the person who sent it."""

    reason: DeadLetterReason
    message: str


@dataclass(slots=True)
class DecodedRows:
    """`columns[name][i]` belongs to the row at position `positions[i]` of the batch."""

    columns: dict[str, np.ndarray]
    positions: list[int]
    errors: dict[int, RowError] = field(default_factory=dict)


class RowDecoder:
    """Decodes batches for one schema.

    Without a schema (a model that came without a card) the names are all that is known: every feature must
    be there, and keeps the type that JSON gave it.
    """

    def __init__(self, schema: InputSchema | None, feature_names: Sequence[str] = ()) -> None:
        if schema is None:
            self._features = [Feature(name=name, type="string") for name in feature_names]
            self._missing: frozenset[str] = frozenset()
        else:
            self._features = list(schema.features)
            self._missing = frozenset(schema.missing_values)
        self._typed = schema is not None
        self._attributes = [f"f{index}" for index in range(len(self._features))]
        # Decoding into a struct of the needed fields skips all others without building objects for them.
        row_type = msgspec.defstruct(
            "Row",
            [
                (attribute, self._json_type(feature), msgspec.UNSET)
                for attribute, feature in zip(self._attributes, self._features, strict=True)
            ],
            rename=dict(zip(self._attributes, (f.name for f in self._features), strict=True)),
        )
        self._decoder = msgspec.json.Decoder(row_type)

    def _json_type(self, feature: Feature) -> Any:
        if not self._typed:
            return str | int | float | bool | None | msgspec.UnsetType
        if feature.type == "number":
            return str | int | float | None | msgspec.UnsetType
        return str | None | msgspec.UnsetType

    def decode(self, values: Sequence[bytes | None]) -> DecodedRows:
        errors: dict[int, RowError] = {}
        rows: list[Any] = []
        positions: list[int] = []
        decode = self._decoder.decode
        for position, value in enumerate(values):
            if not value:
                errors[position] = RowError(
                    DeadLetterReason.EMPTY, "the record is empty; expected a JSON object of features"
                )
                continue
            try:
                rows.append(decode(value))
                positions.append(position)
            except msgspec.ValidationError as error:
                errors[position] = _validation_error(str(error))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                errors[position] = RowError(DeadLetterReason.NOT_JSON, f"not JSON: {error}")
            except ValueError as error:  # an integer of thousands of digits
                errors[position] = RowError(DeadLetterReason.WRONG_TYPE, str(error))
        columns: dict[str, np.ndarray] = {}
        bad: dict[int, RowError] = {}  # by index into rows
        for attribute, feature in zip(self._attributes, self._features, strict=True):
            cells = [getattr(row, attribute) for row in rows]
            if not self._typed:
                columns[feature.name] = _untyped_column(cells, feature, bad)
            elif feature.type == "number":
                columns[feature.name] = self._number_column(cells, feature, bad)
            else:
                columns[feature.name] = self._string_column(cells, feature, bad)
        if bad:
            keep = [index for index in range(len(rows)) if index not in bad]
            columns = {name: column[keep] for name, column in columns.items()}
            errors.update({positions[index]: error for index, error in bad.items()})
            positions = [positions[index] for index in keep]
        return DecodedRows(columns, positions, errors)

    def _number_column(self, cells: list[Any], feature: Feature, bad: dict[int, RowError]) -> np.ndarray:
        try:
            column = np.array(cells, dtype=np.float64)
        except (ValueError, TypeError, OverflowError):
            column = self._numbers_one_by_one(cells, feature, bad)
        infinite = np.isinf(column)
        if infinite.any():
            for index in np.flatnonzero(infinite).tolist():
                bad.setdefault(index, _wrong(feature, "a finite number", cells[index]))
        if feature.required:
            unknown = np.isnan(column)
            if unknown.any():
                for index in np.flatnonzero(unknown).tolist():
                    bad.setdefault(index, _lacking(feature))
        return column

    def _numbers_one_by_one(self, cells: list[Any], feature: Feature, bad: dict[int, RowError]) -> np.ndarray:
        column = np.full(len(cells), np.nan)
        for index, cell in enumerate(cells):
            if cell is msgspec.UNSET or (isinstance(cell, str) and cell.strip() in self._missing):
                continue
            try:
                column[index] = np.array([cell], dtype=np.float64)[0]
            except (ValueError, OverflowError):
                bad.setdefault(index, _wrong(feature, "a number", cell))
        return column

    def _string_column(self, cells: list[Any], feature: Feature, bad: dict[int, RowError]) -> np.ndarray:
        column = np.empty(len(cells), dtype=object)
        column[:] = cells
        missing = self._missing
        for index, cell in enumerate(cells):
            if cell is None or cell is msgspec.UNSET or cell in missing:
                if feature.required:
                    bad.setdefault(index, _lacking(feature))
                column[index] = ""
        return column


def _untyped_column(cells: list[Any], feature: Feature, bad: dict[int, RowError]) -> np.ndarray:
    for index, cell in enumerate(cells):
        if cell is msgspec.UNSET:
            bad.setdefault(index, _lacking(feature))
    if all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in cells):
        try:
            return np.array(cells, dtype=np.float64)
        except OverflowError:
            pass
    column = np.empty(len(cells), dtype=object)
    column[:] = [None if cell is msgspec.UNSET else cell for cell in cells]
    return column


def _lacking(feature: Feature) -> RowError:
    return RowError(DeadLetterReason.MISSING_FEATURE, f"feature {feature.name} is missing ({feature.type})")


def _wrong(feature: Feature, wanted: str, was: Any) -> RowError:
    shown = repr(was)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."  # noqa: PLR2004  # a line that can be read
    return RowError(DeadLetterReason.WRONG_TYPE, f"feature {feature.name}: expected {wanted}, was {shown}")


def _validation_error(text: str) -> RowError:
    """`Expected `str | null`, got `array` - at `$.winery`` in the words of the sender."""
    if " - at `$." not in text:
        return RowError(DeadLetterReason.NOT_AN_OBJECT, f"not a JSON object of features: {text}")
    what, _, place = text.partition(" - at `$.")
    return RowError(DeadLetterReason.WRONG_TYPE, f"feature {place.rstrip('`')}: {what.replace('`', '')}")
