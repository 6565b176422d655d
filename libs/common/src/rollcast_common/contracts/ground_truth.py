"""What really happened: topic `feedback`, key = prediction id."""

import msgspec

from rollcast_common.contracts.versioning import decode_contract

__all__ = ["GROUND_TRUTH_SCHEMA", "GroundTruth", "decode_ground_truth", "encode_ground_truth"]

GROUND_TRUTH_SCHEMA = "1.0"


class GroundTruth(msgspec.Struct, kw_only=True):
    """One person's, or one system's, answer to one prediction. Of several for a prediction the latest counts.

    `actual` is a number or a class name; `prediction` is what had been said, where the writer knew it.
    `source` says who answered, such as `mesibo:ann@example.com`. `time` is in milliseconds since the epoch.
    """

    schema: str = GROUND_TRUTH_SCHEMA
    prediction_id: str
    model: str
    version: str | None = None
    actual: msgspec.Raw
    # Not `Raw | None`: msgspec reads that as null alone.
    prediction: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"null"))
    source: str
    time: int


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(GroundTruth)

encode_ground_truth = _encoder.encode


def decode_ground_truth(data: bytes) -> GroundTruth:
    """Raises ContractError when `data` is no ground truth of a known major."""
    return decode_contract("GroundTruth", _decoder, data, major=1)
