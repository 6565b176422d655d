"""`rollcast-notifier outbox` and `rollcast-notifier held`: look into the outbox, and decide what nobody knows."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rollcast_common.errors import RollcastError
from rollcast_notifier.notification import reference_of
from rollcast_notifier.outbox import Outbox, now_ms

__all__ = ["held_app", "outbox"]

held_app = typer.Typer(
    no_args_is_help=True,
    help="Notifications of which nobody knows whether they were sent, and which wait for a person's decision.",
)

_OutboxFile = Annotated[Path, typer.Option("--outbox", envvar="ROLLCAST_OUTBOX", help="The outbox's SQLite file.")]
_AsJson = Annotated[bool, typer.Option("--json", help="One JSON document, for programs.")]
_Numbers = Annotated[list[int] | None, typer.Argument(help="The numbers that `held list` shows.")]
_All = Annotated[bool, typer.Option("--all", help="All that is held.")]
_TEXT_CHARACTERS = 60


@contextmanager
def _opened(path: Path) -> Iterator[Outbox]:
    """Beside a running notifier; what is wrong is one line and exit code 1."""
    try:
        outbox = Outbox(path, sending=False)
        try:
            yield outbox
        finally:
            outbox.close()
    except RollcastError as error:
        Console(stderr=True).print(escape(str(error)), style="red", soft_wrap=True)
        sys.exit(1)


def outbox(*, outbox: _OutboxFile = Path("outbox.db"), as_json: _AsJson = False) -> None:
    """Show what the outbox holds: by channel and state, how old the oldest is, and how large the file is."""
    with _opened(outbox) as box:
        counts, oldest, now = box.counts(), box.oldest(), now_ms()
        ages = {channel: (now - recorded) / 1000 for channel, recorded in oldest.items()}
        size, receipts = box.size_bytes, box.waiting_receipts()
    channels = sorted({channel for channel, _ in counts})
    if as_json:
        states = {c: {state: n for (of, state), n in sorted(counts.items()) if of == c} for c in channels}
        found = {"channels": states, "oldest_seconds": ages, "bytes": size, "receipts_to_publish": receipts}
        typer.echo(json.dumps(found))
        return
    table = Table("channel", "state", "notifications", "oldest")
    for (channel, state), count in sorted(counts.items()):
        age = f"{ages[channel]:.0f} s" if state == "queued" and channel in ages else ""
        table.add_row(escape(channel), state, str(count), age)
    console = Console()
    console.print(table if counts else "nothing is in the outbox")
    console.print(f"{size / 1e6:.1f} MB; {receipts} receipts are not on their topic yet")


@held_app.command("list")
def list_held(*, outbox: _OutboxFile = Path("outbox.db"), as_json: _AsJson = False) -> None:
    """Show what is held, the oldest first."""
    with _opened(outbox) as box:
        found = box.held()
    if as_json:
        rows = [
            {"number": number, "id": n.id, "receiver": str(n.receiver), "text": n.text, "why": why, "since": since}
            for number, n, why, since in found
        ]
        typer.echo(json.dumps(rows))
        return
    table = Table("number", "reference", "receiver", "text", "why")
    for number, n, why, _ in found:
        text = n.text if len(n.text) <= _TEXT_CHARACTERS else f"{n.text[:_TEXT_CHARACTERS]} …"
        table.add_row(str(number), reference_of(n.id), escape(str(n.receiver)), escape(text), escape(why or ""))
    Console().print(table if found else "nothing is held")


@held_app.command("resend")
def resend(*, numbers: _Numbers = None, everything: _All = False, outbox: _OutboxFile = Path("outbox.db")) -> None:
    """Send it (again): it may arrive twice."""
    _release(outbox, numbers or [], everything=everything, resend=True)


@held_app.command("drop")
def drop(*, numbers: _Numbers = None, everything: _All = False, outbox: _OutboxFile = Path("outbox.db")) -> None:
    """Do not send it (again): it may not have arrived."""
    _release(outbox, numbers or [], everything=everything, resend=False)


def _release(path: Path, numbers: list[int], *, everything: bool, resend: bool) -> None:
    if bool(numbers) == everything:
        raise typer.BadParameter("give the numbers that `held list` shows, or --all")
    with _opened(path) as box:
        done = 0
        while everything and (found := box.held()):
            done += box.release([number for number, *_ in found], resend=resend)
        done += box.release(numbers, resend=resend)
    typer.echo(f"{done} {'to be sent again' if resend else 'dropped'}")
    if not everything and (missing := len(numbers) - done):
        typer.echo(f"{missing} of these are not held (any more)", err=True)
        sys.exit(1)
