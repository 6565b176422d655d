"""Where a topic ends now: a reader that begins there sees everything that is written after this call."""

from confluent_kafka import Consumer, KafkaException, TopicPartition

from rollcast_common.kafka import problem_from

__all__ = ["topic_ends"]


def topic_ends(consumer: Consumer, topic: str, servers: str) -> list[TopicPartition]:
    """Raises KafkaProblem when the topic is missing or no broker answers."""
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
