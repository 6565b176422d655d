"""What is said to a person who writes: a request is passed on, an answer is noted, anything else is helped along."""

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Literal

import msgspec
import structlog
import xxhash

from rollcast_common.contracts import GroundTruth
from rollcast_common.errors import KafkaProblem
from rollcast_common.models.card import ModelCard
from rollcast_notifier.inbound.answering import NotAnActual, understand_actual
from rollcast_notifier.inbound.checking import Checked, check_features, example_of, guessed, wanted_of
from rollcast_notifier.inbound.ports import Asking, Feedback, Model, Models, Rules, Told
from rollcast_notifier.inbound.words import Actual, Ask, Help, ListModels, parse
from rollcast_notifier.notification import Inbound, Notification, reference_of
from rollcast_notifier.rules.allowing import is_allowed
from rollcast_notifier.rules.rate_limits import Buckets
from rollcast_notifier.rules.templates import shown

__all__ = ["Conversation", "Kind"]

_log = structlog.get_logger()

Kind = Literal["request", "answer", "refused", "unclear"]

_HELP = (
    'Ask a model: ask MODEL name=value name="a longer value"\n'
    "Tell what really happened: actual 28.50 (about what I told you last), or actual 28.50 #k3f9t\n"
    "See the models and what they want to know: models"
)
_TRY_AGAIN = "I could not pass that on just now. Please try again in a minute."
_MOST_MODELS = 20


