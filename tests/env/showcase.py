"""A model card, a service that answers at once, and a conversation: what the console is shown and tried with."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from rollcast_common.identity import ModelIdentity
from rollcast_common.models.card import (
    DataFacts,
    Feature,
    GoldenRow,
    InputSchema,
    ModelCard,
    PredictionHistogram,
)
from rollcast_notifier.console.channel import ConsoleChannel
from rollcast_notifier.notification import Notification, Receiver, notification_id

__all__ = ["VERSION", "WINE_CARD", "Answering", "OneCard", "told"]

VERSION = "2022-08-19"

WINE_CARD = ModelCard(
    model="wine-price",
    version=VERSION,
    task="regression",
    estimator="HistGradientBoostingRegressor",
    trained_at=1_660_903_200_000,
    artifact_sha256="a" * 64,
    artifact_size_bytes=1_742_113,
    input=InputSchema(
        features=(
            Feature(
                name="winery",
                type="string",
                categories=("Contino", "Artadi", "Vega Sicilia", "Muga"),
                category_count=480,
            ),
            Feature(name="year", type="number", required=False, minimum=1910, maximum=2021),
            Feature(name="rating", type="number", minimum=4.2, maximum=4.9),
            Feature(
                name="region", type="string", categories=("Rioja", "Ribera del Duero", "Priorato"), category_count=76
            ),
            Feature(name="body", type="number", required=False, minimum=2, maximum=5),
            Feature(name="acidity", type="number", required=False, minimum=1, maximum=3),
        )
    ),
    metrics={"mae": 12.5},
    baseline_metrics={"mae": 44.0},
    data=DataFacts(
        source="wines.csv",
        sha256="",
        rows=7500,
        unique_rows=2048,
        train_rows=1638,
        test_rows=410,
        split="",
        target="price",
    ),
    libraries={},
    golden_rows=(
        GoldenRow(
            row=msgspec.Raw(b'{"winery":"Artadi","year":2009,"rating":4.8,"region":"Rioja","body":4,"acidity":3}'),
            prediction=msgspec.Raw(b"412.25"),
        ),
    ),
    predictions=PredictionHistogram(counts=()),
)


@dataclass(frozen=True)
class _Info:
    model: str
    card: ModelCard | None


@dataclass(frozen=True)
class OneCard:
    """One model is served, with this card."""

    card: ModelCard = WINE_CARD

    def models(self) -> Sequence[_Info]:
        return [_Info(self.card.model, self.card)]


def told(receiver: Receiver, request_id: str, value: Any, text: str, *, version: str = VERSION) -> Notification:
    """What a person is told about a prediction."""
    prediction_id = ModelIdentity("test", "default", "wine-price").prediction_id(request_id)
    return Notification(
        id=notification_id(prediction_id, "reply", receiver),
        prediction_id=prediction_id,
        request_id=request_id,
        key=None,
        model="wine-price",
        version=version,
        prediction=json.dumps(value).encode(),
        subscription="reply",
        receiver=receiver,
        text=text,
        created=time.time_ns() // 1_000_000,
    )


@dataclass
class Answering:
    """Stands for Kafka and a predictor: what is asked is answered on the channel at once."""

    channel: ConsoleChannel | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)

    def ask(
        self,
        model: str,
        features: Mapping[str, Any],
        reply_to: Receiver,
        request_id: str | None = None,
        key: str | None = None,
    ) -> str:
        assert request_id is not None
        self.asked.append({"model": model, "features": dict(features), "reply_to": str(reply_to), "key": key})
        if self.channel is not None:
            value = round(7.5 * float(features["rating"]), 2)
            self.channel.send(told(reply_to, request_id, value, f"{features['winery']}: about {value}"))
        return request_id
