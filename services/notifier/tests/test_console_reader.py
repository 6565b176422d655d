"""What the console's reader makes of a broker that is slow to answer; the rest needs a real one and is in
tests/integration.
"""

from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException
from tests.env.kafka import MockKafka

from rollcast_cli.local.processes import wait_until
from rollcast_common.kafka import ErrorWatch, make_producer
from rollcast_notifier.console.reader import Record, Source, TopicReader

_SECONDS = 60.0


class SlowToAnswer:
    """A consumer that reads on while its question after the topics is not answered in time."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self.is_late = False

    def list_topics(self, *, timeout: float) -> Any:
        if self.is_late:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return self._consumer.list_topics(timeout=timeout)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)


def test_a_question_that_is_answered_late_makes_nothing_read_twice_or_taken_for_history(
    embedded_kafka: MockKafka, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollcast_notifier.console.reader._LOOK_AGAIN_SECONDS", 0.0)
    monkeypatch.setattr("rollcast_notifier.console.reader._AGAIN_SECONDS", 0.0)
    params = embedded_kafka.params.model_copy(update={"topics": embedded_kafka.create_topics(topic_prefix)})
    producer = make_producer(params, ErrorWatch(params.broker.servers), client_id="test-writer")

    def write(*values: bytes) -> None:
        for value in values:
            producer.produce(params.topics.full("app_messages"), value, value)
        assert producer.flush(_SECONDS) == 0

    read: list[Record] = []
    reader = TopicReader(params, [Source("app_messages", read.extend)], client_id="test", group_id="test")
    broker = SlowToAnswer(reader._consumer)
    reader._consumer = broker  # type: ignore[assignment]  # as good as one
    write(b"1", b"2")
    reader.start()
    try:
        wait_until(lambda: reader.is_reading and len(read) == 2, what="it reads", timeout_seconds=_SECONDS)
        broker.is_late = True
        wait_until(lambda: "not reachable" in (reader.problem or ""), what="it is told", timeout_seconds=_SECONDS)
        write(b"3", b"4")
        broker.is_late = False
        wait_until(lambda: reader.is_reading and len(read) >= 4, what="all is well", timeout_seconds=_SECONDS)
    finally:
        reader.stop()
    found = sorted((record.value, record.is_history) for record in read)
    assert found == [(b"1", True), (b"2", True), (b"3", False), (b"4", False)]
