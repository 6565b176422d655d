"""`python -m tests.chaos.notifier_saboteur PROVOCATION BUG run …`: the real notifier, with a bug planted into it.

With provocation `die` the process kills itself at that step which is written into its order file, as often as one is
written; with `quiet` nothing is provoked. Its log says where it died.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer

from rollcast_common.contracts import Prediction
from rollcast_notifier.delivery import Dispatcher
from rollcast_notifier.notification import Notification, notification_id
from rollcast_notifier.outbox import Outbox, Outcome, Queued
from rollcast_notifier.receipts import ReceiptPublisher
from rollcast_notifier.rules.rule_book import RuleBook
from rollcast_notifier.stream import Stream

__all__ = ["NOTIFIER_BUGS", "NOTIFIER_DEATHS", "NOTIFIER_ORDER_VARIABLE"]

NOTIFIER_ORDER_VARIABLE = "ROLLCAST_TEST_NOTIFIER_DIES_AT"
"""Names the file into which somebody writes at which of the deaths the notifier that comes there is to die."""

NOTIFIER_DEATHS = (
    "after-consume",
    "while-recording",
    "after-record",
    "after-commit",
    "before-send",
    "while-sending",
    "after-send",
    "after-settle",
    "while-publishing",
    "after-publish",
)

Patch = Callable[[], None]
Places = Mapping[tuple[str, int], int]
# What is patched is found by its name: a method that is renamed must end the saboteur, not disarm it.
_take = Stream._take
_record = Outbox.record
_insert = Outbox._insert
_commit = Stream._commit
_send = Dispatcher._send
_settle = Outbox.settle
_publish = ReceiptPublisher._publish
_published = Outbox.published
_select = RuleBook.select
_places = Outbox.places


def _nothing() -> None: ...


def _die_here(point: str) -> None:
    """Once for each order: it is torn up before it is obeyed, or the next notifier would die of it, too."""
    order = Path(os.environ[NOTIFIER_ORDER_VARIABLE])
    try:
        if order.read_text(encoding="utf-8") != point:
            return
        order.unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)  # a signal may take its time; nothing more is to happen


def _die_where_told() -> None:
    _die_in_stream()
    _die_in_delivery()


def _die_in_stream() -> None:
    def take(self: Stream, consumer: Consumer, messages: list[Any]) -> None:
        _die_here("after-consume")
        _take(self, consumer, messages)

    def insert(self: Outbox, *arguments: Any) -> None:
        _insert(self, *arguments)
        if arguments[-1]:  # something new, in a transaction that nobody will end
            _die_here("while-recording")

    def record(self: Outbox, *arguments: Any, **options: Any) -> int:
        new = _record(self, *arguments, **options)
        if new:
            _die_here("after-record")
        return new

    def commit(self: Stream, *arguments: Any) -> None:
        _commit(self, *arguments)
        _die_here("after-commit")

    Stream._take = take  # type: ignore[method-assign]  # what a saboteur does
    Outbox._insert = insert  # type: ignore[assignment, method-assign]  # the same
    Outbox.record = record  # type: ignore[method-assign]  # the same
    Stream._commit = commit  # type: ignore[assignment, method-assign]  # the same


def _die_in_delivery() -> None:
    def send(self: Dispatcher, queued: Queued) -> Outcome:
        _die_here("before-send")
        if _is_ordered("while-sending"):
            # About when the post is on its way, or has arrived, or is answered.
            threading.Timer(0.002, _die_here, args=("while-sending",)).start()
        outcome = _send(self, queued)
        if outcome.state == "sent":
            _die_here("after-send")
        return outcome

    def settle(self: Outbox, outcome: Outcome | None, begin: Queued | None = None) -> bool:
        begun = _settle(self, outcome, begin)
        if outcome is not None:
            _die_here("after-settle")
        return begun

    def publish(self: ReceiptPublisher, transitions: list[Any]) -> bool:
        if _is_ordered("while-publishing"):
            for transition in transitions[: len(transitions) // 2 + 1]:
                self._produce(self._all, transition.receipt)
            self._producer.flush(10)
            _die_here("while-publishing")
        done = _publish(self, transitions)
        _die_here("after-publish")
        return done

    Dispatcher._send = send  # type: ignore[method-assign]  # what a saboteur does
    Outbox.settle = settle  # type: ignore[method-assign]  # the same
    ReceiptPublisher._publish = publish  # type: ignore[method-assign]  # the same


def _is_ordered(point: str) -> bool:
    try:
        return Path(os.environ[NOTIFIER_ORDER_VARIABLE]).read_text(encoding="utf-8") == point
    except FileNotFoundError:
        return False


# Bugs.


def _committed_before_recorded() -> None:
    """The places first, and what was selected a moment later: a death in between loses it."""

    def record(self: Outbox, notifications: Iterable[Notification], places: Places | None = None) -> int:
        chosen = list(notifications)
        if places:
            _record(self, [], places)
            _die_here("after-record")
        return _record(self, chosen)

    Outbox.record = record  # type: ignore[method-assign]  # what a saboteur does


def _place_too_far() -> None:
    def record(self: Outbox, notifications: Iterable[Notification], places: Places | None = None) -> int:
        return _record(self, list(notifications)[:-1] if places else notifications, places)

    Outbox.record = record  # type: ignore[method-assign]  # what a saboteur does


def _all_are_told() -> None:
    def matching(self: RuleBook, facts: Sequence[Any]) -> list[list[int]]:
        return [list(range(len(self._subscriptions))) for _ in facts]

    RuleBook._matching = matching  # type: ignore[method-assign]  # what a saboteur does


def _new_id_each_time() -> None:
    """What is read again is told again."""

    def select(self: RuleBook, predictions: Sequence[Prediction], created: Sequence[int]) -> list[Notification]:
        return [
            replace(n, id=notification_id(n.prediction_id, f"{n.subscription}{os.getpid()}", n.receiver))
            for n in _select(self, predictions, created)
        ]

    RuleBook.select = select  # type: ignore[method-assign]  # what a saboteur does


def _place_forgotten() -> None:
    """Each start reads a little again, as if the outbox did not know where it was; alone that harms nobody."""

    def places(self: Outbox, topic: str) -> dict[int, int]:
        return {partition: max(0, offset - 50) for partition, offset in _places(self, topic).items()}

    Outbox.places = places  # type: ignore[method-assign]  # what a saboteur does


def _read_again_and_told_again() -> None:
    _place_forgotten()
    _new_id_each_time()


def _sent_before_called() -> None:
    """The file says sent, and then the channel is called: a failure, or a death in between, loses it."""

    def send(self: Dispatcher, queued: Queued) -> Outcome:
        _settle(self._outbox, Outcome(queued, "sent"))
        return _send(self, queued)

    Dispatcher._send = send  # type: ignore[method-assign]  # what a saboteur does


def _sent_is_forgotten() -> None:
    """Every tenth is sent again."""
    calls = 0

    def settle(self: Outbox, outcome: Outcome | None, begin: Queued | None = None) -> bool:
        nonlocal calls
        if outcome is not None and outcome.state == "sent":
            calls += 1
            if calls % 10 == 0:
                outcome = replace(outcome, state="queued")
        return _settle(self, outcome, begin)

    Outbox.settle = settle  # type: ignore[method-assign]  # what a saboteur does


NOTIFIER_BUGS: Mapping[str, Patch] = {
    "none": _nothing,
    "committed-before-recorded": _committed_before_recorded,
    "place-too-far": _place_too_far,
    "all-are-told": _all_are_told,
    "place-forgotten": _place_forgotten,
    "read-and-told-again": _read_again_and_told_again,
    "sent-before-called": _sent_before_called,
    "sent-is-forgotten": _sent_is_forgotten,
}


def main(provocation: str, bug: str, *command: str) -> None:
    {"quiet": _nothing, "die": _die_where_told}[provocation]()
    NOTIFIER_BUGS[bug]()
    # Only now: it takes what was patched by name.
    from rollcast_notifier.__main__ import app

    app(list(command))


if __name__ == "__main__":
    main(*sys.argv[1:])
