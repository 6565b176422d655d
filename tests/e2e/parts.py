"""What is told at the end of the run: how long each part of the story took, and what was judged."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Parts"]


class Parts:
    def __init__(self) -> None:
        self.took: list[tuple[str, float]] = []
        self.notes: list[str] = []
        """What else is told."""

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.took.append((name, time.monotonic() - began))
