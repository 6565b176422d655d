"""mesibo's backend API: JSON over HTTPS, one operation a request, the app's token in its body.

Outbound only. Its HTTP codes are not documented, its confirmed errors are BADOP and TOKENBREACH: what else comes is
taken by what it can mean for the message, and quoted.
"""

import json
from typing import Any

from httpx import codes

from rollcast_common.errors import ConfigError
from rollcast_notifier.channels.channel import OutcomeUnknown, Refused, Throttled
from rollcast_notifier.channels.exchange import Answer, Exchange, throttled
from rollcast_notifier.channels.secret_file import SecretFile

__all__ = ["HOSTED_URL", "ApiRefused", "AppUnusable", "MesiboApi"]

HOSTED_URL = "https://api.mesibo.com/backend/"

_LONGEST_ERROR = 200
_PAUSE_SECONDS = 300.0


class ApiRefused(Refused):
    """`result: false`, for a reason that lies in the request."""

    def __init__(self, text: str, error: str) -> None:
        super().__init__(text)
        self.error = error


class AppUnusable(Throttled):
    """The app, its token or the address is at fault, no message in particular: it waits until someone has acted.

    Asked again only every five minutes: a disabled app is not enabled by asking.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text, _PAUSE_SECONDS)


class MesiboApi:
    """Raises ConfigError when `url` would send the token in the clear."""

    def __init__(self, url: str, token: SecretFile, *, what: str, answer_seconds: float = 10.0) -> None:
        """`what` names the setting that `url` is, for the error."""
        try:
            self._exchange = Exchange(url, answer_seconds=answer_seconds)
        except ValueError as error:
            raise ConfigError(f"{what} {error}") from None
        self._token = token

    def call(self, op: str, **fields: Any) -> dict[str, Any]:
        """The answer to one operation. Raises SendFailed: ApiRefused, AppUnusable, Throttled, Unavailable, Unknown."""
        token = self._token.read().get_secret_value()
        answer = self._exchange.post(json.dumps({"op": op, "token": token, **fields}).encode())
        said = _object(answer.body)
        if said.get("result") is True:
            return said
        if wait := throttled(self._exchange.place, answer):
            raise wait
        if said.get("result") is False:
            raise self._problem(op, _error_of(said, token))
        raise self._unexpected(op, answer)

    def close(self) -> None:
        self._exchange.close()

    def _problem(self, op: str, error: str) -> Refused | Throttled:
        place = self._exchange.place
        if error == "TOKENBREACH":
            return AppUnusable(
                f"mesibo at {place}: TOKENBREACH: the app was disabled, as it is when the backend API is called from "
                "more than five IP addresses; enable it in the mesibo console, renew the app token, and let one "
                "replica call, or all share an egress address"
            )
        if error == "BADOP":
            return AppUnusable(
                f"mesibo at {place}: BADOP: it knows no operation {op!r}; is the channel's url a backend API?"
            )
        if "TOKEN" in error.upper():
            return AppUnusable(f"mesibo at {place}: {error}: is the app token the one in the mesibo console?")
        return ApiRefused(f"mesibo at {place}: {op}: {error}", error)

    def _unexpected(self, op: str, answer: Answer) -> Exception:
        place, status = self._exchange.place, answer.status
        if status in (codes.UNAUTHORIZED, codes.FORBIDDEN):
            return AppUnusable(f"mesibo at {place}: answered {status}: is the app token the one in the mesibo console?")
        if codes.is_redirect(status) or codes.is_client_error(status):
            return AppUnusable(f"mesibo at {place}: answered {status} to {op}; is the channel's url a backend API?")
        if codes.is_success(status):
            return OutcomeUnknown(
                f"mesibo at {place}: answered {status}, but not with a JSON object that has a result; "
                "is the channel's url a backend API?"
            )
        return OutcomeUnknown(f"mesibo at {place}: answered {status}; nobody knows how far it got")


def _object(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _error_of(said: dict[str, Any], token: str) -> str:
    """One line, short, and without the token should it be repeated there."""
    error = str(said.get("error") or "an error without a name").replace(token, "***")
    return " ".join("".join(c if c.isprintable() else " " for c in error).split())[:_LONGEST_ERROR]
