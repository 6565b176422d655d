"""The console's reader on a real Kafka: where it begins, what it survives, and that it holds nobody up."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions
from tests.env.kafka import MockKafka, RealKafka

from rollcast_cli.local.processes import wait_until
from rollcast_common.kafka import ErrorWatch, KafkaParams, create_topics, make_admin, make_producer, topic_specs
from rollcast_notifier.console import reader as reader_module
from rollcast_notifier.console.reader import Record, Source, TopicReader

_SECONDS = 180.0


@pytest.fixture
def params(kafka: RealKafka, topic_prefix: str) -> KafkaParams:
    return kafka.params.model_copy(update={"topics": kafka.create_topics(topic_prefix)})


@contextmanager
def reading(
    params: KafkaParams, topic: str = "app_messages", last: int | None = None
) -> Iterator[tuple[TopicReader, list[Record]]]:
    read: list[Record] = []
    source = Source(topic, read.extend, last=last)
    reader = TopicReader(params, [source], client_id="test-reader", group_id=f"{params.topics.prefix}test")
    reader.start()
    try:
        yield reader, read
    finally:
        reader.stop()


def write(params: KafkaParams, values: Sequence[int], topic: str = "app_messages") -> None:
    producer = make_producer(params, ErrorWatch(params.broker.servers), client_id="test-writer")
    for value in values:
        producer.produce(params.topics.full(topic), str(value).encode(), b"key-%d" % value)
    assert producer.flush(120) == 0


def wait(condition: Callable[[], object], what: str) -> None:
    wait_until(condition, what=what, timeout_seconds=_SECONDS)


def values(read: Sequence[Record]) -> list[int]:
    return sorted(int(record.value or b"-1") for record in read)


def test_it_begins_a_little_before_the_end_and_tells_what_is_new(params: KafkaParams) -> None:
    write(params, range(1000))
    with reading(params, last=40) as (reader, read):
        wait(lambda: reader.is_reading and len(read) >= 30, "the last ones are read")
        write(params, [5000])
        wait(lambda: 5000 in values(read), "the new one is read")
        assert len(read) <= 41  # ten of each of four partitions
        assert [int(record.value or b"") for record in read if not record.is_history] == [5000]


def test_the_embedded_broker_is_read_alike(embedded_kafka: MockKafka, topic_prefix: str) -> None:
    params = embedded_kafka.params.model_copy(update={"topics": embedded_kafka.create_topics(topic_prefix)})
    write(params, range(100))
    with reading(params, last=40) as (reader, read):
        wait(lambda: reader.is_reading and len(read) >= 20, "the last ones are read")
        write(params, [5000])
        wait(lambda: 5000 in values(read), "the new one is read")
        assert len(read) <= 41


def test_a_table_is_read_whole(params: KafkaParams) -> None:
    write(params, range(50), "assignments")
    with reading(params, "assignments") as (_, read):
        wait(lambda: values(read) == list(range(50)), "all are read")
        assert all(record.is_history for record in read)


def test_it_commits_nothing_and_is_in_no_group(params: KafkaParams) -> None:
    write(params, range(10))
    with reading(params, last=100) as (_, read):
        wait(lambda: len(read) == 10, "all are read")
        admin = make_admin(params, ErrorWatch(params.broker.servers), client_id="test-admin")
        group = f"{params.topics.prefix}test"
        assert group not in [found.group_id for found in admin.list_consumer_groups().result(30).valid]
        asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])
        assert asked[group].result(30).topic_partitions == []


def test_a_topic_that_is_made_anew_is_read_again(params: KafkaParams) -> None:
    write(params, range(10))
    admin = make_admin(params, ErrorWatch(params.broker.servers), client_id="test-admin")
    topic = params.topics.full("app_messages")
    with reading(params, last=100) as (reader, read):
        wait(lambda: len(read) == 10, "all are read")
        admin.delete_topics([topic])[topic].result(30)
        wait(lambda: f"no topic {topic}" in (reader.problem or ""), "it is missed")
        specs = [spec for spec in topic_specs(params.topics, partitions=4) if spec.name == topic]
        create_topics(admin, specs, replication=1, servers=params.broker.servers)
        wait(lambda: reader.is_reading, "it is found again")
        write(params, [7777])
        wait(lambda: 7777 in values(read), "it is read again")


def test_an_outage_is_told_and_survived(kafka: RealKafka, params: KafkaParams) -> None:
    write(params, range(10))
    with reading(params, last=100) as (reader, read):
        wait(lambda: len(read) == 10, "all are read")
        kafka.kill()
        try:
            wait(lambda: reader.problem is not None, "the outage is told")
        finally:
            kafka.restart()
        write(params, [7777])
        wait(lambda: 7777 in values(read), "it reads again")
        wait(lambda: reader.problem is None, "all is well")


def test_who_is_far_behind_goes_on_at_the_end(params: KafkaParams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "_MOST_BEHIND", 1000)
    monkeypatch.setattr(reader_module, "_LOOK_AGAIN_SECONDS", 0.0)
    read: list[Record] = []

    def slowly(records: Sequence[Record]) -> None:
        """As far as somebody writes faster than it is read."""
        if not read:
            write(params, range(20_000))
        read.extend(records)

    source = Source("app_messages", slowly, last=10)
    reader = TopicReader(params, [source], client_id="test-reader", group_id=f"{params.topics.prefix}test")
    reader.start()
    try:
        wait(lambda: reader.is_reading, "it reads")
        write(params, [1])
        wait(lambda: reader.passed_over > 0, "it has passed some over")
        numbers = count(90_000)

        def reads_what_is_new() -> bool:
            """Not each one: another partition may just be found to be far behind."""
            write(params, [next(numbers)])
            return any(value >= 90_000 for value in values(read))

        wait(reads_what_is_new, "it reads what is new")
    finally:
        reader.stop()
    assert len([value for value in values(read) if value < 90_000]) < 20_001
