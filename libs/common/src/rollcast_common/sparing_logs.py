"""Lines that say the same again and again, such as a client's that looks for a broker 20 times a second."""

import logging
import re
import threading
import time

__all__ = ["Sparingly"]

_NUMBERS = re.compile(r"\d+")
_MOST_KINDS = 1000


class Sparingly(logging.Filter):
    """Lets a line pass once in so many seconds; the next one that passes says how many were held back.

    Lines that differ only in their numbers are the same: clients, threads, ports, milliseconds.
    """

    def __init__(self, every_seconds: float) -> None:
        super().__init__()
        self._every_seconds = every_seconds
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        kind = _NUMBERS.sub("", text)
        now = time.monotonic()
        with self._lock:
            shown_at, held_back = self._seen.get(kind, (-self._every_seconds, 0))
            if now - shown_at < self._every_seconds:
                self._seen[kind] = (shown_at, held_back + 1)
                return False
            if len(self._seen) >= _MOST_KINDS:
                self._seen.clear()
            self._seen[kind] = (now, 0)
        if held_back:
            record.msg, record.args = f"{text} (and {held_back} more like this)", ()
        return True
