"""One channel's dispatcher: takes what is due from the outbox, calls the channel, writes down what came of it.

Nothing is called before the file says `sending`. What came of one and that the next one begins is one transaction, so
a death leaves at most one notification of each channel of which nobody knows.
"""

import contextlib
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from rollcast_common.errors import RollcastError
from rollcast_notifier.channels.channel import Channel, OutcomeUnknown, Refused, Sent, Throttled, Unavailable
from rollcast_notifier.metrics import NotifierMetrics
from rollcast_notifier.notification import OnUnknown
from rollcast_notifier.outbox import Outbox, OutboxProblem, Outcome, Queued, now_ms

__all__ = ["Dispatcher", "Patience"]

_log = structlog.get_logger()

_BATCH = 100
_LOOK_EVERY_SECONDS = 1.0
"""Without being woken: what a person released in another process is found in this time."""

_PROBLEM_SECONDS = 1.0
_SAY_EVERY_SECONDS = 30.0
_ALL_DOWN_AFTER = 3
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Patience:
    """How failures are waited out. Waiting doubles from `first_seconds` to `most_seconds`, each time ± a fourth."""

    first_seconds: float = 0.5
    most_seconds: float = 30.0
    attempts: int = 20
    """After so many a notification is given up, if meanwhile others on its channel arrived: the fault is its own."""

    days: float = 3.0
    """After so long it is given up in any case."""

    def wait_ms(self, failures: int) -> int:
        doubled = self.first_seconds * 2.0 ** min(failures, 30)
        return int(1000 * min(doubled, self.most_seconds) * random.uniform(0.75, 1.25))  # noqa: S311  # no secret


