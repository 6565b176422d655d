"""What conditions and templates know of one prediction."""

from collections.abc import Mapping
from typing import Any

import msgspec

from rollcast_common.contracts import Prediction

__all__ = ["FACTS", "GROUPS", "facts_of"]

FACTS: Mapping[str, str] = {
    "prediction": "what the model said: a number, a class name, or a list of these",
    "key": "the request's key: what it is about",
    "model": "the model's name",
    "version": "the version that answered",
    "track": "`stable`, or `candidate` while a rollout tries a new version",
    "fallback": "true where the candidate failed and stable answered for it",
    "request_id": "the request's id",
}
"""The plain ones, each a column of the same name."""

GROUPS: Mapping[str, str] = {
    "features": "what was asked, by the features' names",
    "headers": "the request's Kafka headers, by their names",
}
"""Those that hold others: `features.country`."""

_decode = msgspec.json.Decoder().decode


def facts_of(prediction: Prediction) -> dict[str, Any]:
    features = _value(prediction.features)
    return {
        "prediction": _value(prediction.prediction),
        "key": prediction.key,
        "model": prediction.model,
        "version": prediction.version,
        "track": prediction.track,
        "fallback": prediction.fallback,
        "request_id": prediction.request_id,
        "features": features if isinstance(features, dict) else {},
        "headers": prediction.headers,
    }


def _value(raw: msgspec.Raw) -> Any:
    """Nothing where it cannot be read: a field that no model uses may hold half a surrogate pair, or 1e999, and who
    decoded the prediction did not look into it.
    """
    try:
        return _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
