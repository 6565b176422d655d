"""What `rollcast status` says of a Kafka that stops answering while it is asked."""

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from rollcast_cli import status
from rollcast_cli.connection import Connection
from rollcast_common.errors import KafkaUnavailable
from rollcast_common.kafka import KafkaBrokerParams, KafkaParams


class _Consumer:
    def __init__(self, answers: int) -> None:
        self._answers = answers

    def _answer(self) -> None:
        if self._answers == 0:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "timed out", False, True))  # noqa: FBT003  # librdkafka's
        self._answers -= 1

    def list_topics(self, topic: str | None = None, timeout: float = 0) -> Any:  # noqa: ARG002  # as librdkafka's
        self._answer()
        found = type("Topic", (), {"error": None, "partitions": {0: None}})
        return type("Cluster", (), {"topics": {"requests": found}})

    def get_watermark_offsets(self, _: TopicPartition, timeout: float) -> tuple[int, int]:  # noqa: ARG002  # the same
        self._answer()
        return 0, 5

    def close(self) -> None: ...


@pytest.mark.parametrize("answers", range(4))
def test_a_kafka_that_stops_answering_is_one_line(monkeypatch: pytest.MonkeyPatch, answers: int) -> None:
    monkeypatch.setattr(status, "reach_broker", lambda *_, **__: None)
    monkeypatch.setattr(status, "make_consumer", lambda *_, **__: _Consumer(answers))
    kafka = KafkaParams(broker=KafkaBrokerParams(servers="127.0.0.1:1"))
    with pytest.raises(KafkaUnavailable, match=r"^Kafka at 127\.0\.0\.1:1: "):
        status.collect_status(Connection(kafka, None))
