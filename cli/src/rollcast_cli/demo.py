"""The main job from beginning to end, before your eyes: train, publish, stream, roll a good and a bad model, count."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml
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
from rollcast_cli.results import ResultReader, Results
from rollcast_cli.rolling.folder_shell import read_events
from rollcast_cli.rolling.timeline import Moment, last_made_ms, moments
from rollcast_common.artifacts import ArtifactStore
from rollcast_common.config import load_yaml
from rollcast_common.models.card import card_key
from rollcast_control.bridge import name_for
from rollcast_rollout.record import decode_record
from rollcast_rollout.schema import API_VERSION, KIND

__all__ = ["DemoOptions", "run_demo"]

_READY_SECONDS = 90.0
_LIVE_SECONDS = 120.0
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


# Short enough to be watched; the defaults take two and a half minutes.
_ROLLOUT = {
    "shadow": {"forSeconds": 2},
    "steps": [
        {"weight": 5, "forSeconds": 2, "minPredictions": 20},
        {"weight": 25, "forSeconds": 2, "minPredictions": 50},
        {"weight": 50, "forSeconds": 2, "minPredictions": 100},
    ],
    # Both versions share two cores with everything else of this demo.
    "abort": {"costRatioAbove": 8},
}
_BAD_ROLLOUT = {
    "shadow": {"forSeconds": 0},
    "steps": [{"weight": 25, "forSeconds": 60, "minPredictions": 2000}],
    "abort": {"costRatioAbove": 8},
}
_BAD_ESTIMATOR = {"regression": "HistGradientBoostingRegressor", "classification": "HistGradientBoostingClassifier"}


@dataclass(frozen=True, slots=True)
class _Outcome:
    first: str
    second: str
    bad: str
    live_slots: int
    rollout_seconds: float
    """From the announcement to the last slot."""
    reason: str
    """Why the bad one went back."""
    rollback_ms: float
    """From the verdict to its last output."""
    moments: list[Moment]
    reckoning: Reckoning


def run_demo(example: Example, options: DemoOptions, folder: StateFolder, console: Console) -> bool:
    """Run it and print a report. True when nothing was lost or doubled and every planted record came back.

    On a terminal it streams on after the swap until Ctrl-C; otherwise it ends by itself.
    """
    steps = Steps(console)
    steps.say(example.why)
    choice = choose_broker(options.broker, progress=steps.say)
    steps.say(choice.reason)
    stack_options = StackOptions(example.model, options.slots, rollout=_ROLLOUT)
    with LocalStack(folder, choice, stack_options, steps.say) as stack:
        rows = stack.request_rows(example.config, example.data)
        first = stack.train(example.config, example.data)
        steps.say(f"announced {example.model}@{first} on topic train; waiting for the slots to load it")
        stack.wait_for_phase(first, "Live", timeout_seconds=_LIVE_SECONDS)
        with ResultReader(stack.stack.kafka_params()) as reader:
            journal = stack.start_source(rows, rate=options.rate, bad_every=options.bad_every)
            steps.say(f"streaming {options.rate:g} requests a second, every {options.bad_every}th one bad on purpose")
            with _Screen(reader, steps, console) as screen:
                _wait(lambda: reader.answered() > 0, stack, "a first answer", _READY_SECONDS)
                screen.watch(options.before_seconds, stack)

                def show() -> None:
                    screen.show(stack)

                steps.say("training again, under traffic; the rollout: shadow, 5 %, 25 %, 50 %, live")
                second = stack.train(_more_trees(example, folder), example.data, meanwhile=show)
                announced = stack.announced_at
                stack.wait_for_phase(second, "Live", timeout_seconds=_LIVE_SECONDS, meanwhile=show)
                rollout_seconds = time.monotonic() - announced
                steps.say(f"{second} is live, {rollout_seconds:.1f} s after its announcement")
                bad = _apply_bad(stack, example, folder, steps, show)
                failure = stack.wait_for_phase(bad, "RolledBack", timeout_seconds=_LIVE_SECONDS, meanwhile=show)
                steps.say(f"{bad} was rolled back: {failure['lastFailure']['message']}")
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
        last_ms = last_made_ms(results.made, bad)
        verdict_ms = _verdict_seconds(stack, folder, example.model, bad) * 1000
        outcome = _Outcome(
            first,
            second,
            bad,
            sum(version == second for version in stack.versions()),
            rollout_seconds,
            failure["lastFailure"]["reason"],
            max(0.0, (last_ms or verdict_ms) - verdict_ms),
            _moments(stack, folder, results, time.time() * 1000),
            reckon(accepted, results),
        )
    console.print(_timeline(outcome))
    console.print(_report(outcome, options, f"demo of {example.model}, {steps.seconds:.0f} s"))
    good = outcome.reckoning.clean and outcome.live_slots == options.slots
    console.print("[green]as promised[/green]" if good else "[red]NOT as promised[/red]")
    return good


def _more_trees(example: Example, folder: StateFolder) -> Path:
    """The example's training file, its estimator a little larger: the usual next version."""

    def grown(_: str, estimator: dict[str, Any]) -> dict[str, Any]:
        params = dict(estimator.get("params") or {})
        return {**estimator, "params": {**params, "max_iter": int(params.get("max_iter", 100)) + 10}}

    return _changed(example, folder, "second", grown)


