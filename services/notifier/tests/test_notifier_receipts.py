"""Receipts reach their topics at least once, in order, whatever is between us and the broker."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from confluent_kafka import Producer
from tests.env.kafka import MockKafka, params_for
from tests.env.outboxes import made

from rollcast_common.contracts import Receipt
from rollcast_common.contracts.receipt import decode_receipt
from rollcast_common.kafka import ErrorWatch, KafkaParams, TopicNames, make_consumer, read_to_end
from rollcast_notifier.outbox import Outbox, OutboxProblem, Outcome
from rollcast_notifier.receipts import ReceiptPublisher

_SECONDS = 30.0
_NOBODY_LISTENS = "127.0.0.1:9"


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    outbox = Outbox(tmp_path / "outbox.db")
    yield outbox
    outbox.close()


@pytest.fixture
def names(embedded_kafka: MockKafka, topic_prefix: str) -> TopicNames:
    return embedded_kafka.create_topics(topic_prefix)


@pytest.fixture
def kafka(embedded_kafka: MockKafka, names: TopicNames) -> KafkaParams:
    return embedded_kafka.params.model_copy(update={"topics": names})


@pytest.fixture
def read(kafka: KafkaParams) -> Callable[[str], list[tuple[str, Receipt]]]:
    """Keys and receipts of a topic."""

    def read_(topic: str) -> list[tuple[str, Receipt]]:
        watch = ErrorWatch(kafka.broker.servers)
        consumer = make_consumer(kafka, watch, client_id="test-receipts", group_id="test-receipts")
        try:
            found = list(read_to_end(consumer, kafka.topics.full(topic), watch, kafka.broker.servers))
        finally:
            consumer.unassign()
            consumer.close()
        return [((m.key() or b"").decode(), decode_receipt(m.value() or b"")) for m in found]

    return read_


Read = Callable[[str], list[tuple[str, Receipt]]]


def settle(outbox: Outbox, state: str, reason: str | None = None) -> None:
    (queued,) = outbox.due("hook", 1)
    outbox.settle(Outcome(queued, state, reason=reason))  # type: ignore[arg-type]  # one of the states


def test_each_step_is_published_and_what_finally_failed_twice(outbox: Outbox, kafka: KafkaParams, read: Read) -> None:
    outbox.record([made(1), made(2), made(3, dropped="rate limit")])
    settle(outbox, "sent")
    settle(outbox, "failed", "no such user")
    publisher = ReceiptPublisher(kafka, outbox, client_id="test")
    assert publisher.step()
    assert not publisher.step()
    assert outbox.waiting_receipts() == 0
    by_request: dict[str, list[str]] = {}
    for key, receipt in read("notifications"):
        assert key == receipt.prediction_id == f"test/default/line:{receipt.request_id}"
        by_request.setdefault(receipt.request_id, []).append(receipt.state)
    assert by_request == {"r-1": ["queued", "sent"], "r-2": ["queued", "failed"], "r-3": ["failed"]}
    failed = {receipt.request_id: (receipt.reason, receipt.text) for _, receipt in read("notifications_failed")}
    assert failed == {"r-2": ("no such user", "number 2"), "r-3": ("rate limit", "number 3")}


def test_receipts_wait_in_the_outbox_while_no_broker_answers(
    outbox: Outbox, kafka: KafkaParams, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox.record([made(1)])
    nowhere = params_for(_NOBODY_LISTENS).model_copy(update={"topics": kafka.topics})
    with monkeypatch.context() as patch:
        patch.setattr("rollcast_notifier.receipts._DELIVERY_MS", 300)
        away = ReceiptPublisher(nowhere, outbox, client_id="test")
    away.start()
    deadline = time.monotonic() + _SECONDS
    while away.problem is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert outbox.waiting_receipts() == 1
    assert away.stop(time.monotonic() + _SECONDS)
    assert away.failure is None
    back = ReceiptPublisher(kafka, outbox, client_id="test")
    back.start()
    assert back.stop(time.monotonic() + _SECONDS), "what there is is published before it ends"
    assert [receipt.state for _, receipt in read("notifications")] == ["queued"]


class SlowBroker:
    """A producer whose broker acknowledges only after it was waited for three times."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._times = 0

    def flush(self, seconds: float) -> int:
        self._times += 1
        return 1 if self._times <= 3 else self._producer.flush(seconds)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)


def test_at_the_end_a_slow_broker_is_waited_for_and_gets_each_receipt_once(
    outbox: Outbox, kafka: KafkaParams, read: Read
) -> None:
    outbox.record([made(1)])
    settle(outbox, "sent")
    publisher = ReceiptPublisher(kafka, outbox, client_id="test")
    publisher._producer = SlowBroker(publisher._producer)  # type: ignore[assignment]  # as good as one
    publisher._stopping.set()
    publisher.start()
    assert publisher.stop(time.monotonic() + _SECONDS)
    assert publisher.failure is None
    assert outbox.waiting_receipts() == 0
    assert [receipt.state for _, receipt in read("notifications")] == ["queued", "sent"]


def test_an_outbox_that_could_not_be_read_for_a_moment_ends_nothing(
    outbox: Outbox, kafka: KafkaParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = ReceiptPublisher(kafka, outbox, client_id="test")
    with monkeypatch.context() as patch:

        def unreadable(_: int) -> NoReturn:
            raise OutboxProblem("the disk is away")

        patch.setattr(outbox, "transitions", unreadable)
        assert not publisher.step()
    assert publisher.problem == "the disk is away"
    assert not publisher.step()
    assert publisher.problem is None, "nothing waits, so nothing is missing"


def test_a_text_that_is_too_large_for_the_topic_is_cut(outbox: Outbox, kafka: KafkaParams, read: Read) -> None:
    outbox.record([made(1, text="long " * 400_000, dropped="rate limit")])
    ReceiptPublisher(kafka, outbox, client_id="test").step()
    assert outbox.waiting_receipts() == 0
    for topic in ("notifications", "notifications_failed"):
        ((_, receipt),) = read(topic)
        assert receipt.text is not None
        assert receipt.text.endswith(" …")
        assert len(receipt.text) < 2000


def test_a_death_between_publishing_and_forgetting_publishes_again(
    outbox: Outbox, kafka: KafkaParams, read: Read
) -> None:
    outbox.record([made(1), made(2)])
    first = ReceiptPublisher(kafka, outbox, client_id="test")
    assert first._publish(outbox.transitions(10))
    ReceiptPublisher(kafka, outbox, client_id="test").step()
    found = [receipt.request_id for _, receipt in read("notifications")]
    assert sorted(found) == ["r-1", "r-1", "r-2", "r-2"]


def test_a_publisher_that_is_left_without_brokers_begins_anew(outbox: Outbox, kafka: KafkaParams, read: Read) -> None:
    publisher = ReceiptPublisher(kafka, outbox, client_id="test")
    for _ in range(2):
        publisher._watch.take_statistics('{"name": "test", "brokers": {}}')
    assert not publisher.step()
    assert "begin anew" in str(publisher.problem)
    outbox.record([made(1)])
    assert publisher.step()
    assert publisher.failure is None
    assert [receipt.state for _, receipt in read("notifications")] == ["queued"]
