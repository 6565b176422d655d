"""What became of a notification: topics `notifications` and `notifications_failed`, key = prediction id."""

from typing import Literal

import msgspec

from rollcast_common.contracts.versioning import decode_contract

__all__ = ["RECEIPT_SCHEMA", "Receipt", "ReceiptState", "decode_receipt", "encode_receipt"]

RECEIPT_SCHEMA = "1.0"

ReceiptState = Literal["queued", "sent", "delivered", "read", "held", "expired", "failed"]


class Receipt(msgspec.Struct, kw_only=True, frozen=True):
    """One step of one notification; it may arrive more than once.

    queued → sent → delivered → read, as far as the channel tells. `held`: nobody knows whether it was sent, and a
    person decides. `expired` and `failed` are final, say why in `reason`, and carry the `text` that did not arrive;
    these alone are written to `notifications_failed`, too. `time` is in milliseconds since the epoch.
    """

    schema: str = RECEIPT_SCHEMA
    notification_id: str
    prediction_id: str
    request_id: str
    subscription: str
    """The rule that selected the prediction; `reply` where the request asked for the answer."""
    channel: str
    receiver: str
    state: ReceiptState
    attempts: int = 0
    reason: str | None = None
    text: str | None = None
    time: int


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Receipt)

encode_receipt = _encoder.encode


def decode_receipt(data: bytes) -> Receipt:
    """Raises ContractError when `data` is no receipt of a known major."""
    return decode_contract("Receipt", _decoder, data, major=1)
