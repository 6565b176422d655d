"""Topics that were created are there for whoever asks next."""

from concurrent.futures import Future
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.cimpl import NewTopic

from rollcast_common.kafka import create_topics
from rollcast_common.kafka.topics import TopicSpec

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

TOPICS = [TopicSpec("requests", 4), TopicSpec("train", 1)]


class SlowToKnow:
    """A cluster whose controller creates at once and whose broker learns of it when it was asked some times: on a
    real one the moment is too short to be met on purpose.
    """

    def __init__(self, *lists: dict[str, KafkaError | None] | KafkaError) -> None:
        self._lists = list(lists)

    def create_topics(self, topics: list[NewTopic], request_timeout: float) -> dict[str, Future[None]]:
        assert request_timeout > 0
        futures: dict[str, Future[None]] = {topic.topic: Future() for topic in topics}
        for future in futures.values():
            future.set_result(None)
        return futures

    def list_topics(self, timeout: float) -> SimpleNamespace:
        assert timeout > 0
        known = self._lists.pop(0)
        if isinstance(known, KafkaError):
            raise KafkaException(known)
        return SimpleNamespace(topics={name: SimpleNamespace(error=error) for name, error in known.items()})

    def was_asked_enough(self) -> bool:
        return not self._lists


@pytest.mark.parametrize(
    "lists",
    [
        [{"requests": None, "train": None}],
        [{}, {"requests": None}, {"requests": None, "train": None}],
        [{"requests": KafkaError(KafkaError.LEADER_NOT_AVAILABLE), "train": None}, {"requests": None}],
        # Who is not told is not kept from going on: the topics are there.
        [{}, KafkaError(KafkaError._TIMED_OUT)],
    ],
    ids=["known at once", "one after the other", "without a leader yet", "the broker does not say"],
)
def test_created_topics_are_waited_for_until_the_broker_knows_them(
    lists: list[dict[str, KafkaError | None] | KafkaError],
) -> None:
    cluster = SlowToKnow(*lists)
    created = create_topics(cast("AdminClient", cluster), TOPICS, replication=1, servers="b:1")
    assert created == {"requests": True, "train": True}
    assert cluster.was_asked_enough()
