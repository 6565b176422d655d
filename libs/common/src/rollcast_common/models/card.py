"""The model card: a JSON file beside the model that says what it was made of and what it promises."""

from pathlib import Path
from typing import Literal

import msgspec

from rollcast_common.contracts.versioning import check_schema
from rollcast_common.errors import ContractError

__all__ = [
    "CARD_SCHEMA",
    "DataFacts",
    "Feature",
    "GoldenRow",
    "InputSchema",
    "ModelCard",
    "PredictionHistogram",
    "card_key",
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
    return msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n"


def decode_card(data: bytes, *, source: str) -> ModelCard:
    """Raises ContractError naming `source` when `data` is no model card of a known major."""
    try:
        card = _decoder.decode(data)
    except msgspec.DecodeError as error:
        raise ContractError(f"model card {source}: {error}") from None
    check_schema(f"model card {source}", card.schema, major=1)
    return card


def card_key(artifact_key: str) -> str:
    """Where the card of an artifact lies: beside it, `models/x.skops` → `models/x.card.json`."""
    path = Path(artifact_key)
    return str(path.with_name(f"{path.stem}.card.json"))
