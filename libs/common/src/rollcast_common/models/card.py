"""The model card: a JSON file beside the model that says what it was made of and what it promises."""

import math
from pathlib import PurePosixPath
from typing import Literal

import msgspec

from rollcast_common.contracts.versioning import decode_contract
from rollcast_common.errors import DigestMismatch

__all__ = [
    "CARD_SCHEMA",
    "DataFacts",
    "Feature",
    "GoldenRow",
    "InputSchema",
    "ModelCard",
    "PredictionHistogram",
    "card_key",
    "check_card_is_of",
    "decode_card",
    "encode_card",
]

CARD_SCHEMA = "1.0"


class Feature(msgspec.Struct, kw_only=True, frozen=True):
    """One field of a request. A number may also come as its text, as CSV readers send it."""

    name: str
    type: Literal["number", "string"]
    required: bool = True
    """False: training data lacked it at times, so a request may too."""
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str, ...] = ()
    """The most frequent values of a string feature, not all of them: see `category_count`."""
    category_count: int | None = None


class InputSchema(msgspec.Struct, kw_only=True, frozen=True):
    features: tuple[Feature, ...]
    missing_values: tuple[str, ...] = ("", "NA", "N/A", "nan", "null")
    """Texts that mean "not known"."""


class GoldenRow(msgspec.Struct, kw_only=True, frozen=True):
    """A raw request and the prediction that a correctly loaded model gives for it, both JSON."""

    row: msgspec.Raw
    prediction: msgspec.Raw


class PredictionHistogram(msgspec.Struct, kw_only=True, frozen=True):
    """What the model said about its held-out rows.

    For numbers: `counts[i]` predictions lie between `edges[i-1]` and `edges[i]`, the first and last bin
    being open; so there is one edge less than counts. For classes: `classes[i]` was said `counts[i]` times.
    """

    counts: tuple[int, ...]
    edges: tuple[float, ...] = ()
    classes: tuple[str | int | float | bool, ...] = ()


class DataFacts(msgspec.Struct, kw_only=True, frozen=True):
    """Which rows the model saw, and how the held-out ones were chosen."""

    source: str
    sha256: str
    rows: int
    unique_rows: int
    train_rows: int
    test_rows: int
    split: str
    target: str


class ModelCard(msgspec.Struct, kw_only=True, frozen=True):
    schema: str = CARD_SCHEMA
    model: str
    version: str
    task: Literal["regression", "classification"]
    estimator: str
    trained_at: int
    artifact_sha256: str
    artifact_size_bytes: int
    input: InputSchema
    classes: tuple[str | int | float | bool, ...] = ()
    metrics: dict[str, float]
    """On rows that the model never saw."""
    baseline_metrics: dict[str, float]
    """The same, of a dummy that ignores the row."""
    data: DataFacts
    libraries: dict[str, str]
    golden_rows: tuple[GoldenRow, ...]
    predictions: PredictionHistogram


_decoder = msgspec.json.Decoder(ModelCard)


def encode_card(card: ModelCard) -> bytes:
    """The card as JSON that a person can read. A metric that is no finite number is left out.

    Raises ContractError when the card could not be read back: JSON cannot say NaN.
    """
    card = msgspec.structs.replace(card, metrics=_finite(card.metrics), baseline_metrics=_finite(card.baseline_metrics))
    data = msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n"
    decode_card(data, source=f"of {card.model} {card.version}")
    return data


def _finite(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def decode_card(data: bytes, *, source: str) -> ModelCard:
    """Raises ContractError naming `source` when `data` is no model card of a known major."""
    return decode_contract(f"model card {source}", _decoder, data, major=1)


def check_card_is_of(card: ModelCard, sha256: str | None, *, source: str) -> None:
    """Raises DigestMismatch unless the card was written for the model file with this digest."""
    if card.artifact_sha256 != sha256:
        raise DigestMismatch(
            f"model file of {source}",
            card.artifact_sha256,
            sha256 or "unknown",
            why="the card beside it is about another file; upload model and card together under a new version",
        )


def card_key(artifact_key: str) -> str:
    """Where the card of an artifact lies: beside it, `models/x.skops` → `models/x.card.json`."""
    folder, slash, name = artifact_key.rpartition("/")  # a key is no path: "a//b" is not "a/b"
    return f"{folder}{slash}{PurePosixPath(name).stem}.card.json"
