"""Model cards as a test needs them, without a model."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from rollcast_common.models.card import DataFacts, Feature, GoldenRow, InputSchema, ModelCard, PredictionHistogram

__all__ = ["WINE_FEATURES", "a_card"]

WINE_FEATURES = (
    Feature(name="winery", type="string", categories=("Artadi", "Vega Sicilia"), category_count=480),
    Feature(name="year", type="number", required=False, minimum=1910, maximum=2021),
    Feature(name="rating", type="number", minimum=4.2, maximum=4.9),
    Feature(name="region", type="string", required=False, categories=("Rioja", "Priorato"), category_count=2),
)


def a_card(
    *,
    model: str = "wine-price",
    features: Sequence[Feature] = WINE_FEATURES,
    task: Literal["regression", "classification"] = "regression",
    classes: Sequence[str | int | float | bool] = (),
    golden: Mapping[str, Any] | None = None,
    artifact_sha256: str = "a" * 64,
) -> ModelCard:
    golden = {"winery": "Vega Sicilia", "year": "2009", "rating": 4.7} if golden is None else golden
    return ModelCard(
        model=model,
        version="v1",
        task=task,
        estimator="LinearRegression",
        trained_at=0,
        artifact_sha256=artifact_sha256,
        artifact_size_bytes=1,
        input=InputSchema(features=tuple(features)),
        classes=tuple(classes),
        metrics={},
        baseline_metrics={},
        data=DataFacts(
            source="a test", sha256="", rows=2, unique_rows=2, train_rows=2, test_rows=0, split="none", target="y"
        ),
        libraries={},
        golden_rows=(GoldenRow(row=msgspec.Raw(msgspec.json.encode(golden)), prediction=msgspec.Raw(b"1.5")),),
        predictions=PredictionHistogram(counts=()),
    )