class Dispatcher:
    """A thread that ends when told, after the call that is under way. Its failure is a bug, and ends the service."""

    def __init__(
        self,
        channel: Channel,
        outbox: Outbox,
        metrics: NotifierMetrics,
        *,
        patience: Patience | None = None,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self._channel = channel
        self._name = channel.name
        self._outbox = outbox
        self._metrics = metrics
        self._patience = patience or Patience()
        self._on_failure = on_failure
        self._stopping = threading.Event()
        self._due = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"dispatcher-{channel.name}", daemon=True)
        self._failures = 0
        """Times in a row that the channel could not be had, whoever the receivers were."""
        self._hold_until = 0.0
        """Of time.monotonic(): the whole channel waits."""
        self._last_arrival = 0
        self._say_at = 0.0
        self._channel_problem: str | None = None
        self._outbox_problem: str | None = None
        self.failure: BaseException | None = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def problem(self) -> str | None:
        """Why nothing is sent now."""
        return self._outbox_problem or self._channel_problem

    @property
    def started(self) -> bool:
        return self._thread.ident is not None

    def start(self) -> None:
        self._thread.start()

    def soon(self) -> None:
        """Something new is in the outbox."""
        self._due.set()

    def stop(self, deadline: float) -> bool:
        """Wait for the call that is under way until `deadline` (of time.monotonic()); whether it ended."""
        self._stopping.set()
        self._due.set()
        self._thread.join(max(0.0, deadline - time.monotonic()))
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while True:
                self._due.clear()  # before the look whether to stop, which sets it, too
                if self._stopping.is_set():
                    break
                if not self.step():
                    self._due.wait(self._idle_seconds())
        except BaseException as error:  # noqa: BLE001  # its owner asks, and must hear of it
            self.failure = error
            self._on_failure()

    def _idle_seconds(self) -> float:
        with contextlib.suppress(RollcastError):
            due = self._outbox.next_due(self._name)
            if due is not None:
                return min(max((due - now_ms()) / 1000, 0.001), _LOOK_EVERY_SECONDS)
        return _LOOK_EVERY_SECONDS

    def step(self) -> bool:
        """Send a few that are due. False when there is nothing to do now."""
        wait = self._hold_until - time.monotonic()
        if wait > 0:
            self._stopping.wait(wait)
            return True
        try:
            # While the channel is away one at a time finds out when it is back.
            batch = self._outbox.due(self._name, 1 if self._failures >= _ALL_DOWN_AFTER else _BATCH)
        except OutboxProblem as problem:
            self._outbox_problem = str(problem)
            self._say("the outbox cannot be read now", problem)
            self._stopping.wait(_PROBLEM_SECONDS)
            return True
        self._outbox_problem = None
        self._send_all(batch)
        return bool(batch)

    def _send_all(self, batch: list[Queued]) -> None:
        outcome: Outcome | None = None
        waiting: set[int] = set()
        for queued in batch:
            if self._stopping.is_set() or time.monotonic() < self._hold_until:
                break
            if queued.lane in waiting:
                continue
            late = self._too_late(queued)
            may_send = self._settle(outcome, None if late else queued)
            outcome = late or (self._send(queued) if may_send else None)
            if outcome is None:
                continue
            if outcome.state == "queued":
                waiting.add(queued.lane)
        self._settle(outcome, None)

    def _settle(self, outcome: Outcome | None, begin: Queued | None) -> bool:
        """Whether `begin` may be called now. What came of a call is kept until there is room to write it down."""
        while outcome is not None or begin is not None:
            try:
                may_begin = self._outbox.settle(outcome, begin)
            except OutboxProblem as problem:
                self._outbox_problem = str(problem)
                self._say("the outbox cannot be written now, so nothing is sent", problem)
                if self._stopping.wait(_PROBLEM_SECONDS):
                    if outcome is not None:
                        _log.error(
                            "what came of a sending is not recorded; the next start takes it for unknown",
                            channel=self._name,
                            notification=outcome.queued.notification.id,
                            state=outcome.state,
                        )
                    return False
            else:
                self._outbox_problem = None
                return may_begin
        return False

    def _too_late(self, queued: Queued) -> Outcome | None:
        now = now_ms()
        expires = queued.notification.expires
        if expires is not None and expires <= now:
            return Outcome(queued, "expired", tried=False, reason="not sent in time")
        if queued.recorded < now - self._patience.days * _DAY_MS:
            return Outcome(queued, "failed", tried=False, reason=f"not sent in {self._patience.days:g} days")
        return None

    def _send(self, queued: Queued) -> Outcome:
        began = time.monotonic()
        try:
            sent = self._channel.send(queued.notification)
        except Throttled as throttled:
            outcome = self._throttled(queued, throttled)
        except Unavailable as problem:
            outcome = self._unavailable(queued, problem)
        except Refused as refusal:
            # It answers: what it refuses is the one notification.
            self._works()
            outcome = Outcome(queued, "failed", reason=str(refusal))
        except OutcomeUnknown as problem:
            outcome = self._unknown(queued, str(problem))
        except Exception as error:  # noqa: BLE001  # a bug of the channel; nobody knows how far it came
            _log.exception("a channel failed in a way that it should not", channel=self._name)
            outcome = self._unknown(queued, f"{type(error).__name__} in the channel; its log line says more")
        else:
            outcome = self._arrived(queued, sent)
        self._metrics.send_seconds.labels(self._name).observe(time.monotonic() - began)
        return outcome

    def _arrived(self, queued: Queued, sent: Sent) -> Outcome:
        self._works()
        self._last_arrival = now = now_ms()
        if queued.notification.prediction_id:
            seconds = max(0, now - queued.notification.created) / 1000
            self._metrics.delivery_seconds.labels(self._name).observe(seconds)
        return Outcome(queued, "sent", external_id=sent.external_id)

    def _works(self) -> None:
        if self._channel_problem is not None:
            _log.info("channel works again", channel=self._name)
        self._failures, self._channel_problem = 0, None

    def _throttled(self, queued: Queued, throttled: Throttled) -> Outcome:
        self._failures += 1
        seconds = throttled.retry_after_seconds
        if seconds is None:
            seconds = self._patience.wait_ms(self._failures - 1) / 1000
        self._hold_until = time.monotonic() + seconds
        self._metrics.retries.labels(self._name).inc()
        self._channel_problem = str(throttled)
        self._say(f"channel wants fewer, and waits {seconds:.1f} s", throttled)
        return Outcome(queued, "queued", due=now_ms() + int(seconds * 1000), tried=False, reason=str(throttled))

    def _unavailable(self, queued: Queued, problem: Unavailable) -> Outcome:
        self._failures += 1
        self._channel_problem = str(problem)
        self._say("channel cannot be had now", problem)
        attempts = queued.attempts + 1
        if attempts >= self._patience.attempts and self._last_arrival > queued.changed:
            return Outcome(queued, "failed", reason=f"given up after {attempts} attempts: {problem}")
        return self._again(queued, str(problem))

    def _unknown(self, queued: Queued, reason: str) -> Outcome:
        self._failures += 1
        self._metrics.unknown_outcomes.labels(self._name).inc()
        _log.warning(
            "nobody knows whether a notification was sent",
            channel=self._name,
            notification=queued.notification.id,
            why=reason,
            then=queued.notification.on_unknown.value,
        )
        if queued.notification.on_unknown is OnUnknown.HOLD:
            return Outcome(queued, "held", reason=reason)
        return self._again(queued, reason)

    def _again(self, queued: Queued, reason: str) -> Outcome:
        wait_ms = self._patience.wait_ms(queued.attempts)
        if self._failures >= _ALL_DOWN_AFTER:
            # All of them fail, so the channel waits: a dead one is not asked for each of its receivers.
            self._hold_until = time.monotonic() + self._patience.wait_ms(self._failures - _ALL_DOWN_AFTER) / 1000
            wait_ms = 0
        self._metrics.retries.labels(self._name).inc()
        return Outcome(queued, "queued", due=now_ms() + wait_ms, reason=reason)

    def _say(self, what: str, problem: Exception) -> None:
        if time.monotonic() >= self._say_at:
            self._say_at = time.monotonic() + _SAY_EVERY_SECONDS
            _log.warning(what, channel=self._name, problem=str(problem))
