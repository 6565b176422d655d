"""From raw request bytes to columns, with every row that does not fit set aside and told why. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from rollcast_common.contracts import DeadLetterReason
from rollcast_common.errors import UnusableModel
from rollcast_common.models.card import Feature, InputSchema

__all__ = ["DecodedRows", "RowDecoder", "RowError"]

_cells = msgspec.structs.astuple

_JSON_WORDS = {
    "array": "an array",
    "bool": "true or false",
    "float": "a number",
    "int": "a number",
    "null": "null",
    "object": "an object",
    "str": "a text",
}


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
    be there, and its column holds what JSON gave it (numbers as float, text, bool or None).
    A cell's value depends on its own row only, never on what else is in the batch.

    Raises UnusableModel when a feature's name cannot be decoded, or there is no feature.
    """

    def __init__(self, schema: InputSchema | None, feature_names: Sequence[str] = ()) -> None:
        if schema is None:
            self._features = [Feature(name=name, type="string") for name in feature_names]
            self._missing: frozenset[str] = frozenset()
        else:
            self._features = list(schema.features)
            self._missing = frozenset(schema.missing_values)
        self._typed = schema is not None
        self._wanted = {feature.name: self._words_for(feature) for feature in self._features}
        self._number_among_missing = any(_is_number(text) for text in self._missing)
        if not self._features:
            raise UnusableModel("the model has no features: there is nothing to read from a request")
        # Decoding into a struct of the needed fields skips all others without building objects for them.
        # With a schema an absent field is null; without one, null is a value of its own.
        absent = None if self._typed else msgspec.UNSET
        attributes = [f"f{index}" for index in range(len(self._features))]
        try:
            row_type = msgspec.defstruct(
                "Row",
                [(name, self._json_type(f), absent) for name, f in zip(attributes, self._features, strict=True)],
                rename=dict(zip(attributes, (f.name for f in self._features), strict=True)),
            )
        except ValueError as error:  # a name twice, or one with a quote, backslash or control character
            raise UnusableModel(f"the features cannot be read from JSON: {error}; rename the columns") from None
        self._decoder = msgspec.json.Decoder(row_type)

    def _json_type(self, feature: Feature) -> Any:
        if not self._typed:
            return str | int | float | bool | None | msgspec.UnsetType
        return str | int | float | None if feature.type == "number" else str | None

    def _words_for(self, feature: Feature) -> str:
        if not self._typed:
            return "a number, a text, true, false or null"
        return "a number" if feature.type == "number" else "a text"

    def decode(self, values: Sequence[bytes | None]) -> DecodedRows:
        errors: dict[int, RowError] = {}
        rows: list[tuple[Any, ...]] = []
        positions: list[int] = []
        for position, value in enumerate(values):
            row = self._parse(value)
            if isinstance(row, RowError):
                errors[position] = row
            else:
                rows.append(row)
                positions.append(position)
        columns: dict[str, np.ndarray] = {}
        bad: dict[int, RowError] = {}  # by index into rows
        by_feature = zip(*rows, strict=True) if rows else ((),) * len(self._features)
        for cells, feature in zip(by_feature, self._features, strict=True):
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

    def _parse(self, value: bytes | None) -> tuple[Any, ...] | RowError:
        if not value:
            return RowError(DeadLetterReason.EMPTY, "the record is empty; expected a JSON object of features")
        try:
            if not value.isascii():
                value.decode()  # msgspec does not look into what it skips, but the request goes on to others
            return _cells(self._decoder.decode(value))
        except msgspec.ValidationError as error:
            return self._validation_error(str(error))
        except RecursionError:
            return RowError(DeadLetterReason.NOT_JSON, "not JSON that can be read: nested too deeply")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return RowError(DeadLetterReason.NOT_JSON, f"not JSON: {error}")

    def _validation_error(self, text: str) -> RowError:
        """In the words of the sender what msgspec says as ``Expected `str | null`, got `array` - at `$.winery` ``."""
        what, at, place = text.partition(" - at `$.")
        got = _JSON_WORDS.get(what.rpartition("got `")[2].rstrip("`"))
        if not at:
            return RowError(DeadLetterReason.NOT_AN_OBJECT, f"expected a JSON object of features, was {got or text}")
        name = place.removesuffix("`")
        if got is None:  # a number beyond what float64 holds
            return RowError(DeadLetterReason.WRONG_TYPE, f"feature {name}: {what[:1].lower()}{what[1:]}")
        return RowError(DeadLetterReason.WRONG_TYPE, f"feature {name}: expected {self._wanted[name]}, was {got}")

    def _number_column(self, cells: Sequence[Any], feature: Feature, bad: dict[int, RowError]) -> np.ndarray:
        if self._number_among_missing and any(isinstance(cell, str) for cell in cells):
            column = self._numbers_one_by_one(cells, feature, bad)
        else:
            try:
                column = np.array(cells, dtype=np.float64)
            except (ValueError, OverflowError):
                column = self._numbers_one_by_one(cells, feature, bad)
        infinite = np.isinf(column)
        if infinite.any():
            for index in np.flatnonzero(infinite).tolist():
                bad.setdefault(index, _wrong(feature, "a finite number", cells[index]))
        if feature.required:
            unknown = np.isnan(column)
            if unknown.any():
                for index in np.flatnonzero(unknown).tolist():
                    bad.setdefault(index, _lacking(feature, "a number"))
        return column

    def _numbers_one_by_one(self, cells: Sequence[Any], feature: Feature, bad: dict[int, RowError]) -> np.ndarray:
        column = np.full(len(cells), np.nan)
        for index, cell in enumerate(cells):
            if cell is None or (isinstance(cell, str) and cell.strip() in self._missing):
                continue
            try:
                column[index] = float(cell)
            except (ValueError, OverflowError):
                bad.setdefault(index, _wrong(feature, "a number", cell))
        return column

    def _string_column(self, cells: Sequence[Any], feature: Feature, bad: dict[int, RowError]) -> np.ndarray:
        column = np.empty(len(cells), dtype=object)
        column[:] = cells
        absent = {cell for cell in set(cells) if cell is None or cell.strip() in self._missing}
        if absent:
            for index, cell in enumerate(cells):
                if cell in absent:
                    if feature.required:
                        bad.setdefault(index, _lacking(feature, "a text"))
                    column[index] = ""
        return column


def _untyped_column(cells: Sequence[Any], feature: Feature, bad: dict[int, RowError]) -> np.ndarray:
    column = np.empty(len(cells), dtype=object)
    for index, cell in enumerate(cells):
        if cell is msgspec.UNSET:
            bad.setdefault(index, _lacking(feature, "null is possible"))
        elif isinstance(cell, int) and not isinstance(cell, bool):
            try:
                column[index] = float(cell)
            except OverflowError:
                bad.setdefault(index, _wrong(feature, "a finite number", cell))
        else:
            column[index] = cell
    return column


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _lacking(feature: Feature, wanted: str) -> RowError:
    return RowError(DeadLetterReason.MISSING_FEATURE, f"feature {feature.name} is missing ({wanted})")


def _wrong(feature: Feature, wanted: str, was: Any) -> RowError:
    shown = repr(was)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."  # noqa: PLR2004  # a line that can be read
    return RowError(DeadLetterReason.WRONG_TYPE, f"feature {feature.name}: expected {wanted}, was {shown}")
