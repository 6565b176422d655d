"""The main job from beginning to end, before your eyes: train, publish, stream, swap under traffic, count."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from rollcast_cli.console import Steps, shown_ms, view_line, view_table
from rollcast_cli.examples import Example
from rollcast_cli.local.brokers import choose_broker
from rollcast_cli.local.processes import NotInTime
from rollcast_cli.local.stack import LocalStack, StackOptions
from rollcast_cli.local.state import StateFolder
from rollcast_cli.reckoning import Reckoning, read_journal, reckon
from rollcast_cli.results import ResultReader

__all__ = ["DemoOptions", "run_demo"]

_READY_SECONDS = 90.0
_ANSWERED_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class DemoOptions:
    broker: str
    slots: int
    rate: float
    bad_every: int
    before_seconds: float
    """Traffic on the first model before the second one is trained."""
    after_seconds: float
    """Traffic on the second model before the stream ends."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    first: str
    second: str
    swapped_slots: int
    swap_seconds: float
    reckoning: Reckoning


def run_demo(example: Example, options: DemoOptions, folder: StateFolder, console: Console) -> bool:
    """Run it and print a report. True when nothing was lost or doubled and every planted record came back.

    On a terminal it streams on after the swap until Ctrl-C; otherwise it ends by itself.
    """
    steps = Steps(console)
    steps.say(example.why)
    choice = choose_broker(options.broker, progress=steps.say)
    steps.say(choice.reason)
    with LocalStack(folder, choice, StackOptions(example.model, options.slots), steps.say) as stack:
        rows = stack.request_rows(example.config, example.data)
        first = stack.train(example.config, example.data)
        steps.say(f"announced {example.model}@{first} on topic train; waiting for the slots to load it")
        stack.wait_for_version(first)
        with ResultReader(stack.stack.kafka_params()) as reader:
            journal = stack.start_source(rows, rate=options.rate, bad_every=options.bad_every)
            steps.say(f"streaming {options.rate:g} requests a second, every {options.bad_every}th one bad on purpose")
            with _Screen(reader, steps, console) as screen:
                _wait(lambda: reader.answered() > 0, stack, "a first answer", _READY_SECONDS)
                screen.watch(options.before_seconds, stack)
                steps.say("training again, under traffic")
                second = stack.train(example.config, example.data, seed=7, meanwhile=lambda: screen.show(stack))
                stack.wait_for_version(second, meanwhile=lambda: screen.show(stack))
                swap_seconds = time.monotonic() - stack.announced_at
                screen.watch(options.after_seconds, stack)
                if console.is_terminal:
                    steps.say("streaming on until Ctrl-C; try `rollcast status` or `rollcast tail` in another terminal")
                    screen.until_interrupted(stack)
            stack.stop_source()
            accepted = read_journal(journal.read_text(encoding="utf-8").splitlines())
            steps.say(f"stream ended; {len(accepted.ids):,} requests were acknowledged; waiting for their answers")
            deadline = time.monotonic() + _ANSWERED_SECONDS
            while reader.answered() < len(accepted.ids) and time.monotonic() < deadline:
                reader.check()
                stack.check()
                time.sleep(0.05)
            results = reader.finish()
            if results.unreadable:
                steps.say(f"{results.unreadable:,} records could not be read; the last: {results.unreadable_why}")
        outcome = _Outcome(
            first, second, sum(v == second for v in stack.versions()), swap_seconds, reckon(accepted, results)
        )
    console.print(_report(outcome, options, f"demo of {example.model}, {steps.seconds:.0f} s"))
    good = outcome.reckoning.clean and outcome.swapped_slots == options.slots
    console.print("[green]as promised[/green]" if good else "[red]NOT as promised[/red]")
    return good


def _wait(condition: Callable[[], bool], stack: LocalStack, what: str, timeout_seconds: float) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        stack.check()
        if time.monotonic() > deadline:
            problems = "; ".join(stack.problems())
            raise NotInTime(f"{what}: not within {timeout_seconds:g} s{': ' if problems else ''}{problems}")
        time.sleep(0.1)


class _Screen:
    """A live table on a terminal, a line every few seconds elsewhere."""

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


def _report(outcome: _Outcome, options: DemoOptions, title: str) -> Table:
    count = outcome.reckoning
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in (
        ("trained and published", f"2 ({outcome.first}, {outcome.second})"),
        ("requests acknowledged", f"{count.requests:,}"),
        ("predictions", f"{count.predictions:,}"),
        ("dead letters", f"{count.dead_letters:,}"),
        ("  planted, and come back", f"{count.planted_answered:,} of {count.planted:,}"),
        ("  others", f"{count.unplanted_dead_letters:,}"),
        ("latency p50 / p99", f"{shown_ms(count.p50_ms)} / {shown_ms(count.p99_ms)}"),
        ("swaps under traffic", f"1 ({outcome.swapped_slots} of {options.slots} slots, {outcome.swap_seconds:.1f} s)"),
        ("lost", f"{count.lost:,}"),
        ("doubled", f"{count.doubled:,}"),
    ):
        table.add_row(name, value)
    return table
