"""notifications.yaml: the channels, who gets told what, and who may write to us.

Everything that can be wrong with it is said at once, each with its line.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from rollcast_common.config import Settings, YamlDocument, complaints, load_yaml_documents, read_text
from rollcast_common.errors import ConfigError
from rollcast_notifier.notification import OnUnknown, Receiver
from rollcast_notifier.rules.conditions import WrongCondition, parse_condition
from rollcast_notifier.rules.templates import WrongTemplate, compile_template

__all__ = [
    "CONVERSATION",
    "REPLY",
    "REPLY_TO",
    "ChannelSettings",
    "ConsoleChannel",
    "InboundSettings",
    "LogChannel",
    "MesiboBackendChannel",
    "MesiboSdkChannel",
    "NotificationsDocument",
    "RateLimit",
    "Subscription",
    "WebhookChannel",
    "WrongNotifications",
    "load_notifications",
]

REPLY_TO = "reply-to"
"""As a receiver: whoever asked, as the request's header of this name says."""

REPLY = "reply"
"""The subscription of the built-in answer to whoever asked."""

CONVERSATION = "conversation"
"""The subscription of what the service itself says to a person who wrote."""

_NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"


class WrongNotifications(ConfigError):
    """Says all that is wrong; `problems` has one line for each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class ConsoleChannel(Settings):
    """The web console: whoever is signed in under the receiver's name sees it at once, or when they next look."""

    type: Literal["console"]


class LogChannel(Settings):
    """A line in the notifier's log: for trying rules out."""

    type: Literal["log"]
    redact: bool = False
    """Leave text and receiver out of the line."""


class WebhookChannel(Settings):
    """An HTTP POST to a server of your own."""

    type: Literal["webhook"]
    url: str = Field(pattern=r"^https?://[^/]")
    """Where the notifications are posted to."""
    secret_file: Path | None = None
    """A file with the secret that every post is signed with."""
    timeout_seconds: float = Field(default=10.0, gt=0, le=300)
    """How long an answer is waited for."""


class MesiboBackendChannel(Settings):
    """mesibo over its backend API: sends to addresses and groups, hears no answers."""

    type: Literal["mesibo-backend"]
    token_file: Path
    """A file with the app token."""
    from_: str = Field(alias="from", min_length=1, max_length=63)
    """The mesibo user in whose name is written; it must exist."""
    url: str = Field(default="https://api.mesibo.com/backend/", pattern=r"^https?://[^/]")
    """The backend API; on-premise your own."""
    timeout_seconds: float = Field(default=10.0, gt=0, le=300)
    """How long an answer is waited for."""


class MesiboSdkChannel(Settings):
    """mesibo over its own client: sends, hears receipts and what people answer. Needs the extra `mesibo`."""

    type: Literal["mesibo-sdk"]
    token_file: Path
    """A file with the user token that the client signs in with."""
    app_id: str = Field(min_length=1)
    """The app that the token was made for."""
    database: str = Field(default="mesibo", min_length=1)
    """The name of the client's own database."""


ChannelSettings = Annotated[
    ConsoleChannel | LogChannel | WebhookChannel | MesiboBackendChannel | MesiboSdkChannel,
    Field(discriminator="type"),
]


class RateLimit(Settings):
    """For each receiver of the subscription: at most so many, counted by when the predictions were made."""

    per_minute: float = Field(gt=0)
    """How many a minute in the long run."""
    burst: int = Field(default=1, ge=1)
    """How many at once after a silence."""


class Subscription(Settings):
    """Who gets told about which predictions, and in which words."""

    name: str = Field(pattern=_NAME)
    """Unique; stands in receipts and metrics."""
    when: str | None = None
    """The condition, an SQL expression over the columns below; without it every prediction is told."""
    to: tuple[str, ...] = Field(min_length=1)
    """The receivers: `channel:address`, `channel:group:name`, or `reply-to` for whoever asked."""
    template: str | None = None
    """The text, a Jinja template; without it a plain sentence."""
    expires_seconds: float | None = Field(default=None, gt=0)
    """What was not sent so long after the prediction is not sent any more."""
    receipts: tuple[Literal["delivered", "read"], ...] = ("delivered",)
    """What the channel is asked to report, where it can."""
    rate_limit: RateLimit | None = None
    """What exceeds it is not sent, and recorded as failed."""
    on_unknown: OnUnknown = OnUnknown.RESEND
    """When nobody knows whether it was sent: `resend` may tell twice, `hold` waits for a person's decision."""

    @cached_property
    def receivers(self) -> tuple[Receiver, ...]:
        return tuple(Receiver.parse(text) for text in dict.fromkeys(self.to) if text != REPLY_TO)

    @property
    def replies(self) -> bool:
        """Whether it is told to whoever asked."""
        return REPLY_TO in self.to


