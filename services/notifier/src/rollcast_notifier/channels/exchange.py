"""One HTTP request of a channel, and the ways in which it can fail on its way."""

import email.utils
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from rollcast_notifier.channels.channel import OutcomeUnknown, Refused, Throttled, Unavailable

__all__ = ["Answer", "Exchange", "checked_url", "retry_after_seconds", "throttled"]

_CONNECT_SECONDS = 5.0
_MOST_ANSWER_BYTES = 64 * 1024
_LONGEST_PAUSE_SECONDS = 3600.0
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

# Its info lines repeat whole addresses, and the address of a webhook is often a secret.
logging.getLogger("httpx").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    retry_after_seconds: float | None
    body: bytes
    """At most 64 KiB of it."""


class Exchange:
    """Posts to one address. `place` names it in errors: scheme, host and port, never the path.

    Redirects are not followed: a message, and its signature or token, goes where the settings say or nowhere.
    Raises ValueError, as `checked_url` does, for an address that may not be used.
    """

    def __init__(self, url: str, *, answer_seconds: float) -> None:
        self._url = checked_url(url)
        self.place = place_of(url)
        self._answer_seconds = answer_seconds
        self._client = httpx.Client(
            follow_redirects=False,
            timeout=httpx.Timeout(answer_seconds, connect=min(_CONNECT_SECONDS, answer_seconds)),
            headers={"User-Agent": "rollcast-notifier", "Accept-Encoding": "identity"},
        )

    def post(self, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """Raises Unavailable when nothing was sent, OutcomeUnknown when the way broke after it may have been."""
        if self._client.is_closed:
            raise Unavailable(f"{self.place}: stopped")
        headers = {"Content-Type": "application/json", **(headers or {})}
        try:
            with self._client.stream("POST", self._url, content=body, headers=headers) as response:
                return Answer(
                    response.status_code,
                    retry_after_seconds(response.headers.get("Retry-After"), time.time()),
                    self._beginning_of(response),
                )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError) as error:
            raise Unavailable(f"{self.place}: not reachable ({_why(error)})") from None
        except httpx.TimeoutException:
            raise OutcomeUnknown(
                f"{self.place}: no answer within {self._answer_seconds:g} s; nobody knows whether it was accepted"
            ) from None
        except (httpx.LocalProtocolError, httpx.UnsupportedProtocol) as error:
            raise Refused(f"{self.place}: this cannot be said in HTTP ({_why(error)})") from None
        except (UnicodeError, OverflowError) as error:  # a name that cannot be looked up, a port that cannot be had
            raise Unavailable(f"{self.place}: not reachable ({_why(error)})") from None
        except httpx.TransportError as error:
            raise OutcomeUnknown(
                f"{self.place}: the connection broke ({_why(error)}); nobody knows whether it was accepted"
            ) from None

    def close(self) -> None:
        self._client.close()

    def _beginning_of(self, response: httpx.Response) -> bytes:
        """No more than is worth reading, and no longer than an answer may take: whoever answers may be anyone.

        The status has been said by then, so that a body that breaks off takes nothing back.
        """
        body = bytearray()
        until = time.monotonic() + self._answer_seconds
        try:
            for part in response.iter_raw():
                body += part
                if len(body) >= _MOST_ANSWER_BYTES or time.monotonic() > until:
                    break
        except httpx.TransportError:
            pass
        return bytes(body[:_MOST_ANSWER_BYTES])


def throttled(place: str, answer: Answer) -> Throttled | None:
    """What 429 and 503 mean: nothing was accepted, and when to come again."""
    if answer.status not in (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE):
        return None
    pause = answer.retry_after_seconds
    when = "" if pause is None else f" and wants to be asked again in {pause:g} s"
    return Throttled(f"{place}: answered {answer.status}{when}", pause)


def retry_after_seconds(value: str | None, now: float) -> float | None:
    """What header Retry-After asks for, seconds or an HTTP date; at most an hour. None where it says nothing."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        seconds = float(value[:10])
    else:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return min(max(seconds, 0.0), _LONGEST_PAUSE_SECONDS)


def place_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def checked_url(url: str) -> str:
    """Raises ValueError for what is no address, and where secrets would go over the wire in the clear."""
    try:
        parts, host = urlsplit(url), httpx.URL(url).host
        _ = parts.port  # is looked at only now
    except (ValueError, httpx.InvalidURL) as error:
        raise ValueError(f"is no address: {error}") from None
    if host and (parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)):
        return url
    raise ValueError(
        f"was {place_of(url)}…, may be an https:// address; http:// only on this machine (127.0.0.1, localhost)"
    )


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__
