"""A prediction: topic `app_messages`, keyed as its request, written in a transaction."""

from typing import Any, Literal

import msgspec

from rollcast_common.contracts.versioning import decode_contract

__all__ = ["PREDICTION_SCHEMA", "Prediction", "Track", "decode_prediction", "encode_prediction"]

PREDICTION_SCHEMA = "1.0"

Track = Literal["stable", "candidate"]


class Prediction(msgspec.Struct, kw_only=True):
    """One result for one consumed record.

    `prediction` is a number, a class name or a list of these; `features` is the request's own JSON.
    Times are milliseconds since the epoch; `request_time` is the request record's timestamp.
    `prediction_id` is `<model identity>:<request id>`: the same record scored again gets the same id.
    """

    schema: str = PREDICTION_SCHEMA
    prediction_id: str
    request_id: str
    key: str | None
    prediction: msgspec.Raw
    model: str
    version: str
    sha256: str
    track: Track = "stable"
    fallback: bool = False
    generation: int
    request_time: int
    prediction_time: int
    # Not `Raw | None`: msgspec reads that as null alone. Without features it holds the JSON null.
    features: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"null"))
    headers: dict[str, str] = {}

    def value(self) -> Any:
        """The prediction as a Python object."""
        return msgspec.json.decode(self.prediction)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Prediction)

encode_prediction = _encoder.encode


def decode_prediction(data: bytes) -> Prediction:
    """Raises ContractError when `data` is no prediction of a known major."""
    return decode_contract("Prediction", _decoder, data, major=1)
