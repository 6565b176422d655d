"""What is seen while the demo runs: a live table on a terminal, a line every few seconds elsewhere."""

import time
from typing import Self

from rich.console import Console
from rich.live import Live

from rollcast_cli.console import Steps, view_line, view_table
from rollcast_cli.local.stack import LocalStack
from rollcast_cli.results import ResultReader

__all__ = ["Screen"]


class Screen:
    def __init__(self, reader: ResultReader, steps: Steps, console: Console) -> None:
        self._reader = reader
        self._steps = steps
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._next_line = 0.0

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._live is not None:
            self._live.stop()

    def watch(self, seconds: float, stack: LocalStack) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._tick(stack)

    def until_interrupted(self, stack: LocalStack) -> None:
        try:
            while True:
                self._tick(stack)
        except KeyboardInterrupt:
            return

    def _tick(self, stack: LocalStack) -> None:
        self.show(stack)
        time.sleep(0.2)

    def show(self, stack: LocalStack) -> None:
        stack.check()
        self._reader.check()
        views, dead = self._reader.views(), self._reader.dead_letters()
        if self._live is not None:
            self._live.update(view_table(views, dead, "predictions on app_messages"), refresh=True)
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + 2
            self._steps.say(f"  {view_line(views, dead)}")
