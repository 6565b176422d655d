"""What a topic holds is read whole: also what was committed a moment ago, and where nothing is left to be read."""

import pytest
from confluent_kafka import Producer, TopicPartition
from tests.env.kafka import RealKafka

from rollcast_common.errors import KafkaUnavailable
from rollcast_common.kafka import ErrorWatch, make_admin, make_consumer, make_producer, read_to_end

_SECONDS = 120.0


@pytest.fixture
def topic(kafka: RealKafka, topic_prefix: str) -> str:
    return kafka.create_topics(topic_prefix).full("dead_letters")


def producer_of(kafka: RealKafka, topic: str) -> Producer:
    producer = make_producer(
        kafka.params, ErrorWatch(kafka.servers), client_id="test-writer", settings={"transactional.id": topic}
    )
    producer.init_transactions(_SECONDS)
    return producer


def read(kafka: RealKafka, topic: str, seconds: float = _SECONDS) -> list[bytes]:
    watch = ErrorWatch(kafka.servers)
    consumer = make_consumer(kafka.params, watch, client_id="test-reader", group_id="test-reader")
    try:
        found = read_to_end(consumer, topic, watch, kafka.servers, timeout_seconds=seconds)
        return sorted(message.value() or b"" for message in found)
    finally:
        consumer.close()


def test_what_is_not_yet_committed_or_aborted_is_waited_for(kafka: RealKafka, topic: str) -> None:
    """A commit is answered before its markers are written: who read at once missed what was just committed."""
    producer = producer_of(kafka, topic)
    producer.begin_transaction()
    for partition in (0, 2):
        producer.produce(topic, b"%d" % partition, partition=partition)
    assert producer.flush(_SECONDS) == 0
    with pytest.raises(KafkaUnavailable, match=r"not at the end of partitions \[0, 2\] .*is a transaction open there"):
        read(kafka, topic, seconds=3)
    producer.commit_transaction(_SECONDS)
    assert read(kafka, topic) == [b"0", b"2"]
    for number in range(10):
        producer.begin_transaction()
        producer.produce(topic, b"more", partition=number % 4)
        producer.commit_transaction(_SECONDS)
        assert len(read(kafka, topic)) == 3 + number
    producer.begin_transaction()
    producer.produce(topic, b"aborted", partition=1)
    assert producer.flush(_SECONDS) == 0
    producer.abort_transaction(_SECONDS)
    assert len(read(kafka, topic)) == 12


def test_partitions_whose_records_were_all_deleted_are_read_at_once(kafka: RealKafka, topic: str) -> None:
    """As retention leaves a topic to which nobody has written for a week."""
    producer = make_producer(kafka.params, ErrorWatch(kafka.servers), client_id="test-writer")
    for partition in range(4):
        producer.produce(topic, b"old", partition=partition)
    assert producer.flush(_SECONDS) == 0
    admin = make_admin(kafka.params, ErrorWatch(kafka.servers), client_id="test-admin")
    for future in admin.delete_records([TopicPartition(topic, number, 1) for number in range(4)]).values():
        future.result(_SECONDS)
    assert read(kafka, topic) == []
    producer.produce(topic, b"new", partition=3)
    assert producer.flush(_SECONDS) == 0
    assert read(kafka, topic) == [b"new"]
