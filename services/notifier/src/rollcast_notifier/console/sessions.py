"""Who is logged in: kept here, not in the cookie, so that a session can be ended and expires."""

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

__all__ = ["Attempts", "Session", "Sessions"]

_SESSION_BYTES = 32
_MOST_SESSIONS = 1000


@dataclass(frozen=True, slots=True)
class Session:
    user: str
    credential: str
    """By which digest the user was recognised: when it is replaced, the session ends."""
    expires: float
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(_SESSION_BYTES))
    """What every POST of this session has to carry."""


class Sessions:
    """In memory: a restart logs everybody out. Only digests of cookies are kept."""

    def __init__(self, *, lifetime_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._lifetime = lifetime_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}

    def open(self, user: str, credential: str) -> str:
        """The value of the new session's cookie."""
        cookie = secrets.token_urlsafe(_SESSION_BYTES)
        with self._lock:
            self._forget_expired()
            while len(self._sessions) >= _MOST_SESSIONS:
                del self._sessions[next(iter(self._sessions))]
            self._sessions[_digest(cookie)] = Session(user, credential, self._clock() + self._lifetime)
        return cookie

    def find(self, cookie: str | None) -> Session | None:
        if not cookie:
            return None
        with self._lock:
            session = self._sessions.get(_digest(cookie))
        return session if session is not None and session.expires > self._clock() else None

    def close(self, cookie: str | None) -> None:
        with self._lock:
            self._sessions.pop(_digest(cookie or ""), None)

    def count(self) -> int:
        with self._lock:
            self._forget_expired()
            return len(self._sessions)

    def _forget_expired(self) -> None:
        now = self._clock()
        for digest in [digest for digest, session in self._sessions.items() if session.expires <= now]:
            del self._sessions[digest]


class Attempts:
    """How often something may be tried in a while, by name and by all together."""

    def __init__(
        self, *, each: int, together: int, within_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._each = each
        self._together = together
        self._within = within_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._made: deque[tuple[float, str]] = deque()

    def may(self, name: str) -> bool:
        with self._lock:
            self._forget()
            return len(self._made) < self._together and sum(made == name for _, made in self._made) < self._each

    def note(self, name: str) -> None:
        with self._lock:
            self._forget()
            self._made.append((self._clock(), name))

    def _forget(self) -> None:
        since = self._clock() - self._within
        while self._made and self._made[0][0] <= since:
            self._made.popleft()


def _digest(cookie: str) -> str:
    return sha256(cookie.encode()).hexdigest()
