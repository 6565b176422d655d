"""Where a topic ends now, and all that lies before that end."""

import time
from collections.abc import Iterator

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from rollcast_common.errors import KafkaUnavailable
from rollcast_common.kafka.clients import ErrorWatch
from rollcast_common.kafka.errors import problem_from

__all__ = ["read_to_end", "topic_ends"]

_READ_SECONDS = 60.0


def topic_ends(consumer: Consumer, topic: str, servers: str) -> list[TopicPartition]:
    """A reader that begins there sees everything that is written after this call.

    Raises KafkaProblem when the topic is missing or no broker answers.
    """
    doing = f"reading {topic}"
    try:
        metadata = consumer.list_topics(topic, timeout=10).topics[topic]
        if metadata.error is not None:
            raise problem_from(metadata.error, doing, servers)
        ends = []
        for number in metadata.partitions:
            watermarks = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)
            ends.append(TopicPartition(topic, number, watermarks[1]))
    except KafkaException as error:
        raise problem_from(error.args[0], doing, servers) from None
    return ends


def read_to_end(
    consumer: Consumer, topic: str, watch: ErrorWatch, servers: str, *, timeout_seconds: float = _READ_SECONDS
) -> Iterator[Message]:
    """Every record of the topic, from its beginning to where it ends when this is called.

    The consumer is assigned anew; with isolation `read_committed` it waits for transactions that are open.
    Raises KafkaProblem; KafkaUnavailable when the end is not reached in time.
    """
    ends = {end.partition: end.offset for end in topic_ends(consumer, topic, servers)}
    places = [TopicPartition(topic, number, 0) for number in ends]
    consumer.assign(places)
    unread = {number for number, end in ends.items() if end > 0}
    deadline = time.monotonic() + timeout_seconds
    while unread:
        if time.monotonic() > deadline:
            raise KafkaUnavailable(
                f"Kafka at {servers}: reading {topic}: not at the end of partitions {sorted(unread)} after "
                f"{timeout_seconds:g} s; is a transaction open there?"
            )
        for message in consumer.consume(1000, 0.1):
            error = message.error()
            if error is None:
                yield message
            elif error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise problem_from(error, f"reading {topic}", servers)
            # Any other is news of a client that goes on by itself.
        watch.check(f"reading {topic}")
        # Not the last record's offset: in a topic written in transactions the last one is a marker.
        for place in consumer.position(places):
            if place.offset >= ends[place.partition]:
                unread.discard(place.partition)
