"""Every model is reconciled when it is woken, by one thread at a time, and again when it fails."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rollcast_cli.local.processes import wait_until
from rollcast_control.manager import Clock, Manager
from rollcast_control.shell import ShellUnavailable

SECONDS = 60.0


class Turns:
    """Controllers that do what a test tells them, and remember each turn."""

    def __init__(self) -> None:
        self.turns: list[str] = []
        self.does: Callable[[str], float | None] = lambda _: None
        self.failed: list[str] = []

    def make(self, identity: str) -> Any:
        turns = self

        class Controller:
            def reconcile(self) -> float | None:
                turns.turns.append(identity)
                return turns.does(identity)

        return Controller()


@pytest.fixture
def turns() -> Turns:
    return Turns()


@pytest.fixture
def manager(turns: Turns, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    """On a machine that pauses nobody has a turn merely because it was long ago."""
    monkeypatch.setattr("rollcast_control.manager._NET_SECONDS", 3600.0)
    with Manager(turns.make, threads=3, on_failed=turns.failed.append) as manager:
        yield manager
        assert manager.failure is None


def wait_for(condition: Callable[[], Any], what: str) -> None:
    wait_until(condition, what=what, timeout_seconds=SECONDS)


def test_whoever_is_woken_has_a_turn(manager: Manager, turns: Turns) -> None:
    manager.wake("i/n/a")
    manager.wake("i/n/b")
    wait_for(lambda: sorted(turns.turns) == ["i/n/a", "i/n/b"], "a turn each")
    assert sorted(manager.models()) == ["i/n/a", "i/n/b"]


def test_a_model_that_is_woken_during_its_turn_has_another_one_and_never_two_at_once(
    manager: Manager, turns: Turns
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    at_once: list[int] = []
    inside = 0

    def does(_: str) -> None:
        nonlocal inside
        inside += 1
        at_once.append(inside)
        begun.set()
        assert go_on.wait(SECONDS)
        inside -= 1

    turns.does = does
    manager.wake("i/n/a")
    assert begun.wait(SECONDS)
    for _ in range(5):
        manager.wake("i/n/a")
    go_on.set()
    wait_for(lambda: len(turns.turns) >= 2, "another turn")
    assert set(at_once) == {1}


def test_a_turn_may_ask_for_another_one_later(manager: Manager, turns: Turns) -> None:
    turns.does = lambda _: 0.01 if len(turns.turns) < 4 else None
    manager.wake("i/n/a")
    wait_for(lambda: len(turns.turns) == 4, "four turns")


@pytest.mark.parametrize(
    ("error", "why"), [(ShellUnavailable("the API server is away"), "api"), (ZeroDivisionError(), "bug")]
)
def test_a_turn_that_fails_is_told_taken_again_and_holds_up_nobody(
    manager: Manager, turns: Turns, error: Exception, why: str
) -> None:
    def does(identity: str) -> None:
        if identity == "i/n/a" and turns.turns.count("i/n/a") < 3:
            raise error

    turns.does = does
    manager.wake("i/n/a")
    manager.wake("i/n/b")
    wait_for(lambda: turns.turns.count("i/n/a") == 3, "three turns")
    wait_for(lambda: turns.turns.count("i/n/b") == 1, "the other one's turn")
    assert turns.failed == [why, why]


def test_a_forgotten_model_has_no_turn(manager: Manager, turns: Turns) -> None:
    turns.does = lambda _: 0.05
    manager.wake("i/n/a")
    wait_for(lambda: len(turns.turns) >= 2, "turns")
    manager.forget("i/n/a")
    assert manager.models() == []
    manager.wake("i/n/b")
    wait_for(lambda: turns.turns.count("i/n/b") >= 2, "others go on")


def test_a_bug_in_making_a_controller_is_its_callers() -> None:
    def make(_: str) -> Any:
        raise ZeroDivisionError

    with Manager(make) as manager, pytest.raises(ZeroDivisionError):
        manager.wake("i/n/a")


def test_the_clock_never_runs_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    before = clock()
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert clock() >= before