class Conversation:
    """For several threads at once."""

    def __init__(
        self,
        rules: Rules,
        cards: Models,
        asker: Asking,
        feedback: Feedback,
        outbox: Told,
        limits: Buckets,
        counted: Callable[[str, Kind], None] = lambda *_: None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """`counted` is told of each message its channel and what became of it."""
        self._rules = rules
        self._cards = cards
        self._asker = asker
        self._feedback = feedback
        self._outbox = outbox
        self._limits = limits
        self._counted = counted
        self._clock = clock
        self._lock = threading.Lock()

    def handle(self, inbound: Inbound) -> str:
        """What to answer; nothing for a stranger, for one who was told to slow down, and for a message that was dealt
        with before.

        The same message again, after a crash, does the same again: the request has the same id, and so is answered
        once; the ground truth is the same.
        """
        channel = inbound.sender.channel
        if self._outbox.inbound_seen(channel, inbound.id):
            return ""
        settings = self._rules.current.document.inbound
        if not is_allowed(inbound.sender, settings.allow):
            if self._may(("stranger", channel), 1):
                _log.warning(
                    "somebody wrote who is not allowed, and is not heard; see inbound.allow in the notifications file",
                    sender=str(inbound.sender)[:200],
                )
            self._counted(channel, "refused")
            return ""
        if not self._may(inbound.sender, settings.per_minute):
            self._counted(channel, "refused")
            # Said once a minute only: two machines that answer each other would never end.
            may_say = self._may(("slow down", inbound.sender), 1)
            return f"That is more than {settings.per_minute} messages a minute: I did not read it." if may_say else ""
        kind, text = self._answer(inbound)
        self._counted(channel, kind)
        return text

    def _may(self, name: Hashable, per_minute: int) -> bool:
        """By our own clock: what a channel says may be of yesterday."""
        with self._lock:
            return self._limits.take(name, per_minute=per_minute, burst=per_minute, now_ms=self._clock())

    def _answer(self, inbound: Inbound) -> tuple[Kind, str]:
        words = parse(inbound.text)
        if isinstance(words, Ask):
            return self._ask(inbound, words)
        if isinstance(words, Actual):
            return self._actual(inbound, words)
        if isinstance(words, ListModels):
            return "unclear", self._models()
        if isinstance(words, Help):
            return "unclear", _HELP
        return "unclear", f"{words.why}\n{_HELP}"

    # Requests.

    def _ask(self, inbound: Inbound, words: Ask) -> tuple[Kind, str]:
        models = self._cards.models()
        chosen = self._chosen(models, words.model)
        if isinstance(chosen, str):
            return "unclear", chosen
        card = chosen.card
        if card is None:
            if not words.features:
                return "unclear", f"Ask {chosen.model} like this: ask {chosen.model} name=value name=value"
            checked = Checked(guessed(words.features), [], ["It has no card, so I cannot check what you wrote."])
        else:
            checked = check_features(card, words.features)
        if checked.problems:
            return "unclear", "\n".join([*checked.problems, *checked.notes, *_how_to_ask(card)])
        request_id = f"ask-{_digest(inbound)}"
        try:
            self._asker.ask(chosen.model, checked.features, inbound.sender, request_id)
        except KafkaProblem as problem:
            _log.error("a person's request could not be written", request_id=request_id, problem=str(problem))
            return "unclear", _TRY_AGAIN
        return "request", "\n".join([f"I asked {chosen.model}; you will hear in a moment.", *checked.notes])

    def _chosen(self, models: Sequence[Model], name: str | None) -> Model | str:
        """The model that is meant, or what to say."""
        if not models:
            return "No model is served just now."
        if name is None:
            if len(models) == 1:
                return models[0]
            return f"Which model? Write `ask MODEL …`. {_named(models)}"
        by_name = {model.model.lower(): model for model in models}
        return by_name.get(name.lower()) or f"There is no model {name[:60]!r}. {_named(models)}"

    def _models(self) -> str:
        models = self._cards.models()
        if not models:
            return "No model is served just now."
        lines = []
        for model in models[:_MOST_MODELS]:
            card = model.card
            lines.append(
                f"{model.model}: {wanted_of(card) if card else 'it has no card, so I do not know its features'}"
            )
        if len(models) > _MOST_MODELS:
            lines.append(f"… and {len(models) - _MOST_MODELS} more")
        return "\n".join(lines)

    # What really happened.

    def _actual(self, inbound: Inbound, words: Actual) -> tuple[Kind, str]:
        told = self._meant(inbound, words.reference)
        if told is None:
            what = f"#{words.reference[:20]}" if words.reference else "anything that this could be about"
            return "unclear", f"I do not remember telling you {what}. Name what you mean: actual {words.value[:40]} #…"
        predicted = msgspec.json.decode(told.prediction)
        try:
            actual, note = understand_actual(words.value, predicted, self._cards.card(told.model))
        except NotAnActual as problem:
            return "unclear", str(problem)
        truth = GroundTruth(
            prediction_id=told.prediction_id,
            model=told.model,
            version=told.version,
            actual=msgspec.Raw(msgspec.json.encode(actual)),
            prediction=msgspec.Raw(told.prediction),
            source=str(inbound.sender),
            time=inbound.time,
        )
        try:
            self._feedback.record(truth)
        except KafkaProblem as problem:
            _log.error("a person's answer could not be written", prediction_id=told.prediction_id, problem=str(problem))
            return "unclear", _TRY_AGAIN
        about = f"#{reference_of(told.id)} (predicted {shown(predicted)})"
        written = shown(actual) if note else words.value
        return "answer", f"{f'{note} ' if note else ''}Noted: {written} for {about}. Thank you."

    def _meant(self, inbound: Inbound, reference: str | None) -> Notification | None:
        """What the person answers to: what they name, else what the channel says, else what they were told last.
        Only what was told to them, or to a group on their channel that the channel says they are in.
        """
        if reference is not None:
            return self._outbox.find(inbound.sender, reference)
        if inbound.about is not None:
            told = self._outbox.by_id(inbound.about)
            if told is not None and (
                told.receiver == inbound.sender
                or (told.receiver.kind == "group" and told.receiver.channel == inbound.sender.channel)
            ):
                return told
        return self._outbox.last_sent_to(inbound.sender)


def _how_to_ask(card: ModelCard | None) -> list[str]:
    example = example_of(card) if card else None
    return [f"For example: {example}"] if example else []


def _named(models: Sequence[Model]) -> str:
    more = " …" if len(models) > _MOST_MODELS else ""
    return f"Models: {', '.join(model.model for model in models[:_MOST_MODELS])}{more}"


def _digest(inbound: Inbound) -> str:
    return xxhash.xxh3_128_hexdigest(f"{inbound.sender}\x1f{inbound.id}".encode())
