"""The dispatcher: what a channel says decides what becomes of a notification, and of those behind it."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry
from tests.env.outboxes import ANN, ScriptedChannel, made

from rollcast_notifier.channels.channel import OutcomeUnknown, Refused, Sent, Throttled, Unavailable
from rollcast_notifier.delivery import Dispatcher, Patience
from rollcast_notifier.metrics import NotifierMetrics
from rollcast_notifier.notification import Notification, OnUnknown, Receiver
from rollcast_notifier.outbox import Outbox, now_ms

BEN = Receiver("hook", "ben")
QUICK = Patience(first_seconds=0.001, most_seconds=0.01, attempts=3)
_SECONDS = 30.0


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    outbox = Outbox(tmp_path / "outbox.db")
    yield outbox
    outbox.close()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def channel() -> ScriptedChannel:
    return ScriptedChannel()


@pytest.fixture
def dispatcher(outbox: Outbox, channel: ScriptedChannel, registry: CollectorRegistry) -> Dispatcher:
    return Dispatcher(channel, outbox, NotifierMetrics(registry), patience=QUICK)


def state(outbox: Outbox, notification: Notification) -> str:
    (found,) = [state for n, state, _ in outbox.states(receiver=notification.receiver) if n.id == notification.id]
    return found


def last_reason(outbox: Outbox) -> str | None:
    return outbox.transitions(1000)[-1].receipt.reason


def until(condition: Callable[[], object], dispatcher: Dispatcher | None = None) -> None:
    """Steps the dispatcher, where it has no thread of its own."""
    deadline = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < deadline
        if dispatcher is None or not dispatcher.step():
            time.sleep(0.001)


def test_what_is_recorded_is_sent_in_order_and_once(
    outbox: Outbox, channel: ScriptedChannel, dispatcher: Dispatcher, registry: CollectorRegistry
) -> None:
    outbox.record([made(n) for n in range(5)])
    until(lambda: not outbox.open_counts().get("hook"), dispatcher)
    assert channel.texts == [f"number {n}" for n in range(5)]
    assert registry.get_sample_value("rollcast_notifier_send_seconds_count", {"channel": "hook"}) == 5
    assert registry.get_sample_value("rollcast_notifier_delivery_seconds_count", {"channel": "hook"}) == 5


def test_the_file_says_sending_before_the_channel_is_called(outbox: Outbox, dispatcher: Dispatcher) -> None:
    seen: list[str] = []

    class Looking(ScriptedChannel):
        def send(self, notification: Notification) -> Sent:
            seen.append(state(outbox, notification))
            return Sent()

    outbox.record([made(1), made(2)])
    looking = Dispatcher(Looking(), outbox, NotifierMetrics(CollectorRegistry()))
    looking.step()
    assert seen == ["sending", "sending"]
    assert outbox.counts() == {("hook", "sent"): 2}
    assert not dispatcher.step()


@pytest.mark.parametrize("failure", [Unavailable("away"), OutcomeUnknown("broke off")])
def test_a_failure_that_may_pass_is_tried_again_and_those_behind_it_wait(
    outbox: Outbox, channel: ScriptedChannel, dispatcher: Dispatcher, failure: Exception, registry: CollectorRegistry
) -> None:
    channel.failures.extend([failure, failure])  # type: ignore[list-item]  # both are SendFailed
    outbox.record([made(1), made(2)])
    until(lambda: len(channel.arrived) == 2, dispatcher)
    assert [n.text for n in channel.tried] == ["number 1", "number 1", "number 1", "number 2"]
    assert channel.texts == ["number 1", "number 2"]
    assert registry.get_sample_value("rollcast_notifier_retries_total", {"channel": "hook"}) == 2


def test_one_receivers_trouble_is_nobody_elses(
    outbox: Outbox, channel: ScriptedChannel, dispatcher: Dispatcher
) -> None:
    channel.rule = lambda n: Unavailable("not for ann") if n.receiver == ANN else None
    outbox.record([made(n, ANN if n % 2 else BEN) for n in range(20)])
    until(lambda: len(channel.arrived) == 10, dispatcher)
    assert {n.receiver for n in channel.arrived} == {BEN}


def test_what_is_refused_has_failed_and_the_next_one_goes(
    outbox: Outbox, channel: ScriptedChannel, dispatcher: Dispatcher
) -> None:
    channel.failures.append(Refused("no such user"))
    outbox.record([made(1), made(2)])
    until(lambda: len(channel.tried) == 2, dispatcher)
    assert state(outbox, made(1)) == "failed"
    assert state(outbox, made(2)) == "sent"
    (failed,) = [t.receipt for t in outbox.transitions(100) if t.receipt.state == "failed"]
    assert (failed.reason, failed.text, failed.attempts) == ("no such user", "number 1", 1)


def test_who_wants_fewer_is_left_alone_for_as_long_as_it_says(
    outbox: Outbox, channel: ScriptedChannel, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("rollcast_notifier.delivery.time", SimpleNamespace(monotonic=lambda: now[0]))
    channel.failures.append(Throttled("slow down", 0.3))
    outbox.record([made(1), made(2, BEN)])
    dispatcher.step()
    assert len(channel.tried) == 1, "the whole channel waits"
    now[0] += 0.299
    dispatcher.step()
    assert len(channel.tried) == 1, "it still does"
    now[0] += 0.002
    until(lambda: len(channel.arrived) == 2, dispatcher)
    assert {receipt.receipt.attempts for receipt in outbox.transitions(100)} == {0, 1}, "waiting is no attempt"


def test_an_unknown_outcome_is_held_where_twice_is_worse_than_not_at_all(
    outbox: Outbox, channel: ScriptedChannel, dispatcher: Dispatcher, registry: CollectorRegistry
) -> None:
    channel.failures.append(OutcomeUnknown("broke off"))
    outbox.record([made(1, on_unknown=OnUnknown.HOLD), made(2)])
    until(lambda: len(channel.arrived) == 1, dispatcher)
    assert state(outbox, made(1, on_unknown=OnUnknown.HOLD)) == "held"
    assert channel.texts == ["number 2"]
    assert registry.get_sample_value("rollcast_notifier_unknown_outcomes_total", {"channel": "hook"}) == 1
    ((number, *_),) = outbox.held()
    outbox.release([number], resend=True)
    until(lambda: len(channel.arrived) == 2, dispatcher)
    assert channel.texts == ["number 2", "number 1"]


def test_a_bug_in_a_channel_is_an_unknown_outcome_and_ends_nothing(
    outbox: Outbox, channel: ScriptedChannel, dispatcher: Dispatcher
) -> None:
    channel.failures.append(ZeroDivisionError())  # type: ignore[arg-type]  # what no channel should raise
    outbox.record([made(1, on_unknown=OnUnknown.HOLD), made(2)])
    until(lambda: len(channel.arrived) == 1, dispatcher)
    assert last_reason(outbox) is None
    ((_, _, why, _),) = outbox.held()
    assert why is not None
    assert "ZeroDivisionError" in why


def test_what_is_too_late_is_not_sent(outbox: Outbox, channel: ScriptedChannel, dispatcher: Dispatcher) -> None:
    outbox.record([made(1, expires=now_ms() - 1), made(2, expires=now_ms() + 60_000)])
    until(lambda: len(channel.arrived) == 1, dispatcher)
    assert channel.texts == ["number 2"]
    assert state(outbox, made(1)) == "expired"


def test_what_always_fails_while_others_arrive_is_given_up(
    outbox: Outbox, channel: ScriptedChannel, dispatcher: Dispatcher
) -> None:
    channel.rule = lambda n: Unavailable("a poisonous text") if n.text == "number 0" else None
    outbox.record([made(0), made(1)])
    numbers = iter(range(2, 1000))

    def more() -> bool:
        outbox.record([made(next(numbers), BEN)])
        return state(outbox, made(1)) == "sent"

    until(more, dispatcher)
    assert state(outbox, made(0)) == "failed"
    (failed,) = [t.receipt for t in outbox.transitions(1000) if t.receipt.state == "failed"]
    assert failed.reason == f"given up after {failed.attempts} attempts: a poisonous text"
    assert failed.attempts >= QUICK.attempts


def test_while_a_channel_is_away_for_all_nothing_is_given_up_and_one_at_a_time_is_tried(
    outbox: Outbox, channel: ScriptedChannel, dispatcher: Dispatcher
) -> None:
    channel.rule = lambda _: Unavailable("away")
    outbox.record([made(n, Receiver("hook", f"r{n}")) for n in range(50)])
    until(lambda: len(channel.tried) >= 150, dispatcher)
    assert outbox.open_counts() == {"hook": 50}
    channel.tried.clear()
    dispatcher.step()
    dispatcher.step()
    assert len(channel.tried) <= 2
    channel.rule = lambda _: None
    until(lambda: len(channel.arrived) == 50, dispatcher)
    assert dispatcher.problem is None


def test_a_full_disk_stops_sending_and_what_came_of_the_last_call_is_kept(
    outbox: Outbox, channel: ScriptedChannel, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollcast_notifier.delivery._PROBLEM_SECONDS", 0.01)
    outbox.record([made(1), made(2)])

    def fill(_: Notification) -> None:
        """During the first call: from then on the file takes nothing, as on a full disk."""
        outbox._db.execute("PRAGMA query_only = ON")

    channel.rule = fill
    thread = threading.Thread(target=lambda: until(lambda: len(channel.arrived) == 2, dispatcher))
    thread.start()
    try:
        until(lambda: dispatcher.problem is not None)
        assert channel.texts == ["number 1"]
        assert dispatcher.problem is not None
        assert "cannot be written" in dispatcher.problem
    finally:
        channel.rule = lambda _: None
        outbox._db.execute("PRAGMA query_only = OFF")
        thread.join(_SECONDS)
    assert channel.texts == ["number 1", "number 2"]
    assert outbox.counts() == {("hook", "sent"): 2}


def test_a_disk_that_was_full_is_no_problem_any_more_when_there_is_room_and_nothing_to_send(
    outbox: Outbox, channel: ScriptedChannel, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollcast_notifier.delivery._PROBLEM_SECONDS", 0.01)
    outbox.record([made(1)])

    def fill(_: Notification) -> None:
        """During the only call, as above."""
        outbox._db.execute("PRAGMA query_only = ON")

    channel.rule = fill
    thread = threading.Thread(target=dispatcher.step)
    thread.start()
    try:
        until(lambda: dispatcher.problem is not None)
    finally:
        outbox._db.execute("PRAGMA query_only = OFF")
        thread.join(_SECONDS)
    assert outbox.counts() == {("hook", "sent"): 1}
    assert dispatcher.problem is None


def test_when_told_to_end_it_finishes_the_call_that_is_under_way_and_begins_no_other(
    outbox: Outbox, channel: ScriptedChannel, dispatcher: Dispatcher
) -> None:
    under_way, go_on = threading.Event(), threading.Event()

    def wait(_: Notification) -> None:
        under_way.set()
        go_on.wait(_SECONDS)

    channel.rule = wait
    outbox.record([made(1), made(2)])
    dispatcher.start()
    assert under_way.wait(_SECONDS)
    assert not dispatcher.stop(time.monotonic() + 0.05)
    go_on.set()
    assert dispatcher.stop(time.monotonic() + _SECONDS)
    assert outbox.counts() == {("hook", "sent"): 1, ("hook", "queued"): 1}


def test_a_call_that_never_ends_holds_up_no_other_channel(
    outbox: Outbox, dispatcher: Dispatcher, channel: ScriptedChannel
) -> None:
    go_on = threading.Event()

    class Hanging(ScriptedChannel):
        def send(self, _: Notification) -> Sent:
            go_on.wait(_SECONDS)
            return Sent()

    hanging = Dispatcher(Hanging("slow"), outbox, NotifierMetrics(CollectorRegistry()))
    outbox.record([*(made(n, Receiver("slow", "x")) for n in range(3)), *(made(n) for n in range(3))])
    hanging.start()
    dispatcher.start()
    until(lambda: len(channel.arrived) == 3)
    assert outbox.record([made(100)]) == 1, "the stream is not held up"
    go_on.set()
    assert hanging.stop(time.monotonic() + _SECONDS)
    assert dispatcher.stop(time.monotonic() + _SECONDS)


def test_it_is_woken_by_what_is_new(
    outbox: Outbox, channel: ScriptedChannel, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By itself it would look again long after this test has given up.
    monkeypatch.setattr("rollcast_notifier.delivery._LOOK_EVERY_SECONDS", 100 * _SECONDS)
    dispatcher.start()
    for number in range(5):
        outbox.record([made(number)])
        dispatcher.soon()
        until(lambda count=number + 1: len(channel.arrived) == count)  # type: ignore[misc]  # mypy knows no such lambda
    assert dispatcher.stop(time.monotonic() + _SECONDS)


def test_waiting_doubles_up_to_its_limit_and_is_never_the_same_for_all() -> None:
    patience = Patience(first_seconds=1, most_seconds=8)
    for failures, seconds in enumerate([1, 2, 4, 8, 8, 8]):
        waits = {patience.wait_ms(failures) for _ in range(50)}
        assert min(waits) >= seconds * 750
        assert max(waits) <= seconds * 1250
        assert len(waits) > 5
    assert patience.wait_ms(10_000) <= 10_000
