"""The commands `check` and `test-rule`: what a notifications file means, without Kafka and without a network."""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import typer

from rollcast_common.config import read_text
from rollcast_common.contracts import Prediction, decode_prediction
from rollcast_common.errors import ConfigError, RollcastError
from rollcast_common.models.card import ModelCard, decode_card
from rollcast_notifier.notification import Notification
from rollcast_notifier.rules.conditions import Condition
from rollcast_notifier.rules.document import REPLY, Subscription, WrongNotifications
from rollcast_notifier.rules.facts import facts_of
from rollcast_notifier.rules.rule_book import RuleBook
from rollcast_notifier.rules.templates import features_in

__all__ = ["check", "test_rule"]

_WRONG = 2

_ABSENT: Mapping[str, Any] = {
    "prediction_id": "local/default/model:test",
    "request_id": "test",
    "key": None,
    "model": "model",
    "version": "test",
    "sha256": "0" * 64,
    "generation": 1,
    "request_time": 0,
    "prediction_time": 0,
}
"""What a prediction that was written by hand may leave out."""

_Files = Annotated[
    list[Path], typer.Argument(metavar="FILE...", help="notifications.yaml; several are checked one by one.")
]
_Cards = Annotated[
    list[Path] | None,
    typer.Option("--card", help="A model's card: features that none of the cards given has are errors. Repeatable."),
]
_PredictionFile = Annotated[
    Path,
    typer.Option(
        "--prediction", help="A prediction as JSON, as on topic app_messages, or the part that matters; - is stdin."
    ),
]


def check(files: _Files, card: _Cards = None) -> None:
    """Say what a notifications file means, or everything that is wrong with it (exit 2)."""
    problems: list[str] = []
    try:
        cards = [decode_card(read_text(path).encode(), source=f"in {path}") for path in card or []]
    except RollcastError as error:
        _end([str(error)])
    for file in files:
        try:
            book = RuleBook.load(file)
        except WrongNotifications as wrong:
            problems += wrong.problems
        except ConfigError as error:
            problems.append(str(error))
        else:
            typer.echo("\n".join(_described(file, book)))
            problems += _unknown_features(file, book, cards)
    if problems:
        _end(problems)


def test_rule(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="notifications.yaml")],
    prediction: _PredictionFile,
    rule: Annotated[str | None, typer.Option(help="Only this subscription.")] = None,  # noqa: PT028  # it is no test
) -> None:
    """Say which subscriptions a prediction matches, why, what would be written, and to whom. Nothing is sent."""
    try:
        book = RuleBook.load(file, warn=_warn)
        given = _prediction(prediction)
    except WrongNotifications as wrong:
        _end(wrong.problems)
    except RollcastError as error:
        _end([str(error)])
    names = [subscription.name for subscription in book.document.subscriptions]
    if rule is not None and rule not in names:
        _end([f"{file}: no subscription {rule}; there are {', '.join(names) or 'none'}"])
    matched = {subscription.name for subscription in book.matching([given])[0]}
    told = book.select([given], [time.time_ns() // 1_000_000])
    facts = facts_of(given)
    for subscription in book.document.subscriptions:
        if rule in (None, subscription.name):
            condition = book.conditions.get(subscription.name)
            typer.echo("\n".join(_tried(subscription, condition, facts, subscription.name in matched, told)))
    if rule is None and (replies := [notification for notification in told if notification.subscription == REPLY]):
        typer.echo("\n".join(["reply: the request asked for it", *_texts(replies)]))


test_rule.__test__ = False  # type: ignore[attr-defined]  # pytest takes it for a test, by its name


def _warn(text: str, **facts: object) -> None:
    shown = ", ".join(f"{name}: {value}" for name, value in facts.items() if name != "so_far")
    typer.echo(f"warning: {text} ({shown})", err=True)


def _described(file: Path, book: RuleBook) -> Iterator[str]:
    document = book.document
    yield f"{file}: {_counted(len(document.channels), 'channel')}, {_counted(book.count, 'subscription')}"
    for name, channel in document.channels.items():
        yield f"  channel {name}: {channel.type}"
    for subscription in document.subscriptions:
        yield f"  subscription {subscription.name}"
        condition = book.conditions.get(subscription.name)
        if condition is None:
            yield "    every prediction"
        else:
            yield f"    when {' '.join(condition.text.split())}"
            yield f"    looks at {', '.join(f'{column} ({_types(condition, column)})' for column in condition.columns)}"
        yield f"    tells {', '.join(dict.fromkeys(subscription.to))}"
        if subscription.rate_limit is not None:
            limit = subscription.rate_limit
            yield f"    at most {limit.per_minute:g} a minute to each, {limit.burst} at once"
        if subscription.expires_seconds is not None:
            yield f"    within {subscription.expires_seconds:g} s, or not at all"
    allowed = ", ".join(document.inbound.allow)
    yield f"  may ask and answer: {allowed or 'nobody'}"


_TYPE_WORDS = {
    "text": "text",
    "number": "number",
    "bool": "true or false",
    "numbers": "list of numbers",
    "texts": "list of texts",
    "any": "whether it is there",
}


def _types(condition: Condition, column: Any) -> str:
    return ", or ".join(dict.fromkeys(_TYPE_WORDS[typing[column]] for typing in condition.typings))


def _unknown_features(file: Path, book: RuleBook, cards: Sequence[ModelCard]) -> Iterator[str]:
    if not cards:
        return
    known = {feature.name for card in cards for feature in card.input.features}
    models = ", ".join(card.model for card in cards)
    for subscription in book.document.subscriptions:
        condition = book.conditions.get(subscription.name)
        used = [column.name for column in condition.columns if column.group == "features"] if condition else []
        used += features_in(subscription.template) if subscription.template is not None else []
        for name in dict.fromkeys(used):
            if name not in known:
                yield f"{file}: subscription {subscription.name}: unknown feature {name}; {models} has no such"


def _prediction(path: Path) -> Prediction:
    """Raises ConfigError or ContractError."""
    text = sys.stdin.read() if str(path) == "-" else read_text(path)
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not JSON: {error}") from None
    if not isinstance(values, dict) or "prediction" not in values:
        raise ConfigError(
            f'{path}: expected a prediction, such as {{"prediction": 31.25, "features": {{"year": 2009}}}}'
        )
    return decode_prediction(msgspec.json.encode({**_ABSENT, **values}))


def _tried(
    subscription: Subscription,
    condition: Condition | None,
    facts: Mapping[str, Any],
    matches: bool,  # noqa: FBT001  # the outcome, not a switch
    told: Sequence[Notification],
) -> Iterator[str]:
    yield f"{subscription.name}: {'matches' if matches else 'does not match'}"
    for column in condition.columns if condition is not None else ():
        yield f"  {column} = {json.dumps(column.of(facts), ensure_ascii=False)}"
    if matches:
        mine = [notification for notification in told if notification.subscription == subscription.name]
        yield from _texts(mine) if mine else ["  to nobody: the request has no reply-to that is allowed"]


def _texts(notifications: Sequence[Notification]) -> Iterator[str]:
    for notification in notifications:
        yield f"  to {notification.receiver}"
        yield from (f"    {line}" for line in notification.text.splitlines())


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _end(problems: Sequence[str]) -> NoReturn:
    for problem in problems:
        typer.echo(f"error: {problem}", err=True)
    raise typer.Exit(_WRONG)
