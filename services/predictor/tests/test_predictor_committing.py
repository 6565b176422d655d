"""Commits that nobody answers end with an error, and the slot goes on with new clients."""

import threading
from typing import TYPE_CHECKING, cast

import pytest
from confluent_kafka import Message

from rollcast_common.errors import KafkaUnavailable
from rollcast_common.kafka import ErrorWatch, KafkaBrokerParams, KafkaParams
from rollcast_predictor import committing
from rollcast_predictor.batch import Batch
from rollcast_predictor.committing import AtLeastOnceCommitter
from rollcast_predictor.heartbeat import Heartbeat

if TYPE_CHECKING:
    from confluent_kafka import Consumer

SERVERS = "127.0.0.1:1"


class NeverAnswered:
    """A consumer that was cut off from its cluster while it committed: a moment too short to be met on purpose."""

    def __init__(self) -> None:
        self.answered = threading.Event()

    def commit(self, *, offsets: object, asynchronous: bool) -> None:
        assert offsets
        assert not asynchronous
        self.answered.wait()


def test_an_unanswered_commit_of_offsets_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committing, "_ABANDONED_SECONDS", 0.1)
    consumer = NeverAnswered()
    params = KafkaParams(broker=KafkaBrokerParams(servers=SERVERS))
    committer = AtLeastOnceCommitter(
        params, ErrorWatch(SERVERS), cast("Consumer", consumer), slot="s", heartbeat=Heartbeat()
    )
    message = Message(topic="requests", partition=0, offset=7, value=b"{}")
    batch = Batch.from_messages(1, [message], "metadata", model="wine", max_request_bytes=100)
    try:
        with pytest.raises(KafkaUnavailable, match=r"committing offsets: no answer within 0\.1 s"):
            committer.commit(batch, [])
    finally:
        consumer.answered.set()
        committer.close()
