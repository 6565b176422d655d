"""A new model exists: topic `train`, key = the model's name.

The trainer writes JSON. A bare path such as `models/2022-08-19.pkl` is accepted too: what a notebook and
a console producer can do by hand.
"""

import math
from pathlib import PurePosixPath
from typing import Literal

import msgspec

from rollcast_common.contracts.versioning import decode_contract
from rollcast_common.errors import ContractError

__all__ = [
    "MODEL_TRAINED_SCHEMA",
    "ArtifactFormat",
    "ModelTrained",
    "encode_model_trained",
    "parse_model_trained",
]

MODEL_TRAINED_SCHEMA = "1.1"

ArtifactFormat = Literal["skops", "pickle"]

_FORMATS: dict[str, ArtifactFormat] = {
    ".skops": "skops",
    ".pkl": "pickle",
    ".pickle": "pickle",
    ".joblib": "pickle",
}


class ModelTrained(msgspec.Struct, kw_only=True, frozen=True):
    """Where a model lies and, if its writer knew, which bytes it is made of.

    `uri` is `s3://bucket/key`, or a key in the reader's own bucket. Without `sha256` the reader resolves
    the digest once and pins it. Without `signature_uri` a reader that wants a signature looks for `<uri>.sig`.
    `trained_at` is in milliseconds since the epoch.
    """

    schema: str = MODEL_TRAINED_SCHEMA
    model: str
    version: str
    uri: str
    format: ArtifactFormat
    sha256: str | None = None
    size_bytes: int | None = None
    version_id: str | None = None
    card_uri: str | None = None
    card_sha256: str | None = None
    signature_uri: str | None = None
    """Since 1.1, as the next."""
    signature_sha256: str | None = None
    trained_at: int | None = None
    metrics: dict[str, float] = {}


_decoder = msgspec.json.Decoder(ModelTrained)

_encoder = msgspec.json.Encoder()


def encode_model_trained(event: ModelTrained) -> bytes:
    """The event as JSON. A metric that is no finite number is left out: JSON cannot say NaN."""
    metrics = {name: value for name, value in event.metrics.items() if math.isfinite(value)}
    return _encoder.encode(msgspec.structs.replace(event, metrics=metrics))


def parse_model_trained(key: bytes | None, value: bytes | None, *, default_model: str) -> ModelTrained:
    """Read a record of topic `train`: JSON, or a bare path (then the version is the file's stem).

    `default_model` names the model when a bare path comes without a key.
    Raises ContractError, saying what is wrong, for anything else.
    """
    text = (value or b"").strip()
    if not text:
        raise ContractError("ModelTrained: the value is empty; expected JSON or a path such as models/name.skops")
    if text.startswith(b"{"):
        event = decode_contract("ModelTrained", _decoder, text, major=1)
        for field in ("model", "version", "uri"):
            if not getattr(event, field):
                raise ContractError(f"ModelTrained: {field} is empty")
        return event
    try:
        path = text.decode("utf-8")
        model = (key or b"").decode("utf-8") or default_model
    except UnicodeDecodeError:
        raise ContractError("ModelTrained: neither JSON nor a path: the bytes are not UTF-8") from None
    if " " in path or path.endswith("/") or not path.isprintable():
        raise ContractError(f"ModelTrained: {path[:80]!r} is neither JSON nor a path")
    name = PurePosixPath(path)
    artifact_format = _FORMATS.get(name.suffix)
    if artifact_format is None:
        raise ContractError(f"ModelTrained: {path[:80]!r} does not end in one of {', '.join(sorted(_FORMATS))}")
    return ModelTrained(model=model, version=name.stem, uri=path, format=artifact_format)
