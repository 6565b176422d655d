"""Somebody with a mesibo client on the embedded mesibo: for the demo, and for tests."""

import json
import time
import urllib.request
from typing import Any

__all__ = ["Person"]

_ANSWER_SECONDS = 40.0


class Person:
    """Known by their user token. Offline until they look; what they have looked at has been delivered."""

    def __init__(self, origin: str, token: str) -> None:
        self._origin = origin
        self._token = token
        self._seen = 0
        self.statuses: list[tuple[int, str, int]] = []
        """Of what they sent: mid, whose copy, status; as far as they have looked."""

    def send(self, text: str, *, to: str = "", gid: int = 0) -> int:
        """The message's mid. Raises ValueError when it is refused."""
        return int(self._do("send", message=text, to=to, gid=gid)["mid"])

    def look(self, wait_seconds: float = 0.0) -> list[dict[str, Any]]:
        """The messages that came since they last looked; waits so long for anything to come."""
        events = self._do("events", after=self._seen, wait_seconds=wait_seconds)["events"]
        self._seen += len(events)
        messages = [event for event in events if event["kind"] == "message"]
        for message in messages:
            self._do("got", mid=message["mid"])
        self.statuses += [(e["mid"], e["peer"], e["status"]) for e in events if e["kind"] == "status"]
        return messages

    def wait_for(self, text: str, timeout_seconds: float = 30.0) -> dict[str, Any]:
        """The first new message that has `text` in it; those beside it are looked at, too. Raises TimeoutError."""
        until = time.monotonic() + timeout_seconds
        while (left := until - time.monotonic()) > 0:
            for message in self.look(min(left, 5.0)):
                if text in message["text"]:
                    return message
        raise TimeoutError(f"no message with {text!r} in {timeout_seconds:g} s")

    def read(self, mid: int) -> None:
        """Whoever sent it is told."""
        self._do("read", mid=mid)

    def _do(self, what: str, **fields: Any) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310  # the loopback address of the embedded server
            f"{self._origin}/people/{what}",
            json.dumps({"token": self._token, **fields}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as response:  # noqa: S310  # as above
            answer: dict[str, Any] = json.load(response)
        if "error" in answer:
            raise ValueError(f"mesibo: {what}: {answer['error']}")
        return answer
