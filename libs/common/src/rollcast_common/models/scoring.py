"""A loaded model, applied to raw requests: what a host does, and what the trainer checks before it publishes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from rollcast_common.contracts import DeadLetterReason
from rollcast_common.errors import GoldenRowsMismatch, UnusableModel
from rollcast_common.models.card import GoldenRow, InputSchema
from rollcast_common.models.rows import RowDecoder, RowError

__all__ = ["ScoredRows", "Scorer", "check_golden_rows"]

_encode = msgspec.json.Encoder().encode


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
        predict = getattr(model, "predict", None)
        if not callable(predict):
            raise UnusableModel(f"{type(model).__name__} has no predict(): not a scikit-learn predictor")
        self._predict: Callable[[Any], Any] = predict
        names = _feature_names(model) if schema is None else [f.name for f in schema.features]
        self._named = schema is not None or hasattr(model, "feature_names_in_")
        self._decoder = RowDecoder(schema, names)

    def score(self, values: Sequence[bytes | None]) -> ScoredRows:
        decoded = self._decoder.decode(values)
        results = [b""] * len(values)
        errors = decoded.errors
        if decoded.positions:
            frame = pd.DataFrame(decoded.columns, copy=False)
            self._score_frame(frame, decoded.positions, results, errors)
        return ScoredRows(results, errors)

    def _score_frame(
        self, frame: pd.DataFrame, positions: list[int], results: list[bytes], errors: dict[int, RowError]
    ) -> None:
        try:
            # A model that was fitted on a bare array warns about column names that it never saw.
            predicted = self._predict(frame if self._named else frame.to_numpy())
        except Exception as error:  # noqa: BLE001  # a model may raise anything
            if len(positions) == 1:
                text = f"{type(error).__name__}: {error}".splitlines()[0]
                errors[positions[0]] = RowError(DeadLetterReason.MODEL_ERROR, f"the model raised {text}")
                return
            # Halving finds one bad row among n in about 2·log2(n) calls.
            half = len(positions) // 2
            self._score_frame(frame.iloc[:half], positions[:half], results, errors)
            self._score_frame(frame.iloc[half:], positions[half:], results, errors)
            return
        outputs = _as_list(predicted)
        if len(outputs) != len(positions):
            miscounted = RowError(
                DeadLetterReason.BAD_OUTPUT,
                f"the model gave {len(outputs)} results for {len(positions)} rows",
            )
            errors.update(dict.fromkeys(positions, miscounted))
            return
        for position, output in zip(positions, outputs, strict=True):
            if isinstance(output, float) and not math.isfinite(output):
                errors[position] = RowError(DeadLetterReason.BAD_OUTPUT, f"the model's result is {output}")
                continue
            try:
                results[position] = _encode(output)
            except (TypeError, ValueError) as error:
                errors[position] = RowError(DeadLetterReason.BAD_OUTPUT, f"the model's result: {error}")


def check_golden_rows(scorer: Scorer, golden_rows: Sequence[GoldenRow]) -> None:
    """Raises GoldenRowsMismatch when the model does not say what its card promises (numbers: within 1e-6)."""
    scored = scorer.score([bytes(golden.row) for golden in golden_rows])
    for index, golden in enumerate(golden_rows):
        if error := scored.errors.get(index):
            raise GoldenRowsMismatch(f"golden row {index}: {error.reason}: {error.message}")
        expected, actual = msgspec.json.decode(golden.prediction), msgspec.json.decode(scored.results[index])
        if not _same(expected, actual):
            raise GoldenRowsMismatch(f"golden row {index}: the card promises {expected!r}, this model says {actual!r}")


def _same(expected: Any, actual: Any) -> bool:
    if isinstance(expected, list):
        return (
            isinstance(actual, list)
            and len(actual) == len(expected)
            and all(_same(e, a) for e, a in zip(expected, actual, strict=True))
        )
    if isinstance(expected, int | float) and isinstance(actual, int | float):
        return math.isclose(expected, actual, rel_tol=1e-6, abs_tol=1e-9)
    return bool(expected == actual)


def _as_list(predicted: Any) -> list[Any]:
    try:
        array = np.asarray(predicted)
        return array.tolist() if array.ndim else []
    except (ValueError, TypeError):
        return []


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
    return [f"x{index}" for index in range(int(count))]
