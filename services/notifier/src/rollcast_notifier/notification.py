"""What is sent, to whom, and what comes back."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

import xxhash

__all__ = ["Inbound", "Notification", "OnUnknown", "Receiver", "notification_id", "reference_of"]

_REFERENCE_CHARACTERS = "0123456789abcdefghjkmnpqrstvwxyz"
_REFERENCE_LENGTH = 5


class OnUnknown(StrEnum):
    """What to do with a notification of which nobody knows whether it was sent."""

    RESEND = "resend"
    """It arrives at least once, perhaps twice."""

    HOLD = "hold"
    """It waits until a person says `resend` or `drop`."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """One address or one group of one channel; as text `mesibo:ann@example.com` or `mesibo:group:102529`."""

    channel: str
    name: str
    kind: Literal["address", "group"] = "address"

    def __str__(self) -> str:
        return f"{self.channel}:{'group:' if self.kind == 'group' else ''}{self.name}"

    @classmethod
    def parse(cls, text: str) -> "Receiver":
        """Raises ValueError that says what the text may be."""
        channel, colon, name = text.partition(":")
        kind: Literal["address", "group"] = "address"
        if name.startswith("group:"):
            kind, name = "group", name.removeprefix("group:")
        if not (channel and colon and name):
            raise ValueError(f"receiver was {text!r}, may be channel:address or channel:group:name")
        return cls(channel, name, kind)


@dataclass(frozen=True, slots=True)
class Notification:
    """One message to one receiver. Times are milliseconds since the epoch.

    `id` is made of the prediction, the subscription and the receiver: the same prediction read again is the same
    notification. What the service says in a conversation is about no prediction: its `prediction_id` is empty.
    """

    id: str
    prediction_id: str
    request_id: str
    key: str | None
    model: str
    version: str
    prediction: bytes
    """JSON, as the predictor wrote it; `null` where there is none."""
    subscription: str
    receiver: Receiver
    text: str
    created: int
    """When the prediction was written to its topic; of the service's own words, when they were said."""
    expires: int | None = None
    """After this it is not sent any more."""
    wants: frozenset[Literal["delivered", "read"]] = frozenset()
    """The receipts that the channel is asked for, where it has them."""
    on_unknown: OnUnknown = OnUnknown.RESEND
    dropped: str | None = None
    """Why it is not sent at all; then it is recorded as failed, so that it is dropped only once."""


@dataclass(frozen=True, slots=True)
class Inbound:
    """A message from a person. `id` is the channel's own, so that the same message is recognised."""

    id: str
    sender: Receiver
    text: str
    time: int
    about: str | None = field(default=None)
    """The id of the notification that it answers, where the channel knows."""


def notification_id(prediction_id: str, subscription: str, receiver: Receiver) -> str:
    return xxhash.xxh3_128_hexdigest("\x1f".join((prediction_id, subscription, str(receiver))).encode())


def reference_of(id_: str) -> str:
    """A few letters by which a person can name a notification: `actual 28.5 #k3f9t`. Not unique for ever."""
    number = int(id_, 16)
    letters = []
    for _ in range(_REFERENCE_LENGTH):
        number, digit = divmod(number, len(_REFERENCE_CHARACTERS))
        letters.append(_REFERENCE_CHARACTERS[digit])
    return "".join(letters)
