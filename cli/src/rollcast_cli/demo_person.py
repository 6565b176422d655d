"""The demo's person: asks a model by message, reads the answer, and says what it really was."""

import json
import re
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from confluent_kafka import Message

from rollcast_cli.console import Steps
from rollcast_cli.examples import Example
from rollcast_cli.local.mesibo_person import Person
from rollcast_cli.local.notifier import ADDRESS, SERVICE_ADDRESS
from rollcast_cli.local.processes import NotInTime
from rollcast_cli.local.stack import LocalStack
from rollcast_cli.stream_source import read_rows
from rollcast_common.config import load_yaml
from rollcast_common.contracts import GroundTruth, Receipt
from rollcast_common.contracts.ground_truth import decode_ground_truth
from rollcast_common.contracts.receipt import decode_receipt
from rollcast_common.kafka import ErrorWatch, make_consumer, topic_ends

__all__ = ["Talk", "talk"]

_SECONDS = 30.0
_SHOWN = 120
_ANSWER = re.compile(r" says .+ \(#(\w+)\)")


@dataclass(frozen=True, slots=True)
class Talk:
    """`receipts` are the states that the answer went through, as topic `notifications` has them."""

    answered_ms: float
    receipts: tuple[str, ...]
    truth: GroundTruth


def talk(stack: LocalStack, example: Example, rows: Path, steps: Steps, meanwhile: Callable[[], None]) -> Talk:
    """Raises NotInTime when an answer, a receipt or the label does not come."""
    row, actual = _question(example, rows)
    person = stack.mesibo.person(ADDRESS)
    stack.wait_for_channel("mesibo", meanwhile=meanwhile)
    with _Listening(stack) as listening:
        text = f"ask {example.model} {row}"
        asked_at = time.monotonic()
        person.send(text, to=SERVICE_ADDRESS)
        steps.say(f"{ADDRESS} asks by message: {text[:_SHOWN]}{'…' if len(text) > _SHOWN else ''}")
        answer = _reply(person, " says ", meanwhile)
        answered_ms = (time.monotonic() - asked_at) * 1000
        steps.say(f"  answered after {answered_ms:.0f} ms: {answer['text']}")
        person.read(answer["mid"])
        said = _ANSWER.search(answer["text"])
        if said is None:
            raise NotInTime(f"an answer that can be answered; it was {answer['text']!r}")
        person.send(f"actual {actual} #{said[1]}", to=SERVICE_ADDRESS)
        steps.say(f"  {ADDRESS} answers: actual {actual} #{said[1]}")
        steps.say(f"  {_reply(person, 'Noted', meanwhile)['text']}")
        receipts, truth = listening.until_read(meanwhile)
        steps.say(f"  receipts: {', '.join(receipts)}; label on topic feedback: {bytes(truth.actual).decode()}")
    return Talk(answered_ms, receipts, truth)


def _question(example: Example, rows: Path) -> tuple[str, str]:
    """A row's features as JSON, and what it really was: both are in the example's data."""
    config = load_yaml(example.config)
    row = json.loads(read_rows(rows)[0])
    actual = row.pop(config.get("target", "target"))
    features = config.get("features")
    names = [name for kind in features.values() for name in kind] if features else list(row)
    return json.dumps({name: row[name] for name in names}), str(actual)


def _reply(person: Person, text: str, meanwhile: Callable[[], None]) -> dict[str, Any]:
    """The next message with this text in it; what comes beside it is read, too."""
    deadline = time.monotonic() + _SECONDS
    last = "none"
    while time.monotonic() < deadline:
        for message in person.look(0.2):
            last = message["text"]
            if text in last:
                return message
            person.read(message["mid"])
        meanwhile()
    raise NotInTime(f"a message with {text!r}: not within {_SECONDS:g} s; the last one was {last!r}")


class _Listening:
    """What the notifier writes from now on about the person: receipts, and the label."""

    def __init__(self, stack: LocalStack) -> None:
        kafka = stack.stack.kafka_params()
        self._watch = ErrorWatch(kafka.broker.servers)
        self._consumer = make_consumer(
            kafka, self._watch, client_id="rollcast-demo", group_id="rollcast-demo", settings={"fetch.wait.max.ms": 10}
        )
        self._feedback = kafka.topics.full("feedback")
        topics = (kafka.topics.full("notifications"), self._feedback)
        self._consumer.assign([end for topic in topics for end in topic_ends(self._consumer, topic, "the stack")])
        self._receipts: dict[str, list[Receipt]] = defaultdict(list)
        self._truth: GroundTruth | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._consumer.close()

    def until_read(self, meanwhile: Callable[[], None]) -> tuple[tuple[str, ...], GroundTruth]:
        """The states that the answer went through, and the label."""
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline:
            for message in self._consumer.consume(100, 0.1):
                if message.error() is None:
                    self._take(message)
            truth = self._truth
            if truth is not None:
                states = tuple(receipt.state for receipt in self._receipts[truth.prediction_id])
                if "read" in states:
                    return states, truth
            meanwhile()
        raise NotInTime(f"the receipt of the answer, and the label: not within {_SECONDS:g} s")

    def _take(self, message: Message) -> None:
        if message.topic() == self._feedback:
            self._truth = decode_ground_truth(message.value() or b"")
        else:
            receipt = decode_receipt(message.value() or b"")
            if receipt.subscription == "reply":
                self._receipts[receipt.prediction_id].append(receipt)
