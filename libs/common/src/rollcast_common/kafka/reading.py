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
    found = _watermarks(consumer, topic, servers)
    return [TopicPartition(topic, number, end) for number, (_, end) in found.items()]


def _watermarks(consumer: Consumer, topic: str, servers: str) -> dict[int, tuple[int, int]]:
    """Of each partition where it begins and where it ends; to a consumer of committed records, before what is open."""
    doing = f"reading {topic}"
    try:
        metadata = consumer.list_topics(topic, timeout=10).topics[topic]
        if metadata.error is not None:
            raise problem_from(metadata.error, doing, servers)
        return {
            number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)
            for number in metadata.partitions
        }
    except KafkaException as error:
        raise problem_from(error.args[0], doing, servers) from None


def read_to_end(
    consumer: Consumer, topic: str, watch: ErrorWatch, servers: str, *, timeout_seconds: float = _READ_SECONDS
) -> Iterator[Message]:
    """Every record of the topic, from its beginning to where it ends when this is called.

    The consumer is assigned here and must be a fresh one, which knows no ends of an earlier assignment. With isolation
    `read_committed` open transactions are waited for; one stays open for a moment after its writer was told that it is
    committed.
    Raises KafkaProblem; KafkaUnavailable when the end is not reached in time.
    """
    found = _watermarks(consumer, topic, servers)
    places = [TopicPartition(topic, number, low) for number, (low, _) in found.items()]
    consumer.assign(places)
    ends: dict[int, int] = {}
    unread = set(found)
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
            low, committed_end = found[place.partition]
            if place.partition not in ends:
                # Only the answer to a fetch says where the partition ends with what is still open.
                end = consumer.get_watermark_offsets(TopicPartition(topic, place.partition), cached=True)[1]
                if end < 0:
                    continue
                ends[place.partition] = max(end, committed_end)
            if max(place.offset, low) >= ends[place.partition]:
                unread.discard(place.partition)
