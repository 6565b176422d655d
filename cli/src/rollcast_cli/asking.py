"""One request in, its answer out: what `rollcast predict` does."""

import json
import secrets
import time
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message

from rollcast_common.contracts import REQUEST_ID_HEADER, decode_prediction
from rollcast_common.contracts.dead_letter import parse_dead_letter, replayed_place
from rollcast_common.contracts.request import MODEL_HEADER
from rollcast_common.errors import ConfigError, ContractError, KafkaUnavailable, RollcastError
from rollcast_common.kafka import (
    ErrorWatch,
    KafkaParams,
    make_consumer,
    make_producer,
    problem_from,
    reach_broker,
    topic_ends,
)

__all__ = ["Refused", "ask"]


class Refused(RollcastError):
    """The request became a dead letter; the text says why."""


def ask(kafka: KafkaParams, row: str, *, key: str | None, model: str | None, timeout_seconds: float) -> dict[str, Any]:
    """Send `row` (a JSON object) and wait for its prediction.

    Raises ConfigError when it is no JSON object, Refused when the model cannot take it, KafkaUnavailable when no
    answer comes in time.
    """
    try:
        if not isinstance(json.loads(row), dict):
            raise ConfigError(f"expected a JSON object of features, such as '{{\"year\": 2015}}', was {row[:60]!r}")
    except ValueError as error:
        raise ConfigError(f"not JSON: {error}; expected an object of features, such as '{{\"year\": 2015}}'") from None
    reach_broker(kafka, client_id="rollcast-predict")
    watch = ErrorWatch(kafka.broker.servers)
    consumer = make_consumer(
        kafka, watch, client_id="rollcast-predict", group_id="rollcast-predict", settings={"fetch.wait.max.ms": 10}
    )
    try:
        request_id = f"ask-{secrets.token_hex(8)}"
        topics = [kafka.topics.full("app_messages"), kafka.topics.full("dead_letters")]
        # Their ends before the request is sent: its answer can only come after.
        consumer.assign([part for topic in topics for part in topic_ends(consumer, topic, kafka.broker.servers)])
        headers: list[tuple[str, bytes | str | None]] = [(REQUEST_ID_HEADER, request_id)]
        if model:
            headers.append((MODEL_HEADER, model))
        _send(kafka, watch, row, key or request_id, headers)
        return _answer(consumer, watch, request_id, topics[0], timeout_seconds)
    finally:
        consumer.close()


def _send(
    kafka: KafkaParams, watch: ErrorWatch, row: str, key: str, headers: list[tuple[str, bytes | str | None]]
) -> None:
    producer = make_producer(
        kafka, watch, client_id="rollcast-predict", settings={"linger.ms": 0, "delivery.timeout.ms": 10_000}
    )
    topic = kafka.topics.full("requests")
    failures: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failures.append(error)

    try:
        producer.produce(topic, row.encode(), key, headers=headers, on_delivery=delivered)
    except KafkaException as error:  # too large for the client itself
        raise problem_from(error.args[0], f"writing to {topic}", kafka.broker.servers) from None
    left = producer.flush(15)
    watch.check(f"writing to {topic}")
    if failures:
        raise problem_from(failures[0], f"writing to {topic}", kafka.broker.servers)
    if left:
        raise KafkaUnavailable(f"Kafka at {kafka.broker.servers}: the request was not acknowledged in 15 s")


def _answer(
    consumer: Consumer, watch: ErrorWatch, request_id: str, predictions: str, timeout_seconds: float
) -> dict[str, Any]:
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        first = consumer.poll(0.1)
        watch.check("waiting for the answer")
        for message in [] if first is None else [first, *consumer.consume(500, 0)]:
            if message.error() is not None:
                continue
            try:
                if message.topic() == predictions:
                    prediction = decode_prediction(message.value() or b"")
                    if prediction.request_id == request_id:
                        answer: dict[str, Any] = json.loads(message.value() or b"{}")
                        return answer
                elif replayed_place(message.headers()) is None:  # type: ignore[arg-type]  # a list, or None
                    letter = parse_dead_letter(message.headers())  # type: ignore[arg-type]  # a list, or None
                    if letter.request_id == request_id:
                        raise Refused(f"{letter.reason}: {letter.message} (model {letter.model}@{letter.version})")
            except ContractError:
                continue  # somebody else's, on the same topic
    raise KafkaUnavailable(
        f"no answer in {timeout_seconds:g} s: is a predictor running, and does it serve a model (`rollcast status`)?"
    )
