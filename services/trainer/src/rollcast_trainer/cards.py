"""The model card: what a request must hold, what the model promises, what it was made of."""

import platform
from collections import Counter
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import sklearn
import skops

from rollcast_common.errors import UnusableModel
from rollcast_common.models.card import Feature, GoldenRow, InputSchema, PredictionHistogram
from rollcast_common.models.coerce import RowCoercer
from rollcast_common.models.scoring import Scorer
from rollcast_trainer.settings import FeatureSettings, SplitSettings

__all__ = ["describe_split", "golden_rows", "histogram", "input_schema", "libraries"]

_CATEGORIES_SHOWN = 50
_ORDINARY_GOLDEN_ROWS = 8
_DECILES = np.arange(1, 10) / 10


def input_schema(train: pd.DataFrame, features: FeatureSettings, missing_values: tuple[str, ...]) -> InputSchema:
    """Types, ranges and the commonest categories of the training rows (a column per feature, text as read).

    A feature that they sometimes lack may be lacking in a request; any other is required.
    """
    coerced = RowCoercer(list(features.numbers), list(features.strings), list(missing_values)).transform(train)
    described: list[Feature] = []
    for name in features.numbers:
        numbers = coerced[name].to_numpy(dtype=np.float64)
        known = numbers[~np.isnan(numbers)]
        described.append(
            Feature(
                name=name,
                type="number",
                required=len(known) == len(numbers),
                minimum=float(known.min()) if len(known) else None,
                maximum=float(known.max()) if len(known) else None,
            )
        )
    for name in features.strings:
        counts = Counter(coerced[name].tolist())
        lacking = counts.pop("", 0)
        commonest = [text for text, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
        described.append(
            Feature(
                name=name,
                type="string",
                required=not lacking,
                categories=tuple(commonest[:_CATEGORIES_SHOWN]),
                category_count=len(counts),
            )
        )
    return InputSchema(features=tuple(described), missing_values=missing_values)


def golden_rows(model: Any, schema: InputSchema, test: pd.DataFrame, predictions: np.ndarray) -> tuple[GoldenRow, ...]:
    """Up to ten held-out rows as a client sends them, every value as the file has it, and what `model` says.

    Eight from the lowest prediction to the highest, one where a value is not known, one where a feature
    that may be lacking is left out. Raises UnusableModel when the model scores none of them.
    """
    order = np.argsort(predictions, kind="stable")
    chosen = np.unique(np.linspace(0, len(order) - 1, _ORDINARY_GOLDEN_ROWS).round().astype(int))
    rows: list[dict[str, str]] = [_row(test, int(order[place])) for place in chosen]
    optional = [feature.name for feature in schema.features if not feature.required]
    if optional:
        missing = set(schema.missing_values)
        unknown = test[optional].map(lambda cell: cell.strip() in missing).any(axis=1).to_numpy()
        if unknown.any():
            rows.append(_row(test, int(np.flatnonzero(unknown)[0])))
        last = _row(test, int(order[len(order) // 2]))
        del last[optional[0]]
        rows.append(last)
    encoded = [msgspec.json.encode(row) for row in rows]
    scored = Scorer(model, schema).score(encoded)
    # A held-out row may lack what no training row lacked: it is refused, rightly, and promises nothing.
    golden = tuple(
        GoldenRow(row=msgspec.Raw(row), prediction=msgspec.Raw(result))
        for index, (row, result) in enumerate(zip(encoded, scored.results, strict=True))
        if index not in scored.errors
    )
    if not golden:
        first = next(iter(scored.errors.values()))
        raise UnusableModel(f"the fitted model scores none of its own held-out rows: {first.message}")
    return golden


def histogram(predictions: np.ndarray, classes: np.ndarray | None) -> PredictionHistogram:
    """Ten bins at the deciles of the predictions (fewer where deciles coincide), or how often each class was said."""
    if classes is not None:
        counts = tuple(int((predictions == label).sum()) for label in classes)
        return PredictionHistogram(counts=counts, classes=tuple(classes.tolist()))
    edges = np.unique(np.quantile(predictions, _DECILES))
    bins = np.bincount(np.searchsorted(edges, predictions, side="right"), minlength=len(edges) + 1)
    return PredictionHistogram(counts=tuple(bins.tolist()), edges=tuple(edges.tolist()))


def describe_split(split: SplitSettings) -> str:
    """One line for the card."""
    unit = f"whole groups by {split.group_by}" if split.group_by else "rows, identical ones together"
    return f"{unit}; {split.test_size:.0%} held out, seed {split.seed}"


def libraries() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
        "pandas": pd.__version__,
        "skops": skops.__version__,
    }


def _row(frame: pd.DataFrame, position: int) -> dict[str, str]:
    return {str(name): str(value) for name, value in frame.iloc[position].items()}