class InboundSettings(Settings):
    """Who may write to us: ask a model, answer with what really happened, be answered to."""

    allow: tuple[str, ...] = ()
    """Receivers, with `*` and `?` for what may be anything: `mesibo:*@example.com`. Nobody else is heard."""
    per_minute: int = Field(default=30, ge=1)
    """How many messages of one sender are heard a minute."""


class NotificationsDocument(Settings):
    """The whole of notifications.yaml."""

    channels: dict[Annotated[str, Field(pattern=_NAME)], ChannelSettings] = Field(default_factory=dict)
    """The ways to reach people, each under a name of its own that receivers begin with."""
    subscriptions: tuple[Subscription, ...] = ()
    """Each prediction is held against all of them."""
    inbound: InboundSettings = InboundSettings()
    """Who may write to us."""


@dataclass(frozen=True, slots=True)
class _Source:
    name: str
    yaml: YamlDocument

    def at(self, *path: int | str) -> str:
        return f"{self.name}, line {self.yaml.line_of(*path)}"


def load_notifications(path: Path) -> NotificationsDocument:
    """Raises WrongNotifications that says everything that is wrong, each with its line; ConfigError when the file
    cannot be read at all.
    """
    documents = load_yaml_documents(read_text(path), source=str(path))
    if len(documents) > 1:
        raise ConfigError(f"{path}, line {documents[1].line}: a second YAML document begins; there may be one")
    yaml = documents[0] if documents else YamlDocument(1, {})
    if not isinstance(yaml.value, dict):
        raise ConfigError(f"{path}: expected a mapping at the top, found {type(yaml.value).__name__}")
    source = _Source(str(path), yaml)
    problems: list[str] = []
    document = None
    try:
        document = NotificationsDocument.model_validate(yaml.value)
    except ValidationError as error:
        problems += complaints(error, yaml.value, lambda place: source.at(*place))
    problems += _problems(yaml.value, source)
    if problems or document is None:
        raise WrongNotifications(sorted(problems, key=_line))
    return document


def _line(problem: str) -> int:
    found = re.search(r", line (\d+): ", problem)
    return int(found[1]) if found else 0


def _problems(values: Mapping[str, Any], source: _Source) -> Iterator[str]:
    """What pydantic cannot know. Values of a wrong shape are passed over: it has complained about them."""
    names: dict[str, int] = {}
    for index, subscription in enumerate(_items(values.get("subscriptions"))):
        if not isinstance(subscription, Mapping):
            continue
        name = subscription.get("name")
        line = source.at("subscriptions", index, "name")
        if name in (REPLY, CONVERSATION):
            yield f"{line}: the name {name} is taken by the service itself; choose another"
        if isinstance(name, str) and names.setdefault(name, index) != index:
            first = source.yaml.line_of("subscriptions", names[name], "name")
            yield f"{line}: the name {name} stands here and in line {first}"
        yield from _subscription_problems(subscription, index, values.get("channels"), source)
    inbound = values.get("inbound")
    for number, pattern in enumerate(_items(inbound.get("allow")) if isinstance(inbound, Mapping) else []):
        if isinstance(pattern, str) and ":" not in pattern:
            yield (
                f"{source.at('inbound', 'allow', number)}: inbound.allow was {pattern!r}, may be channel:address, "
                f"such as 'console:*'"
            )


def _subscription_problems(
    subscription: Mapping[str, Any], index: int, channels: Any, source: _Source
) -> Iterator[str]:
    here = ("subscriptions", index)
    name, when, template = (subscription.get(part) for part in ("name", "when", "template"))
    shown = f"subscription {name}" if isinstance(name, str) else f"subscriptions.{index}"
    if isinstance(when, str):
        try:
            parse_condition(when)
        except WrongCondition as problem:
            yield f"{source.at(*here, 'when')}: {shown}: when: {problem}"
    if isinstance(template, str):
        try:
            compile_template(template)
        except WrongTemplate as problem:
            yield f"{source.at(*here, 'template')}: {shown}: template: {problem}"
    for number, receiver in enumerate(_items(subscription.get("to"))):
        if isinstance(receiver, str) and (wrong := _wrong_receiver(receiver, channels)):
            yield f"{source.at(*here, 'to', number)}: {shown}: {wrong}"


def _wrong_receiver(text: str, channels: Any) -> str | None:
    if text == REPLY_TO:
        return None
    try:
        receiver = Receiver.parse(text)
    except ValueError as error:
        return f"{error}, or {REPLY_TO}"
    known = list(channels) if isinstance(channels, Mapping) else []
    if receiver.channel not in known:
        return f"receiver {text} is of channel {receiver.channel}, which is not among channels: {_listed(known)}"
    return None


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _listed(names: list[Any]) -> str:
    return ", ".join(map(str, names)) or "there are none"