def _changed(
    example: Example, folder: StateFolder, name: str, change: Callable[[str, dict[str, Any]], dict[str, Any]]
) -> Path:
    config = load_yaml(example.config)
    config["estimator"] = change(config["task"], config["estimator"])
    path = folder.path / f"{name}-train.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def _apply_bad(
    stack: LocalStack, example: Example, folder: StateFolder, steps: Steps, meanwhile: Callable[[], None]
) -> str:
    """A model that has learnt nothing, uploaded by hand, and a ModelVersion that somebody wrote for it."""
    path = _changed(
        example,
        folder,
        "bad",
        lambda task, _: {"type": _BAD_ESTIMATOR[task], "params": {"learning_rate": 1e-9, "max_iter": 1}},
    )
    steps.say("training a model that learns nothing, and applying it by hand: 25 % of the keys at once")
    output = folder.path / "bad"
    version = stack.train(path, example.data, output=output, meanwhile=meanwhile)
    store = ArtifactStore(stack.stack.s3_params())
    ref = store.put_once(f"by-hand/{version}.skops", output / f"{version}.skops")
    store.put_once(card_key(ref.key), output / f"{version}.card.json")
    stack.model_versions.apply(
        {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": name_for(example.model, version)},
            "spec": {
                "model": example.model,
                "version": version,
                "artifact": {"uri": ref.uri},
                "serving": {"replicas": stack.slots},
                "rollout": _BAD_ROLLOUT,
            },
        }
    )
    return version


def _verdict_seconds(stack: LocalStack, folder: StateFolder, model: str, version: str) -> float:
    """When the controller decided, by its own record, in seconds since the epoch."""
    record = decode_record((folder.path / "records" / f"{model}.json").read_bytes())
    for resource in stack.model_versions.all():
        entry = record.entries.get(resource["metadata"]["uid"])
        if resource["spec"]["version"] == version and entry is not None and entry.failure is not None:
            return entry.failure.time
    return 0.0


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


def _timeline(outcome: _Outcome) -> Table:
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


def _report(outcome: _Outcome, options: DemoOptions, title: str) -> Table:
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
        ("rolled out under traffic", f"{outcome.second} ({outcome.live_slots} of {options.slots} slots)"),
        ("  announced to live", f"{outcome.rollout_seconds:.1f} s"),
        ("rolled back under traffic", f"{outcome.bad} ({outcome.reason})"),
        ("  verdict to its last output", f"{outcome.rollback_ms:.0f} ms"),
        ("lost", f"{count.lost:,}"),
        ("doubled", f"{count.doubled:,}"),
    ):
        table.add_row(name, value)
    return table
