"""A loaded model, applied to raw requests: what a host does, and what the trainer checks before it publishes."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from rollcast_common.contracts import DeadLetterReason
from rollcast_common.errors import GoldenRowsMismatch, UnusableModel
from rollcast_common.models.card import GoldenRow, InputSchema
from rollcast_common.models.rows import DecodedRows, RowDecoder, RowError

__all__ = ["ScoredRows", "Scorer", "check_golden_rows"]

_encode = msgspec.json.Encoder().encode

_MESSAGE_LIMIT_CHARACTERS = 300
_MOST_FEATURES = 1_000_000
_PLAIN_TYPES = frozenset({bool, float, int, str})
_KIND_DTYPES: dict[type, type] = {float: np.float64, bool: np.bool_}


@dataclass(frozen=True, slots=True)
class ScoredRows:
    """`results[i]` is the JSON of row i's prediction, empty where `errors` says why there is none."""

    results: list[bytes]
    errors: dict[int, RowError]


class Scorer:
    """Scores batches of raw JSON rows. One bad row never costs another its prediction.

    Raises UnusableModel when the object cannot predict, or nothing says which features it wants.
    """

    def __init__(self, model: Any, schema: InputSchema | None) -> None:
        try:
            predict = getattr(model, "predict", None)
            names = _feature_names(model) if schema is None and callable(predict) else []
            self._named = schema is not None or hasattr(model, "feature_names_in_")
        except (UnusableModel, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001  # an object from a file may hold anything, and attributes run code
            raise UnusableModel(
                f"{type(model).__name__} cannot be asked what it is: {type(error).__name__}: {_line(error)}"
            ) from None
        if not callable(predict):
            raise UnusableModel(f"{type(model).__name__} has no predict(): not a scikit-learn predictor")
        self._predict: Callable[[Any], Any] = predict
        self._typed = schema is not None
        self._decoder = RowDecoder(schema, names)

    def score(self, values: Sequence[bytes | None]) -> ScoredRows:
        decoded = self._decoder.decode(values)
        results = [b""] * len(values)
        # What a model warns about (a category that it never saw) is nothing that a row's sender or we could act on.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for frame, positions in self._frames(decoded):
                self._score_frame(frame, positions, results, decoded.errors)
        return ScoredRows(results, decoded.errors)

    def _frames(self, decoded: DecodedRows) -> Iterator[tuple[pd.DataFrame, list[int]]]:
        """Without a schema, a frame for each combination of types: a column's type must not depend on other rows."""
        if not decoded.positions:
            return
        if self._typed:
            yield pd.DataFrame(decoded.columns, copy=False), decoded.positions
            return
        groups: dict[tuple[type, ...], list[int]] = {}
        for index, cells in enumerate(zip(*decoded.columns.values(), strict=True)):
            groups.setdefault(tuple(map(type, cells)), []).append(index)
        for kinds, indices in groups.items():
            columns: dict[str, np.ndarray] = {
                name: column[indices].astype(_KIND_DTYPES.get(kind, object))
                for (name, column), kind in zip(decoded.columns.items(), kinds, strict=True)
            }
            yield pd.DataFrame(columns, copy=False), [decoded.positions[index] for index in indices]

    def _score_frame(
        self, frame: pd.DataFrame, positions: list[int], results: list[bytes], errors: dict[int, RowError]
    ) -> None:
        try:
            outputs = self._outputs(frame)
        except Exception as error:  # noqa: BLE001  # a model may raise anything
            if len(positions) == 1:
                errors[positions[0]] = _failure(error)
                return
            # Halving finds one bad row among n in about 2·log2(n) calls.
            half = len(positions) // 2
            self._score_frame(frame.iloc[:half], positions[:half], results, errors)
            self._score_frame(frame.iloc[half:], positions[half:], results, errors)
            return
        for position, output in zip(positions, outputs, strict=True):
            try:
                results[position] = _encode(_plain(output))
            except (_BadOutput, TypeError, ValueError, RecursionError) as error:
                errors[position] = RowError(DeadLetterReason.BAD_OUTPUT, f"the model's result: {_line(error)}")

    def _outputs(self, frame: pd.DataFrame) -> list[Any]:
        """One output for each row. Raises _BadOutput, or whatever the model raises."""
        # A model that was fitted on a bare array warns about column names that it never saw.
        predicted = self._predict(frame if self._named else frame.to_numpy())
        try:
            outputs = np.asarray(predicted).tolist()
        except (ValueError, TypeError) as error:  # rows of different lengths
            raise _BadOutput(f"the model's results are no array: {_line(error)}") from None
        if not isinstance(outputs, list):
            raise _BadOutput(f"the model gave {type(predicted).__name__}, not one result for each row")
        if len(outputs) != len(frame):
            raise _BadOutput(f"the model gave {len(outputs)} results for {len(frame)} rows")
        return outputs


class _BadOutput(Exception):
    """What a model returned is no prediction."""


def check_golden_rows(scorer: Scorer, golden_rows: Sequence[GoldenRow]) -> None:
    """Raises GoldenRowsMismatch when the model does not say what its card promises (numbers: within 1e-6)."""
    scored = scorer.score([bytes(golden.row) for golden in golden_rows])
    for index, golden in enumerate(golden_rows):
        if error := scored.errors.get(index):
            raise GoldenRowsMismatch(
                f"golden row {index}: {error.reason}: {error.message}; file and card do not belong together: "
                "train it again"
            )
        actual = msgspec.json.decode(scored.results[index])
        try:
            expected = msgspec.json.decode(golden.prediction)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise GoldenRowsMismatch(f"golden row {index}: the card's prediction cannot be read: {error}") from None
        if not _same(expected, actual):
            raise GoldenRowsMismatch(
                f"golden row {index}: the card promises {expected!r}, this model says {actual!r}; "
                "file and card do not belong together, or the libraries here compute otherwise: train it again"
            )


def _same(expected: Any, actual: Any) -> bool:
    if isinstance(expected, list):
        return (
            isinstance(actual, list)
            and len(actual) == len(expected)
            and all(_same(e, a) for e, a in zip(expected, actual, strict=True))
        )
    if isinstance(expected, int | float) and isinstance(actual, int | float):
        try:
            return math.isclose(expected, actual, rel_tol=1e-6, abs_tol=1e-9)
        except OverflowError:  # an integer beyond what a float holds
            return expected == actual
    return bool(expected == actual)


def _plain(output: Any) -> Any:
    """A number, class name or list of these as JSON can say it. Raises _BadOutput for anything else."""
    if isinstance(output, float) and not math.isfinite(output):
        raise _BadOutput(f"is {output}")
    if type(output) in _PLAIN_TYPES:
        return output
    if isinstance(output, list):
        return [_plain(part) for part in output]
    if isinstance(output, np.generic | np.ndarray):  # inside an array of objects
        return _plain(output.tolist())
    raise _BadOutput(f"is of type {type(output).__name__}, not a number, a text or a list of these")


def _failure(error: Exception) -> RowError:
    if isinstance(error, _BadOutput):
        return RowError(DeadLetterReason.BAD_OUTPUT, str(error))
    return RowError(DeadLetterReason.MODEL_ERROR, f"the model raised {type(error).__name__}: {_line(error)}")


def _line(error: Exception) -> str:
    """The first line of an error's text, of bounded length, in characters that UTF-8 can say."""
    try:
        lines = str(error).splitlines()
    except Exception:  # noqa: BLE001  # the model's own class may be broken too
        lines = []
    text = (lines[0] if lines else "")[:_MESSAGE_LIMIT_CHARACTERS]
    return text.encode("utf-8", "replace").decode()


def _feature_names(model: Any) -> list[str]:
    """The names that the model was fitted with; for one fitted on a bare array x0, x1, …, scikit-learn's own."""
    names = getattr(model, "feature_names_in_", None)
    if names is not None:
        return [str(name) for name in names]
    count = getattr(model, "n_features_in_", None)
    if count is None:
        raise UnusableModel(
            f"{type(model).__name__} came without a card and does not know its features: "
            "fit it on a DataFrame, or put a card beside it"
        )
    if not 0 <= int(count) <= _MOST_FEATURES:
        raise UnusableModel(f"{type(model).__name__} says it takes {count} features, may be up to {_MOST_FEATURES}")
    return [f"x{index}" for index in range(int(count))]
