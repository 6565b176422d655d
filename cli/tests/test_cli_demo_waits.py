"""What the demo waits for before it counts: its own requests' answers, and slots that are slow to answer."""

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import pytest
from rich.console import Console

from rollcast_cli import demo
from rollcast_cli.console import Steps
from rollcast_cli.local.stack import _lines
from rollcast_cli.results import ResultReader, Results
from rollcast_common.kafka import KafkaBrokerParams, KafkaParams

if TYPE_CHECKING:
    from rollcast_cli.local.stack import LocalStack


class _Reader(ResultReader):
    """Reads nothing: a test says what was answered."""

    def __init__(self) -> None:
        super().__init__(KafkaParams(broker=KafkaBrokerParams(servers="127.0.0.1:1")))

    def answer(self, request_id: str) -> None:
        self._results.add_prediction(request_id, "wine", "v1", latency_ms=1.0, now=0.0)

    def finish(self) -> Results:
        return self._results


class _Stack:
    """Does what a test says whenever it is looked after."""

    slots = 2

    def __init__(self, does: Callable[[], None] = lambda: None, versions: list[list[str | None]] | None = None) -> None:
        self.check = does
        self._versions = iter(versions or [])

    def versions(self) -> list[str | None]:
        return next(self._versions)


def steps() -> Steps:
    return Steps(Console(quiet=True))


def test_an_answer_to_somebody_else_does_not_stand_in_for_the_streams_last_one() -> None:
    reader = _Reader()
    for request_id in ("run-0", "ask-1"):
        reader.answer(request_id)
    stack = cast("LocalStack", _Stack(lambda: reader.answer("run-1")))
    results = demo._answered(reader, stack, frozenset({"run-0", "run-1"}), steps())
    assert results.seen["run-1"] > 0


def test_what_is_never_answered_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_ANSWERED_SECONDS", 0.1)
    results = demo._answered(_Reader(), cast("LocalStack", _Stack()), frozenset({"run-0"}), steps())
    assert not results.seen


@pytest.mark.parametrize(
    ("text", "over", "lines"),
    [
        ("", False, []),
        ('{"event": "tr', False, []),
        ('{"a": 1}\n', False, ['{"a": 1}']),
        ('{"a": 1}\n{"event": "tr', False, ['{"a": 1}']),
        ("Traceback\nKilled", True, ["Traceback", "Killed"]),
    ],
)
def test_half_a_line_of_the_trainers_log_is_left_for_the_next_look(text: str, *, over: bool, lines: list[str]) -> None:
    assert _lines(text, over=over) == lines


def test_a_slot_that_does_not_answer_once_is_asked_again() -> None:
    stack = _Stack(versions=[["v2", None], [None, "v2"], ["v2", "v2"]])
    assert demo._live_slots(cast("LocalStack", stack), "v2") == 2


def test_a_slot_that_serves_another_version_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_SAYING_SECONDS", 0.0)
    stack = _Stack(versions=[["v2", "v1"]])
    assert demo._live_slots(cast("LocalStack", stack), "v2") == 1
