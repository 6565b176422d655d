"""What the demo says at its end: the rollouts as they were, and whether anything was lost or doubled."""

from dataclasses import dataclass

from rich.table import Table

from rollcast_cli.console import shown_ms
from rollcast_cli.demo_person import Talk
from rollcast_cli.reckoning import Reckoning
from rollcast_cli.rolling.timeline import Moment

__all__ = ["Outcome", "report_table", "timeline_table"]


@dataclass(frozen=True, slots=True)
class Outcome:
    first: str
    second: str
    bad: str
    slots: int
    live_slots: int
    rollout_seconds: float
    """From the announcement to the last slot."""
    reason: str
    """Why the bad one went back."""
    rollback_ms: float
    """From the verdict to its last output."""
    moments: list[Moment]
    reckoning: Reckoning
    talk: Talk


def timeline_table(outcome: Outcome) -> Table:
    table = Table(title="the rollouts, as they were", title_justify="left")
    table.add_column("when", justify="right", no_wrap=True)
    table.add_column("model", no_wrap=True)
    table.add_column("step", no_wrap=True)
    table.add_column("its share", justify="right", no_wrap=True)
    table.add_column("what happened", overflow="fold")
    names = {outcome.first: "first", outcome.second: "second", outcome.bad: "bad"}
    for moment in outcome.moments:
        share = "" if moment.share is None else f"{moment.share:.1%}"
        seconds = (moment.time_ms - outcome.moments[0].time_ms) / 1000
        message = moment.message.removeprefix(f"{moment.version} ").removeprefix(f"{moment.version}: ")
        table.add_row(f"{seconds:.2f} s", names.get(moment.version, moment.version), moment.reason, share, message)
    return table


def report_table(outcome: Outcome, title: str) -> Table:
    count = outcome.reckoning
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in (
        ("trained", f"3 ({outcome.first}, {outcome.second}, {outcome.bad})"),
        ("requests acknowledged", f"{count.requests:,}"),
        ("predictions", f"{count.predictions:,}"),
        ("dead letters", f"{count.dead_letters:,}"),
        ("  planted, and come back", f"{count.planted_answered:,} of {count.planted:,}"),
        ("  others", f"{count.unplanted_dead_letters:,}"),
        ("latency p50 / p99", f"{shown_ms(count.p50_ms)} / {shown_ms(count.p99_ms)}"),
        ("rolled out under traffic", f"{outcome.second} ({outcome.live_slots} of {outcome.slots} slots)"),
        ("  announced to live", f"{outcome.rollout_seconds:.1f} s"),
        ("rolled back under traffic", f"{outcome.bad} ({outcome.reason})"),
        ("  verdict to its last output", f"{outcome.rollback_ms:.0f} ms"),
        # It is one prediction more than the stream asked for.
        ("asked by message, answered after", f"{outcome.talk.answered_ms:.0f} ms"),
        ("  receipts of the answer", ", ".join(outcome.talk.receipts)),
        ("  what it really was", bytes(outcome.talk.truth.actual).decode()),
        ("lost", f"{count.lost:,}"),
        ("doubled", f"{count.doubled:,}"),
    ):
        table.add_row(name, value)
    return table
