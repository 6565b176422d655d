"""Predictions as a test needs them."""

from collections.abc import Mapping
from typing import Any

import msgspec

from rollcast_common.contracts import Prediction

__all__ = ["a_prediction"]


def a_prediction(
    value: Any,
    features: Mapping[str, Any] | None = None,
    *,
    request_id: str = "r1",
    model: str = "wine-price",
    headers: Mapping[str, str] | None = None,
    **others: Any,
) -> Prediction:
    """What is not said is as in any prediction."""
    return Prediction(
        **{
            "prediction_id": f"local/default/{model}:{request_id}",
            "request_id": request_id,
            "key": "wine-7",
            "prediction": msgspec.Raw(msgspec.json.encode(value)),
            "model": model,
            "version": "2022-08-19",
            "sha256": "a" * 64,
            "generation": 3,
            "request_time": 1_000,
            "prediction_time": 1_010,
            "features": msgspec.Raw(msgspec.json.encode(features)),
            "headers": dict(headers or {}),
            **others,
        }
    )
