"""The main job from beginning to end, before your eyes: train, publish, stream, roll a good and a bad model, count."""

import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from rich.console import Console

from rollcast_cli.console import Steps
from rollcast_cli.demo_models import ROLLOUT, apply_bad, more_trees
from rollcast_cli.demo_person import talk
from rollcast_cli.demo_report import Outcome, report_table, timeline_table
from rollcast_cli.demo_screen import Screen
from rollcast_cli.examples import Example
from rollcast_cli.local.brokers import choose_broker
from rollcast_cli.local.processes import NotInTime
from rollcast_cli.local.stack import LocalStack, StackOptions
from rollcast_cli.local.state import StateFolder
from rollcast_cli.reckoning import read_journal, reckon
from rollcast_cli.results import ResultReader, Results
from rollcast_cli.rolling.folder_shell import read_events
from rollcast_cli.rolling.timeline import Moment, last_made_ms, moments

__all__ = ["DemoOptions", "run_demo"]

_READY_SECONDS = 90.0
_LIVE_SECONDS = 120.0
_ANSWERED_SECONDS = 60.0
_SAYING_SECONDS = 30.0


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


def run_demo(example: Example, options: DemoOptions, folder: StateFolder, console: Console) -> bool:
    """Run it and print a report. True when nothing was lost or doubled and every planted record came back.

    On a terminal it streams on after the swap until Ctrl-C; otherwise it ends by itself.
    """
    steps = Steps(console)
    steps.say(example.why)
    choice = choose_broker(options.broker, progress=steps.say)
    steps.say(choice.reason)
    stack_options = StackOptions(example.model, options.slots, rollout=ROLLOUT)
    with LocalStack(folder, choice, stack_options, steps.say) as stack:
        rows = stack.request_rows(example.config, example.data)
        first = stack.train(example.config, example.data)
        steps.say(f"announced {example.model}@{first} on topic train; waiting for the slots to load it")
        stack.wait_for_phase(first, "Live", timeout_seconds=_LIVE_SECONDS)
        with ResultReader(stack.stack.kafka_params()) as reader:
            journal = stack.start_source(rows, rate=options.rate, bad_every=options.bad_every)
            steps.say(f"streaming {options.rate:g} requests a second, every {options.bad_every}th one bad on purpose")
            with Screen(reader, steps, console) as screen:
                _wait(lambda: reader.answered() > 0, stack, "a first answer", _READY_SECONDS)

                def show() -> None:
                    screen.show(stack)

                talked = talk(stack, example, rows, steps, show)
                screen.watch(options.before_seconds, stack)

                steps.say("training again, under traffic; the rollout: shadow, 5 %, 25 %, 50 %, live")
                second = stack.train(more_trees(example, folder), example.data, meanwhile=show)
                announced = stack.announced_at
                stack.wait_for_phase(second, "Live", timeout_seconds=_LIVE_SECONDS, meanwhile=show)
                rollout_seconds = time.monotonic() - announced
                steps.say(f"{second} is live, {rollout_seconds:.1f} s after its announcement")
                steps.say("training a model that learns nothing, and applying it by hand: 25 % of the keys at once")
                bad = apply_bad(stack, example, folder, show)
                failure = stack.wait_for_phase(bad, "RolledBack", timeout_seconds=_LIVE_SECONDS, meanwhile=show)
                steps.say(f"{bad} was rolled back: {failure['lastFailure']['message']}")
                screen.watch(options.after_seconds, stack)
                if console.is_terminal:
                    steps.say(
                        "streaming on until Ctrl-C; look at the web console, or try `rollcast status` and "
                        "`rollcast tail` in another terminal"
                    )
                    screen.until_interrupted(stack)
            stack.stop_source()
            accepted = read_journal(journal.read_text(encoding="utf-8").splitlines())
            steps.say(f"stream ended; {len(accepted.ids):,} requests were acknowledged; waiting for their answers")
            results = _answered(reader, stack, accepted.ids, steps)
        last_ms = last_made_ms(results.made, bad)
        verdict_ms = stack.verdict_seconds(bad) * 1000
        outcome = Outcome(
            first,
            second,
            bad,
            options.slots,
            _live_slots(stack, second),
            rollout_seconds,
            failure["lastFailure"]["reason"],
            max(0.0, (last_ms or verdict_ms) - verdict_ms),
            _moments(stack, folder, results, time.time() * 1000),
            reckon(accepted, results),
            talked,
        )
    console.print(timeline_table(outcome))
    console.print(report_table(outcome, f"demo of {example.model}, {steps.seconds:.0f} s"))
    good = outcome.reckoning.clean and outcome.live_slots == options.slots
    console.print("[green]as promised[/green]" if good else "[red]NOT as promised[/red]")
    return good


def _answered(reader: ResultReader, stack: LocalStack, requests: AbstractSet[str], steps: Steps) -> Results:
    # Not only so many: others ask, too, and their answers must not stand in for the stream's last ones.
    deadline = time.monotonic() + _ANSWERED_SECONDS
    while not reader.has_all(requests) and time.monotonic() < deadline:
        reader.check()
        stack.check()
        time.sleep(0.05)
    results = reader.finish()
    if results.unreadable:
        steps.say(f"{results.unreadable:,} records could not be read; the last: {results.unreadable_why}")
    return results


def _live_slots(stack: LocalStack, version: str) -> int:
    """How many slots serve it. One that does not say so may be too busy to answer just now: it is asked again."""
    deadline = time.monotonic() + _SAYING_SECONDS
    while (live := stack.versions().count(version)) < stack.slots and time.monotonic() < deadline:
        stack.check()
        time.sleep(0.1)
    return live


def _moments(stack: LocalStack, folder: StateFolder, results: Results, end_ms: float) -> list[Moment]:
    versions = {r["metadata"]["name"]: r["spec"]["version"] for r in stack.model_versions.all()}
    return moments(read_events(folder.path), versions, results.made, end_ms)


def _wait(condition: Callable[[], bool], stack: LocalStack, what: str, timeout_seconds: float) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        stack.check()
        if time.monotonic() > deadline:
            problems = "; ".join(stack.problems())
            raise NotInTime(f"{what}: not within {timeout_seconds:g} s{': ' if problems else ''}{problems}")
        time.sleep(0.1)
