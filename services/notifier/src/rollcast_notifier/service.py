"""The notifier put together: stream, outbox, a dispatcher a channel, receipts, and what it shows the outside."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Protocol

import structlog
from prometheus_client import CollectorRegistry

from rollcast_common.artifacts import S3Params
from rollcast_common.contracts import Prediction, ReceiptState
from rollcast_common.endpoint import Endpoint, Health
from rollcast_common.errors import ConfigError, RollcastError
from rollcast_common.kafka import ErrorWatch, KafkaParams, check_topics, make_admin, reach_broker
from rollcast_notifier.channels.channel import Channel
from rollcast_notifier.channels.factory import make_channels
from rollcast_notifier.console.part import ConsolePart
from rollcast_notifier.delivery import Dispatcher, Patience
from rollcast_notifier.inbound.answering import FeedbackWriter
from rollcast_notifier.inbound.asking import Asker
from rollcast_notifier.inbound.cards import Cards
from rollcast_notifier.inbound.conversation import Conversation
from rollcast_notifier.metrics import NotifierMetrics
from rollcast_notifier.notification import Inbound, Notification, notification_id
from rollcast_notifier.outbox import Outbox, OutboxProblem, now_ms
from rollcast_notifier.receipts import ReceiptPublisher
from rollcast_notifier.rules.allowing import is_allowed
from rollcast_notifier.rules.document import CONVERSATION
from rollcast_notifier.rules.rate_limits import Buckets
from rollcast_notifier.rules.reloading import LiveRules
from rollcast_notifier.settings import NotifierSettings
from rollcast_notifier.stream import Stream

__all__ = ["run_notifier"]

_log = structlog.get_logger()

_TOPICS = (
    *("app_messages", "notifications", "notifications_failed"),
    *("requests", "feedback", "assignments"),
)
_CONSOLE_TOPICS = ("dead_letters", "predictor_status")
_STALLED_AFTER_SECONDS = 60.0
_LOOK_EVERY_SECONDS = 0.5
_PURGE_EVERY_SECONDS = 10.0
_DAY_MS = 86_400_000
_END_SECONDS = 20.0
"""For calls that are under way and receipts that are not out yet; Kubernetes kills after 30."""


class Answers(Protocol):
    def handle(self, inbound: Inbound) -> str:
        """What a person is told in answer to what was written."""


class Post:
    """What channels tell: into the outbox, and to whoever answers people."""

    def __init__(self, outbox: Outbox, conversation: Answers, on_recorded: Callable[[], None]) -> None:
        self._outbox = outbox
        self._conversation = conversation
        self._on_recorded = on_recorded

    def receipt(self, channel: str, external_id: str, state: ReceiptState, reason: str | None = None) -> None:
        self._outbox.receipt(channel, external_id, state, reason)

    def message(self, inbound: Inbound) -> None:
        """Recorded together with its answer; the same message again is answered once."""
        channel = inbound.sender.channel
        if self._outbox.inbound_seen(channel, inbound.id):
            return
        text = self._conversation.handle(inbound)
        answers = [_answer(inbound, text)] if text else []
        self._outbox.record_inbound(channel, inbound.id, answers)
        self._on_recorded()


def _answer(inbound: Inbound, text: str) -> Notification:
    return Notification(
        id=notification_id(inbound.id, CONVERSATION, inbound.sender),
        prediction_id="",
        request_id="",
        key=None,
        model="",
        version="",
        prediction=b"null",
        subscription=CONVERSATION,
        receiver=inbound.sender,
        text=text,
        created=now_ms(),
    )


class _State:
    """What the outside is told."""

    def __init__(self, settings: NotifierSettings) -> None:
        self._settings = settings
        self.stream: Stream | None = None
        self.rules: LiveRules | None = None
        self.receipts: ReceiptPublisher | None = None
        self.channels: Mapping[str, Channel] = {}
        self.dispatchers: Mapping[str, Dispatcher] = {}
        self.console_port: int | None = None

    def problem_of(self, channel: str) -> str | None:
        return self.channels[channel].problem or self.dispatchers[channel].problem

    def health(self) -> Health:
        stream, rules, receipts = self.stream, self.rules, self.receipts
        detail: dict[str, object] = {
            "installation": self._settings.installation,
            "partitions": stream.partitions if stream is not None else 0,
            "rules": rules.current.count if rules is not None else None,
            "rules_problem": rules.problem if rules is not None else None,
            "problem": stream.problem if stream is not None else None,
            "receipts_problem": receipts.problem if receipts is not None else None,
            "channels": {name: {"problem": self.problem_of(name)} for name in self.dispatchers},
            "console_port": self.console_port,
        }
        if stream is None:
            return Health(alive=True, ready=False, detail=detail)
        alive = time.monotonic() - stream.beat < _STALLED_AFTER_SECONDS
        # A channel that is down is no reason to take the notifier for unready: nobody else would send for it.
        return Health(alive=alive, ready=alive and stream.partitions > 0, detail=detail)


def run_notifier(
    settings: NotifierSettings, kafka: KafkaParams, s3: S3Params | None, stopping: threading.Event
) -> None:
    """Until `stopping` is set; then what was begun is finished and written down.

    Raises RollcastError for what an operator must mend.
    """
    registry = CollectorRegistry()
    metrics = NotifierMetrics(registry)
    state = _State(settings)
    group = kafka.consumer.group_id or settings.consumer_group
    with ExitStack() as stack:
        rules = LiveRules(settings.notifications, lambda book: metrics.rules.set(book.count))
        state.rules = rules
        endpoint = stack.enter_context(Endpoint(settings.metrics_host, settings.metrics_port, registry, state.health))
        _log.info("notifier starting", servers=kafka.broker.servers, metrics_port=endpoint.port)
        outbox = Outbox(
            settings.outbox,
            on_states=lambda channel, name, count: metrics.notifications.labels(channel, name).inc(count),
        )
        stack.callback(outbox.close)
        _check_kafka(kafka, settings, group)
        cards = Cards(kafka, s3, installation=settings.installation, namespace=settings.namespace)
        asker = Asker(kafka)
        console = _console(settings, kafka, group, cards, asker, rules, metrics)
        channels = make_channels(
            rules.current.document.channels,
            console=_no_console if console is None else console.channel,
            folder=settings.outbox.absolute().parent,
        )
        conversation = Conversation(
            rules,
            cards,
            asker,
            FeedbackWriter(kafka),
            outbox,
            Buckets(),
            lambda channel, kind: metrics.inbound.labels(channel, kind).inc(),
        )
        notifier = _Notifier(settings, kafka, outbox, metrics, state, rules, channels, conversation, group)
        stack.enter_context(rules)
        stack.enter_context(cards)
        if console is not None:
            stack.enter_context(console)
            state.console_port = console.port
        notifier.run(stopping, checks=[cards.check])
        _log.info("notifier ended")


def _no_console(name: str) -> Channel:
    raise ConfigError(f"channel {name}: type console needs the console; name its users file in ROLLCAST_CONSOLE_USERS")


def _console(
    settings: NotifierSettings,
    kafka: KafkaParams,
    group: str,
    cards: Cards,
    asker: Asker,
    rules: LiveRules,
    metrics: NotifierMetrics,
) -> ConsolePart | None:
    if settings.console_users is None:
        return None
    return ConsolePart(
        settings,
        settings.console_users,
        kafka,
        group=group,
        cards=cards,
        asker=asker,
        allows=lambda receiver: is_allowed(receiver, rules.current.document.inbound.allow),
        on_sessions=metrics.console_sessions.set,
    )


def _check_kafka(kafka: KafkaParams, settings: NotifierSettings, client_id: str) -> None:
    """What is wrong from the start is said at the start, in one line."""
    reach_broker(kafka, client_id=client_id, timeout_seconds=settings.startup_timeout_seconds)
    admin = make_admin(kafka, ErrorWatch(kafka.broker.servers), client_id=client_id)
    wanted = _TOPICS if settings.console_users is None else (*_TOPICS, *_CONSOLE_TOPICS)
    check_topics(admin, [kafka.topics.full(name) for name in wanted], servers=kafka.broker.servers)


class _Notifier:
    """The threads, from start to end."""

    def __init__(
        self,
        settings: NotifierSettings,
        kafka: KafkaParams,
        outbox: Outbox,
        metrics: NotifierMetrics,
        state: _State,
        rules: LiveRules,
        channels: Sequence[Channel],
        conversation: Answers,
        group: str,
    ) -> None:
        self._settings = settings
        self._outbox = outbox
        self._metrics = metrics
        self._rules = rules
        self._state = state
        self._ending = threading.Event()
        patience = Patience(attempts=settings.give_up_attempts, days=settings.give_up_days)
        self._channels = {channel.name: channel for channel in channels}
        for name in self._channels:
            metrics.show_channel(name)
        self._dispatchers = {
            channel.name: Dispatcher(channel, outbox, metrics, patience=patience, on_failure=self._ending.set)
            for channel in channels
        }
        self._receipts = ReceiptPublisher(kafka, outbox, client_id=group)
        self._stream = Stream(
            kafka,
            outbox,
            metrics,
            group=group,
            batch_rows=settings.batch_rows,
            select=self._select,
            on_recorded=self._wake,
            stopping=self._ending,
        )
        self._post = Post(outbox, conversation, self._wake)
        self._checks: Sequence[Callable[[], None]] = ()
        self._failure: BaseException | None = None
        self._purge_at = 0.0
        self._rules_failures = 0
        state.channels, state.dispatchers = self._channels, self._dispatchers
        state.receipts = self._receipts

    def run(self, stopping: threading.Event, *, checks: Sequence[Callable[[], None]]) -> None:
        """`checks` raise what ended parts that are not ours."""
        self._checks = checks
        self._count_unknown()
        housekeeper = threading.Thread(target=self._keep_house, args=(stopping,), name="housekeeper", daemon=True)
        try:
            self._receipts.start()
            for name, channel in self._channels.items():
                channel.start(self._post)
                self._dispatchers[name].start()
            housekeeper.start()
            self._state.stream = self._stream
            self._stream.run()
        finally:
            self._ending.set()
            self._end()
            if housekeeper.ident is not None:
                housekeeper.join()
        self._check()

    def _end(self) -> None:
        """Nothing new is read any more; calls that are under way have this much time."""
        deadline = time.monotonic() + _END_SECONDS
        for dispatcher in self._dispatchers.values():
            if dispatcher.started and not dispatcher.stop(deadline - 2.0):
                _log.warning("a call is given up; the next start takes it for unknown", channel=dispatcher.name)
        for channel in self._channels.values():
            channel.stop()
        self._receipts.stop(deadline)

    def _select(self, predictions: Sequence[Prediction], created: Sequence[int]) -> list[Notification]:
        return self._rules.current.select(predictions, created)

    def _wake(self) -> None:
        for dispatcher in self._dispatchers.values():
            dispatcher.soon()

    def _count_unknown(self) -> None:
        for channel, count in self._outbox.unknown.items():
            self._metrics.unknown_outcomes.labels(channel).inc(count)
            _log.warning("nobody knows whether these were sent when the notifier ended", channel=channel, count=count)
        for channel, count in self._outbox.open_counts().items():
            if count and channel not in self._channels:
                _log.warning(
                    "notifications wait for a channel that is not there; name it again, or they fail in time",
                    channel=channel,
                    count=count,
                )

    def _keep_house(self, stopping: threading.Event) -> None:
        try:
            while not self._ending.is_set():
                if stopping.wait(_LOOK_EVERY_SECONDS):
                    break
                self._check()
                try:
                    self._tidy()
                    self._show()
                except OutboxProblem as problem:
                    _log.warning("the outbox cannot be kept now", problem=str(problem))
        except BaseException as error:  # noqa: BLE001  # raised again by `run`
            self._failure = error
        finally:
            self._ending.set()

    def _tidy(self) -> None:
        while self._outbox.expire() and not self._ending.is_set():
            pass
        if time.monotonic() < self._purge_at:
            return
        days = self._settings.give_up_days
        for channel in self._outbox.open_counts():
            self._outbox.give_up(channel, now_ms() - int(days * _DAY_MS), f"not sent in {days:g} days")
        if not self._outbox.purge(int(self._settings.keep_days * _DAY_MS)):
            self._purge_at = time.monotonic() + _PURGE_EVERY_SECONDS

    def _show(self) -> None:
        metrics, open_, oldest, now = self._metrics, self._outbox.open_counts(), self._outbox.oldest(), now_ms()
        for name in {*self._channels, *open_}:
            metrics.outbox_open.labels(name).set(open_.get(name, 0))
            metrics.outbox_oldest_seconds.labels(name).set(max(0, now - oldest.get(name, now)) / 1000)
        for name in self._channels:
            metrics.channel_up.labels(name).set(self._state.problem_of(name) is None)
        metrics.outbox_bytes.set(self._outbox.size_bytes)
        rules = self._rules.current
        metrics.rules.set(rules.count)
        metrics.show_rules(rules.failures, rules.refused_replies)
        failures = self._rules.failures
        metrics.rules_reload_failures.inc(failures - self._rules_failures)
        self._rules_failures = failures

    def _check(self) -> None:
        """Raises what ended a thread: a notifier without one of its parts is none."""
        for check in self._checks:
            check()
        for failure in (self._failure, self._receipts.failure, *(d.failure for d in self._dispatchers.values())):
            if isinstance(failure, RollcastError):
                raise failure
            if failure is not None:
                raise RollcastError(f"a part of the notifier failed: {failure!r}; this is a bug") from failure
