"""What people say and ask in the console, from the page's JSON to the service."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

import structlog
from pydantic import Field

from rollcast_common.config import Settings, parse_settings
from rollcast_common.errors import ConfigError, RollcastError
from rollcast_common.models.card import ModelCard
from rollcast_notifier.channels.channel import SendFailed
from rollcast_notifier.console.asking import WrongFields, features_of, summary_of
from rollcast_notifier.console.channel import ConsoleChannel
from rollcast_notifier.console.mailbox import Mailbox
from rollcast_notifier.console.sessions import Attempts
from rollcast_notifier.inbound.ports import Asking, Served
from rollcast_notifier.notification import Receiver

__all__ = ["NotTaken", "Talk"]

_log = structlog.get_logger()

_MOST_TEXT = 4000
_MOST_IDS = 200
_A_MINUTE = 60

# Made by the page, so that the same message sent again is the same.
MessageId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Ids = Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=_MOST_IDS)]


_BodyT = TypeVar("_BodyT", bound=Settings)


class _Question(Settings):
    id: MessageId
    model: Annotated[str, Field(max_length=200)]
    fields: dict[str, str]


class _Saying(Settings):
    id: MessageId
    text: Annotated[str, Field(pattern=r"\S", max_length=_MOST_TEXT)]
    about: Annotated[str, Field(max_length=64)] | None = None


class _Marks(Settings):
    delivered: Ids = Field(default_factory=list)
    read: Ids = Field(default_factory=list)


class NotTaken(Exception):
    """The person is told why, and may say it again."""

    def __init__(self, status: int, problem: str, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(problem)
        self.status = status
        self.body = {"problem": problem, "fields": dict(fields or {})}


class Talk:
    """Every method may wait for files, S3 and Kafka, and raises NotTaken."""

    def __init__(
        self,
        mailbox: Mailbox,
        channel: Callable[[], ConsoleChannel | None],
        *,
        cards: Served,
        asker: Asking,
        allows: Callable[[Receiver], bool] = lambda _: True,
    ) -> None:
        """`channel` is None where notifications.yaml has none of type console; `allows` says who may write."""
        self._mailbox = mailbox
        self._channel = channel
        self._cards = cards
        self._asker = asker
        self._allows = allows
        self._said = Attempts(each=_A_MINUTE, together=20 * _A_MINUTE, within_seconds=60)

    @property
    def can_ask(self) -> bool:
        return self._channel() is not None

    def cards(self) -> dict[str, ModelCard | None]:
        """The models that are served now."""
        return {info.model: info.card for info in self._cards.models()}

    def ask(self, user: str, body: bytes) -> None:
        """A form that was filled in becomes a request, whose answer comes back to this person."""
        question = _read(_Question, body)
        receiver = self._channel_of(user).receiver(user)
        self._check_pace(user)
        features = self._features(question)
        text = summary_of(question.model, features)
        if self._mailbox.say(user, question.id, text, request_id=question.id):
            self._give(user, question.id, lambda: self._asker.ask(question.model, features, receiver, question.id))

    def say(self, user: str, body: bytes) -> None:
        """Words, which the service answers; `about` is the message that they answer."""
        saying = _read(_Saying, body)
        channel = self._channel_of(user)
        self._check_pace(user)
        text, about = saying.text.strip(), saying.about
        if self._mailbox.say(user, saying.id, text, about=about):
            now = time.time_ns() // 1_000_000
            self._give(user, saying.id, lambda: channel.say(user, saying.id, text, about=about, time=now))

    def mark(self, user: str, body: bytes) -> None:
        """The page has these messages; these were on its screen."""
        marks = _read(_Marks, body)
        channel = self._channel()
        if channel is not None:
            channel.mark(user, marks.delivered, "delivered")
            channel.mark(user, marks.read, "read")

    def _channel_of(self, user: str) -> ConsoleChannel:
        """Raises NotTaken where this person may not write."""
        channel = self._channel()
        if channel is None:
            raise NotTaken(503, "Nobody can write here: the notifications file has no channel of type console.")
        if not self._allows(channel.receiver(user)):
            text = (
                f"You may not write here: inbound.allow in the notifications file does not name {channel.name}:{user}."
            )
            raise NotTaken(403, text)
        return channel

    def _features(self, question: _Question) -> dict[str, Any]:
        cards = self.cards()
        if question.model not in cards:
            raise NotTaken(404, f"No model {question.model!r} is served now.")
        card = cards[question.model]
        if card is None:
            raise NotTaken(409, f"{question.model} has no model card to check the fields by; ask it in words.")
        try:
            return features_of(card, question.fields)
        except WrongFields as error:
            raise NotTaken(422, "Some fields need another look.", error.problems) from None

    def _check_pace(self, user: str) -> None:
        if not self._said.may(user):
            raise NotTaken(429, f"That was more than {_A_MINUTE} messages in a minute. Please wait a little.")
        self._said.note(user)

    def _give(self, user: str, id_: str, give: Callable[[], object]) -> None:
        """To the service; what it does not take stays there as failed, with the reason."""
        try:
            give()
        except (RollcastError, SendFailed) as error:
            self._mailbox.said(user, id_, problem=str(error))
            _log.warning("a person's message was not taken", problem=str(error))
            raise NotTaken(503, f"Not sent. {error}") from None
        self._mailbox.said(user, id_)


def _read(model: type[_BodyT], body: bytes) -> _BodyT:
    try:
        values = json.loads(body)
        if not isinstance(values, dict):
            raise NotTaken(400, "The body may be a JSON object.")
        return parse_settings(model, values, source="the page")
    except (ValueError, RecursionError):
        raise NotTaken(400, "The body may be a JSON object.") from None
    except ConfigError as error:
        raise NotTaken(400, str(error)) from None
