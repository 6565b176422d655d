"""Channel `webhook`: each notification is posted as JSON, signed as Standard Webhooks 1.0 says.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from httpx import codes

from rollcast_common.errors import ConfigError
from rollcast_notifier.channels.channel import (
    ChannelEvents,
    OutcomeUnknown,
    Refused,
    SendFailed,
    Sent,
    Unavailable,
)
from rollcast_notifier.channels.exchange import Exchange, throttled
from rollcast_notifier.channels.secret_file import SecretFile
from rollcast_notifier.notification import Notification, reference_of

__all__ = ["WebhookChannel", "body_of", "keys_in", "signatures"]

_KEY_BYTES = range(24, 65)
_AGAIN = (codes.REQUEST_TIMEOUT, codes.TOO_EARLY)


class WebhookChannel:
    """A repeat carries the same `webhook-id` and `Idempotency-Key`: a receiver that heeds it takes each one once.

    So `on_unknown: resend` is safe with it. Without a secret nothing is signed.
    Raises ConfigError when the address or the secret cannot be used.
    """

    def __init__(
        self,
        name: str,
        url: str,
        secret: SecretFile | None,
        *,
        answer_seconds: float = 10.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.problem: str | None = None
        self._secret = secret
        self._now = now
        try:
            self._exchange = Exchange(url, answer_seconds=answer_seconds)
        except ValueError as error:
            raise ConfigError(f"channel {name}: url {error}") from None
        try:
            self._keys()
        except Unavailable as error:
            raise ConfigError(str(error)) from None

    def start(self, events: ChannelEvents) -> None:
        """Nothing is kept open, and an answer is the only receipt."""

    def send(self, notification: Notification) -> Sent:
        try:
            self._send(notification)
        except SendFailed as error:
            self.problem = None if isinstance(error, Refused) else str(error)
            raise
        self.problem = None
        return Sent()

    def stop(self) -> None:
        self._exchange.close()

    def _send(self, notification: Notification) -> None:
        body = body_of(notification)
        headers = {
            "Idempotency-Key": notification.id,
            "webhook-id": notification.id,
            "webhook-timestamp": str(timestamp := int(self._now())),
        }
        if keys := self._keys():
            headers["webhook-signature"] = signatures(keys, notification.id, timestamp, body)
        answer = self._exchange.post(body, headers)
        place, status = self._exchange.place, answer.status
        if codes.is_success(status):
            return
        if wait := throttled(place, answer):
            raise wait
        if codes.is_redirect(status):
            raise Unavailable(
                f"{place}: answered {status}, a redirect, which is not followed; correct the channel's url"
            )
        if status in _AGAIN:
            raise Unavailable(f"{place}: answered {status}")
        if codes.is_client_error(status):
            raise Refused(f"{place}: answered {status}: it does not want this notification")
        raise OutcomeUnknown(f"{place}: answered {status}; nobody knows how far it got")

    def _keys(self) -> list[bytes]:
        if self._secret is None:
            return []
        try:
            return keys_in(self._secret.read().get_secret_value())
        except ValueError as error:
            raise Unavailable(f"channel {self.name}: secret_file: {error}") from None


def keys_in(text: str) -> list[bytes]:
    """The secrets in a file, one a line: while one replaces another, both sign. Raises ValueError."""
    keys = []
    for line in text.split():
        try:
            key = base64.b64decode(line.removeprefix("whsec_"), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) not in _KEY_BYTES:
            raise ValueError(
                "each line may be whsec_ and 24 to 64 random bytes in base64; `openssl rand -base64 32` makes some"
            )
        keys.append(key)
    return keys


def signatures(keys: list[bytes], id_: str, timestamp: int, body: bytes) -> str:
    """The value of header `webhook-signature`: one for each key, as `v1,<base64>`."""
    signed = f"{id_}.{timestamp}.".encode() + body
    digests = (hmac.new(key, signed, hashlib.sha256).digest() for key in keys)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


def body_of(notification: Notification) -> bytes:
    """What is posted; docs/how-to/webhooks.md describes it. Additions are no new type; a change of meaning is."""
    data: dict[str, Any] = {
        "id": notification.id,
        "reference": reference_of(notification.id),
        "subscription": notification.subscription,
        "receiver": notification.receiver.name,
        "text": notification.text,
        "prediction_id": notification.prediction_id or None,
        "request_id": notification.request_id,
        "key": notification.key,
        "model": notification.model,
        "version": notification.version,
        "prediction": json.loads(notification.prediction),
        "expires": None if notification.expires is None else _iso(notification.expires),
    }
    whole = {"type": "rollcast.notification", "timestamp": _iso(notification.created), "data": data}
    return json.dumps(whole, separators=(",", ":")).encode()


def _iso(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
