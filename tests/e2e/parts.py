"""How long each part of the story took: told at the end of the run."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Parts"]


class Parts:
    def __init__(self) -> None:
        self.took: list[tuple[str, float]] = []

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.took.append((name, time.monotonic() - began))
