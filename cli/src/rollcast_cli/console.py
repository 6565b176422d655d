"""What commands print, and how they end."""

import contextlib
import json
import logging
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from rollcast_cli.results import VersionView
from rollcast_common.errors import RollcastError

__all__ = ["Steps", "one_line_errors", "print_json", "shown_ms", "view_line", "view_table"]

_INTERRUPTED = 130


class Steps:
    """Lines that say what happens and how long after the start: `[  3.2 s] …`."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def say(self, text: str) -> None:
        self._console.print(f"[dim]\\[{self.seconds:5.1f} s][/dim] {text}", markup=True)


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """What a user can cause is one line and exit code 1; Ctrl-C and SIGTERM are exit code 130, after cleaning up."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    # librdkafka tells of every attempt to connect; our one line says it once.
    logging.getLogger("rollcast.kafka").setLevel(logging.CRITICAL)
    try:
        yield
    except RollcastError as error:
        sys.stdout.flush()
        sys.stderr.write(f"rollcast: error: {error}\n")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        sys.stderr.write("rollcast: interrupted\n")
        raise typer.Exit(_INTERRUPTED) from None
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); Python would complain again at exit.
        sys.stdout = None
        raise typer.Exit(0) from None


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Cleaning up takes a moment; a second Ctrl-C must not leave half of it undone."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def shown_ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"


def view_table(views: list[VersionView], dead_letters: dict[str, int], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("model")
    table.add_column("version")
    for name in ("predictions", "per second", "p50", "p99"):
        table.add_column(name, justify="right")
    for view in views:
        table.add_row(
            view.model,
            view.version,
            f"{view.predictions:,}",
            f"{view.rate:,.0f}",
            shown_ms(view.p50_ms),
            shown_ms(view.p99_ms),
        )
    reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(dead_letters.items()))
    table.caption = f"dead letters: {reasons or 'none'}"
    table.caption_justify = "left"
    return table


def view_line(views: list[VersionView], dead_letters: dict[str, int]) -> str:
    parts = [
        f"{view.model}@{view.version} {view.predictions:,} ({view.rate:,.0f}/s, p50 {shown_ms(view.p50_ms)}, "
        f"p99 {shown_ms(view.p99_ms)})"
        for view in views
    ]
    return f"{'; '.join(parts) or 'no prediction yet'}; dead letters {sum(dead_letters.values())}"
