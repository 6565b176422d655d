"""The rules in force: from predictions to what is to be sent."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import structlog

from rollcast_common.contracts import Prediction
from rollcast_common.contracts.request import REPLY_TO_HEADER
from rollcast_notifier.notification import Notification, Receiver, notification_id, reference_of
from rollcast_notifier.rules.allowing import is_allowed
from rollcast_notifier.rules.conditions import parse_condition
from rollcast_notifier.rules.document import REPLY, NotificationsDocument, Subscription, load_notifications
from rollcast_notifier.rules.facts import facts_of
from rollcast_notifier.rules.matching import Matcher
from rollcast_notifier.rules.rate_limits import Buckets
from rollcast_notifier.rules.templates import TextFailed, compile_template, default_text

__all__ = ["RATE_LIMIT", "RuleBook"]

_log = structlog.get_logger()

RATE_LIMIT = "rate limit"
"""Why a notification is recorded as failed at once."""

_SAY_EVERY_SECONDS = 60.0

_REPLY = Subscription(name=REPLY, to=("reply-to",))
_write_reply = compile_template(
    "{{ model }} says {{ prediction }} (#{{ reference }}). "
    "Once you know what it really was, tell me: actual … #{{ reference }}"
)

_Facts = Mapping[str, Any]
_Warn = Callable[..., object]


class RuleBook:
    """Not for several threads at once: it keeps count for the rate limits."""

    def __init__(
        self, document: NotificationsDocument, *, before: "RuleBook | None" = None, warn: _Warn | None = None
    ) -> None:
        """`before` are the rules that these replace: who was told much by those is not told as much again. `warn` hears
        what goes wrong with a prediction, once a minute of each kind; else the log does.
        """
        self._warn = warn or _log.warning
        self.document = document
        self._subscriptions = document.subscriptions
        self.conditions = {s.name: parse_condition(s.when) for s in self._subscriptions if s.when is not None}
        """By the subscription's name; those that tell everything have none."""
        self._conditional = [index for index, s in enumerate(self._subscriptions) if s.when is not None]
        self._matcher = Matcher([*self.conditions.values()])
        self._always = [index for index, s in enumerate(self._subscriptions) if s.when is None]
        self._writers = [compile_template(s.template) if s.template is not None else None for s in self._subscriptions]
        self.buckets: Buckets = before.buckets if before is not None else Buckets()
        self._said: dict[str, float] = {}
        self.failures = dict.fromkeys((s.name for s in self._subscriptions), 0)
        """How many predictions each subscription could not be held against, or not be put into words for; those of the
        rules before are counted on."""
        self.refused_replies = 0
        """Requests that wanted to be answered to somebody who is not allowed."""
        if before is not None:
            self.failures |= before.failures
            self.refused_replies = before.refused_replies

    @classmethod
    def load(cls, path: Path, *, before: "RuleBook | None" = None, warn: _Warn | None = None) -> Self:
        """Raises ConfigError that says everything that is wrong."""
        return cls(load_notifications(path), before=before, warn=warn)

    @property
    def count(self) -> int:
        return len(self._subscriptions)

    def matching(self, predictions: Sequence[Prediction]) -> list[list[Subscription]]:
        """Of each prediction the subscriptions that it is told to, in the order of the file."""
        return [[self._subscriptions[i] for i in found] for found in self._matching([facts_of(p) for p in predictions])]

    def select(self, predictions: Sequence[Prediction], created: Sequence[int]) -> list[Notification]:
        """What is to be sent, in the order of the predictions; `created` are their times in milliseconds.

        What a rate limit holds back is there, too, with `dropped`: recorded like the others, it stays dropped when
        the same predictions are read again.
        """
        facts = [facts_of(prediction) for prediction in predictions]
        found: list[Notification] = []
        for number, matched in enumerate(self._matching(facts)):
            prediction, row, time_ms = predictions[number], facts[number], created[number]
            asker = self._asker(prediction)
            replied = False
            for index in matched:
                subscription = self._subscriptions[index]
                receivers = list(subscription.receivers)
                if subscription.replies and asker is not None:
                    replied = True
                    receivers += [asker] if asker not in receivers else []
                found += self._notifications(subscription, self._writers[index], receivers, prediction, row, time_ms)
            if asker is not None and not replied:
                found += self._notifications(_REPLY, _write_reply, [asker], prediction, row, time_ms)
        return found

    def _matching(self, facts: Sequence[_Facts]) -> list[list[int]]:
        matched: list[list[int]] = [list(self._always) for _ in facts]
        for index, rows in zip(self._conditional, self._matcher.matches(facts, self._condition_failed), strict=True):
            for row in rows:
                matched[row].append(index)
        for indexes in matched:
            indexes.sort()
        return matched

    def _notifications(
        self,
        subscription: Subscription,
        write: Callable[[Mapping[str, Any]], str] | None,
        receivers: Sequence[Receiver],
        prediction: Prediction,
        facts: _Facts,
        created: int,
    ) -> Iterator[Notification]:
        limit = subscription.rate_limit
        expires = subscription.expires_seconds
        for receiver in receivers:
            id_ = notification_id(prediction.prediction_id, subscription.name, receiver)
            dropped = None
            if limit is not None and not self.buckets.take(
                (subscription.name, receiver), per_minute=limit.per_minute, burst=limit.burst, now_ms=created
            ):
                dropped = RATE_LIMIT
            yield Notification(
                id=id_,
                prediction_id=prediction.prediction_id,
                request_id=prediction.request_id,
                key=prediction.key,
                model=prediction.model,
                version=prediction.version,
                prediction=bytes(prediction.prediction),
                subscription=subscription.name,
                receiver=receiver,
                text=self._text(subscription, write, receiver, facts, id_),
                created=created,
                expires=None if expires is None else created + round(expires * 1000),
                wants=frozenset(subscription.receipts),
                on_unknown=subscription.on_unknown,
                dropped=dropped,
            )

    def _text(
        self,
        subscription: Subscription,
        write: Callable[[Mapping[str, Any]], str] | None,
        receiver: Receiver,
        facts: _Facts,
        id_: str,
    ) -> str:
        names = {
            **facts,
            "reference": reference_of(id_),
            "subscription": subscription.name,
            "receiver": str(receiver),
        }
        if write is not None:
            try:
                if text := write(names).strip():
                    return text
                problem = "it gave no text"
            except TextFailed as failure:
                problem = str(failure)
            self._failed(subscription.name, f"its template failed, the plain sentence is sent instead: {problem}")
        return default_text(names)

    def _asker(self, prediction: Prediction) -> Receiver | None:
        """Who wants to be told, where the request said so and it is allowed."""
        text = prediction.headers.get(REPLY_TO_HEADER)
        if text is None:
            return None
        try:
            receiver = Receiver.parse(text)
        except ValueError:
            receiver = None
        if (
            receiver is not None
            and receiver.channel in self.document.channels
            and is_allowed(receiver, self.document.inbound.allow)
        ):
            return receiver
        self.refused_replies += 1
        self._say(
            "reply",
            "a request's header reply-to names nobody who is allowed; see inbound.allow in the notifications file",
            reply_to=text[:200],
            request_id=prediction.request_id[:200],
            so_far=self.refused_replies,
        )
        return None

    def _condition_failed(self, number: int, why: str) -> None:
        subscription = self._subscriptions[self._conditional[number]]
        self._failed(subscription.name, f"its condition cannot be computed, so it is not told: {why}")

    def _failed(self, name: str, why: str) -> None:
        # The plain reply to who asked is no subscription of the file.
        self.failures[name] = self.failures.get(name, 0) + 1
        self._say(
            name, "a subscription failed for a prediction", subscription=name, why=why, so_far=self.failures[name]
        )

    def _say(self, kind: str, text: str, **facts: Any) -> None:
        """Once a minute for each kind: a wrong rule is wrong for every prediction."""
        now = time.monotonic()
        if now >= self._said.get(kind, 0.0):
            self._said[kind] = now + _SAY_EVERY_SECONDS
            self._warn(text, **facts)
