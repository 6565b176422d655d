"""What really happened, and where it is written to: topic `feedback`, from which the next model learns."""

from typing import Any

import msgspec

from rollcast_common.contracts import GroundTruth
from rollcast_common.contracts.ground_truth import encode_ground_truth
from rollcast_common.kafka import KafkaParams
from rollcast_common.models.card import ModelCard
from rollcast_notifier.inbound.numbers import NotANumber, read_number
from rollcast_notifier.inbound.writing import Writer

__all__ = ["FeedbackWriter", "NotAnActual", "understand_actual"]

_YES_NO = {"true": True, "yes": True, "false": False, "no": False}
_MOST_CHARACTERS = 200
_MOST_NAMED = 20


class NotAnActual(ValueError):
    """Says in a sentence what would be one."""


class FeedbackWriter:
    def __init__(self, kafka: KafkaParams) -> None:
        self._writer = Writer(kafka, client_id="rollcast-notifier-feedback")

    def record(self, truth: GroundTruth) -> None:
        """Returns when Kafka has it. Raises KafkaProblem."""
        self._writer.write("feedback", truth.prediction_id, encode_ground_truth(truth))


def understand_actual(written: str, predicted: Any, card: ModelCard | None) -> tuple[Any, str | None]:
    """The value, and what was understood where it was not plain. It is of the prediction's kind: a number for a
    number, one of the card's classes for a class. Raises NotAnActual.
    """
    if card is not None and card.task == "classification" and card.classes:
        return _one_of(written, card.classes), None
    if isinstance(predicted, bool):
        if written.lower() not in _YES_NO:
            raise NotAnActual(f"I predicted {_json(predicted)}, so I expect true or false, not {written!r}.")
        return _YES_NO[written.lower()], None
    if isinstance(predicted, int | float):
        try:
            number = read_number(written)
        except NotANumber as problem:
            raise NotAnActual(f"I predicted a number ({predicted:g}), so I expect one. {problem}") from None
        return number.value, number.note
    if isinstance(predicted, str):
        return _class_name(written, predicted), None
    raise NotAnActual("That prediction has several values; what really happened cannot be told in a message.")


def _one_of(written: str, classes: tuple[Any, ...]) -> Any:
    by_text = {str(name).lower(): name for name in classes}
    if written.lower() in by_text:
        return by_text[written.lower()]
    named = ", ".join(str(name) for name in classes[:_MOST_NAMED])
    more = " …" if len(classes) > _MOST_NAMED else ""
    raise NotAnActual(f"{written!r} is none of {named}{more}.")


def _class_name(written: str, predicted: str) -> str:
    try:
        read_number(written)
    except NotANumber:
        if len(written) > _MOST_CHARACTERS:
            raise NotAnActual(f"A class has at most {_MOST_CHARACTERS} characters.") from None
        return predicted if written.lower() == predicted.lower() else written
    raise NotAnActual(f"I predicted a class ({predicted}), so I expect the name of one, not the number {written}.")


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
