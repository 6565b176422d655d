"""Those who tell and are told: the notifier, started again when it ends, and the receivers of what it says."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.history import Arrived, Subscribed, Writer
from tests.chaos.notifier_saboteur import NOTIFIER_DEATHS, NOTIFIER_ORDER_VARIABLE
from tests.env.notifier import Answer, Notifier, NotifierWorld, Receiver

from rollcast_cli.local.processes import NotInTime, wait_until
from rollcast_common.errors import RollcastError
from rollcast_common.kafka import KafkaParams, TopicNames
from rollcast_notifier.outbox import Outbox

__all__ = ["Telling"]

_LOOK_EVERY_SECONDS = 0.2
_SECONDS = 120.0
_CALL_SECONDS = 10
_QUIET_SECONDS = 3.0
_WANTED = {"ann": tuple(f"key-{n}" for n in range(5)), "ben": tuple(f"key-{n}" for n in range(5, 10))}


class Telling:
    """One notifier and two receivers, each of whom wants to know of five keys."""

    def __init__(
        self, kafka: KafkaParams, names: TopicNames, folder: Path, *, sabotage: tuple[str, str] = ("die", "none")
    ) -> None:
        folder.mkdir()
        self.world = NotifierWorld(kafka, names, folder)
        self.receiver = Receiver()
        self.restarts: list[int] = []
        """The exit codes of those that another one took the place of."""
        self._module = ("-m", "tests.chaos.notifier_saboteur", *sabotage)
        self._order = folder / "die-at"
        self._lock = threading.RLock()
        self._notifier: Notifier | None = None
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="notifier-keeper", daemon=True)

    def start(self) -> "Telling":
        self.receiver.__enter__()
        self.world.write_rules(_rules(self.receiver.url))
        self._start()
        self._keeper.start()
        self.wait_ready()
        return self

    def _start(self) -> None:
        with self._lock:
            environ = {NOTIFIER_ORDER_VARIABLE: str(self._order)}
            self._notifier = self.world.start(module=self._module, environ=environ)

    def _keep(self) -> None:
        while not self._over.wait(_LOOK_EVERY_SECONDS):
            with self._lock:
                if self._notifier is not None and (code := self._notifier.child.returncode) is not None:
                    self.restarts.append(code)
                    self._start()

    @property
    def ended_unasked(self) -> list[int]:
        """Exit codes of those that were not killed."""
        return [code for code in self.restarts if code != -signal.SIGKILL]

    @property
    def pid(self) -> int | None:
        """Of the notifier that tells now; None while it is about to."""
        notifier = self._notifier
        return notifier.pid if notifier is not None and notifier.health().get("ready") else None

    def wait_ready(self) -> None:
        wait_until(lambda: self.pid is not None, what="the notifier is ready", timeout_seconds=_SECONDS)

    # Faults.

    def die_at(self, point: str) -> None:
        """It kills itself at this one of the deaths; returns when it has come there."""
        self.order_death(point)
        wait_until(lambda: not self._order.exists(), what=f"it dies {point}", timeout_seconds=_SECONDS)

    def order_death(self, point: str) -> None:
        assert point in NOTIFIER_DEATHS
        self._order.write_text(point, encoding="utf-8")

    @contextmanager
    def answering(self, answers: Sequence[Answer]) -> Iterator[None]:
        """The receivers take posts like this, over and over, until the block ends."""
        before = self.receiver.answer
        self.receiver.answer = lambda number: answers[number % len(answers)]
        try:
            yield
        finally:
            self.receiver.answer = before

    def wait_tried(self, count: int, *, since: int | None = None) -> None:
        """Until so many more posts have come than there were, or than `since`."""
        before = self.receiver.tries if since is None else since
        wait_until(lambda: self.receiver.tries >= before + count, what=f"{count} more posts", timeout_seconds=_SECONDS)

    # The end.

    def drain(self, predicted: Mapping[int, int], seconds: float = _SECONDS) -> None:
        """Until everything up to `predicted`, by partition, is read and what was to be told is told, or the time is
        over.
        """
        since = time.monotonic()

        def done() -> bool:
            """For long enough, for those with a bug that record something after they said that it is read."""
            nonlocal since
            if not self._is_told(predicted):
                since = time.monotonic()
            return time.monotonic() - since > _QUIET_SECONDS

        with contextlib.suppress(NotInTime):  # what never comes is the judge's to find
            wait_until(done, what="all is told", timeout_seconds=seconds)

    def _is_told(self, predicted: Mapping[int, int]) -> bool:
        """As the outbox says. The lag that a notifier shows is of a moment ago, and none while it reads nothing."""
        try:
            outbox = Outbox(self.world.outbox, sending=False)
        except RollcastError:  # it is about to be made
            return False
        try:
            places, counts = outbox.places(self.world.names.full("app_messages")), outbox.counts()
        except RollcastError:
            return False
        finally:
            outbox.close()
        is_read = all(places.get(partition, 0) >= offset for partition, offset in predicted.items())
        is_open = any(count for (_, state), count in counts.items() if state in ("queued", "sending"))
        return is_read and not is_open and self.receiver.done == self.receiver.tries

    def stop(self, history: Path) -> None:
        """End it, and write down who was told what."""
        self._over.set()
        if self._keeper.ident is not None:
            self._keeper.join()
        self.world.stop()
        self.receiver.__exit__()
        writer = Writer(history)
        writer.write(Subscribed(receiver=name, keys=keys) for name, keys in _WANTED.items())
        writer.write(
            Arrived(
                id=arrival.prediction_id.rpartition(":")[2],
                receiver=arrival.receiver,
                answered=arrival.answered,
                time=arrival.time,
            )
            for arrival in self.receiver.arrivals
        )
        writer.close()

    def kill(self) -> None:
        """Whatever state it is in."""
        self._over.set()
        if self._notifier is not None:
            self._notifier.child.kill()


def _rules(url: str) -> str:
    channels = f"channels:\n  hook: {{type: webhook, url: '{url}', timeout_seconds: {_CALL_SECONDS}}}\n"
    subscriptions = [
        f"  - name: {name}\n    when: \"key IN ({', '.join(map(repr, keys))})\"\n    to: ['hook:{name}']\n"
        for name, keys in _WANTED.items()
    ]
    return f"{channels}subscriptions:\n{''.join(subscriptions)}"
