"""Whether the streaming loop still turns: it says so in every round, and wherever it waits for others on purpose."""

import time

__all__ = ["Heartbeat"]


class Heartbeat:
    """Written by the loop's thread, read by the probes'."""

    def __init__(self) -> None:
        self._at = time.monotonic()

    def beat(self) -> None:
        self._at = time.monotonic()

    @property
    def age_seconds(self) -> float:
        return time.monotonic() - self._at
