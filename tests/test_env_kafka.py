"""The brokers that other tests rest on do what those tests assume."""

import os
import time

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin._metadata import TopicMetadata  # where its type is
from tests.env.kafka import MockKafka, RealKafka

from rollcast_cli.local.processes import wait_until
from rollcast_common.errors import KafkaUnavailable
from rollcast_common.kafka import KafkaParams, make_admin, make_consumer, make_producer, reach_broker
from rollcast_common.kafka.clients import ErrorWatch

SECONDS = 120.0


def producer_of(params: KafkaParams, transactional_id: str) -> Producer:
    producer = make_producer(
        params,
        ErrorWatch(params.broker.servers),
        client_id="test",
        settings={"transactional.id": transactional_id},
    )
    producer.init_transactions(SECONDS)
    return producer


def read(params: KafkaParams, topic: str, count: int) -> list[bytes]:
    """Up to `count` committed values from the beginning."""
    consumer: Consumer = make_consumer(
        params, ErrorWatch(params.broker.servers), client_id="test", group_id=f"reader-of-{topic}"
    )
    values: list[bytes] = []
    deadline = time.monotonic() + SECONDS
    try:
        consumer.subscribe([topic])
        while len(values) < count and time.monotonic() < deadline:
            for message in consumer.consume(count, timeout=0.2):
                if message.error() is not None:
                    continue  # news of a client that goes on by itself: its topic is not known yet, its broker away
                value = message.value()
                assert isinstance(value, bytes)
                values.append(value)
    finally:
        consumer.close()
    return values


def transaction(producer: Producer, topic: str, values: list[bytes], *, commit: bool) -> None:
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value, key="one partition")
    if commit:
        producer.commit_transaction(SECONDS)
    else:
        producer.flush(SECONDS)
        producer.abort_transaction(SECONDS)


def test_topics_get_their_partitions_and_creating_them_again_changes_nothing(
    kafka: RealKafka, topic_prefix: str
) -> None:
    kafka.create_topics(topic_prefix, partitions=3)
    names = kafka.create_topics(topic_prefix, partitions=3)
    admin = make_admin(kafka.params, ErrorWatch(kafka.servers), client_id="test")

    def are_known() -> dict[str, TopicMetadata] | None:
        """The broker learns of them a moment after its controller."""
        topics = admin.list_topics(timeout=SECONDS).topics
        return topics if topics.keys() >= set(names.all_full()) else None

    topics = wait_until(are_known, what="the broker knows them", timeout_seconds=SECONDS)
    assert topics is not None
    assert len(topics[names.full("requests")].partitions) == 3
    assert len(topics[names.full("train")].partitions) == 1


def test_only_committed_records_are_read(kafka: RealKafka, topic_prefix: str) -> None:
    topic = kafka.create_topics(topic_prefix).full("app_messages")
    producer = producer_of(kafka.params, f"{topic_prefix}writer")
    transaction(producer, topic, [b"aborted"], commit=False)
    transaction(producer, topic, [b"committed"], commit=True)
    assert read(kafka.params, topic, 1) == [b"committed"]


def test_a_dead_letter_of_the_largest_size_fits(kafka: RealKafka, topic_prefix: str) -> None:
    topic = kafka.create_topics(topic_prefix).full("dead_letters")
    params = kafka.params
    producer = make_producer(
        params, ErrorWatch(params.broker.servers), client_id="test", settings={"message.max.bytes": 10_000_000}
    )
    refused: list[object] = []
    producer.produce(
        topic,
        os.urandom(8_000_000),  # nothing that compression could make small
        on_delivery=lambda error, _: refused.append(error) if error else None,
    )
    assert producer.flush(SECONDS) == 0
    assert refused == []


def test_a_killed_broker_comes_back_on_its_port_with_its_records(kafka: RealKafka, topic_prefix: str) -> None:
    topic = kafka.create_topics(topic_prefix).full("app_messages")
    producer = producer_of(kafka.params, f"{topic_prefix}writer")
    transaction(producer, topic, [b"before"], commit=True)
    # Its end is written: a single broker that is killed while it completes a transaction may forget half of it.
    assert read(kafka.params, topic, 1) == [b"before"]
    servers, pid = kafka.servers, kafka.pid
    kafka.kill()
    try:
        with pytest.raises(KafkaUnavailable, match="not reachable"):
            reach_broker(kafka.params, client_id="test", timeout_seconds=0.5)
    finally:
        kafka.restart()
    assert kafka.servers == servers
    assert kafka.pid != pid
    transaction(producer, topic, [b"after"], commit=True)
    assert read(kafka.params, topic, 2) == [b"before", b"after"]


def test_the_embedded_kafka_has_the_topics_that_were_asked_for(embedded_kafka: MockKafka, topic_prefix: str) -> None:
    names = embedded_kafka.create_topics(topic_prefix)
    params = embedded_kafka.params
    admin = make_admin(params, ErrorWatch(params.broker.servers), client_id="test")
    topics = admin.list_topics(timeout=10).topics
    assert {name: len(topics[name].partitions) for name in names.all_full()} == dict.fromkeys(names.all_full(), 4)


def test_what_is_written_to_the_embedded_kafka_is_read_from_it(embedded_kafka: MockKafka, topic_prefix: str) -> None:
    topic = embedded_kafka.create_topics(topic_prefix).full("requests")
    params = embedded_kafka.params
    producer = make_producer(params, ErrorWatch(params.broker.servers), client_id="test")
    for number in range(10):
        producer.produce(topic, str(number).encode(), key=str(number).encode())
    assert producer.flush(SECONDS) == 0
    assert sorted(read(params, topic, 10)) == [str(number).encode() for number in range(10)]
