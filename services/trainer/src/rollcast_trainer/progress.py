"""How a run shows itself on stderr: a spinner on a terminal, a plain line a step elsewhere, JSON if asked."""

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import structlog
from rich.console import Console
from rich.markup import escape

from rollcast_common.logs import LogFormat

__all__ = ["Progress"]


class Progress:
    """Names the steps of a run as they pass. `current` is the one under way, for a message about an interruption."""

    def __init__(self, log_format: LogFormat = "console") -> None:
        self.current = "starting"
        self._log = structlog.get_logger() if log_format == "json" else None
        self._console = Console(file=sys.stderr, soft_wrap=True, highlight=False)

    @contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """Time one step. What is appended to the list is shown with it."""
        self.current = name
        notes: list[str] = []
        started = time.monotonic()
        with self._spinner(name):
            yield notes
        self._done(name, time.monotonic() - started, notes)

    def _spinner(self, name: str) -> AbstractContextManager[object]:
        shown = self._log is None and self._console.is_terminal
        return self._console.status(f"{name} …") if shown else nullcontext()

    def _done(self, name: str, seconds: float, notes: list[str]) -> None:
        if self._log is not None:
            self._log.info(name, seconds=round(seconds, 3), notes=notes)
        elif self._console.is_terminal:
            self._console.print(f"[green]✓[/] {name:<11} [dim]{seconds:6.2f} s[/]  {escape('; '.join(notes))}")
        else:
            self._console.print(f"{name:<11} {seconds:6.2f} s  {'; '.join(notes)}".rstrip(), markup=False)
