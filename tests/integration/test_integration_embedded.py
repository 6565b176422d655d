"""On the embedded broker, which keeps no transactional offsets, a slot promises at least once and keeps that."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.env.kafka import MockKafka
from tests.env.predictor import World
from tests.env.s3 import S3


@pytest.fixture
def embedded(embedded_kafka: MockKafka, moto_s3: S3, topic_prefix: str, tmp_path: Path) -> Iterator[World]:
    names = embedded_kafka.create_topics(topic_prefix)
    made = World(embedded_kafka.params, names, moto_s3.params(), tmp_path)
    yield made
    made.stop()


def test_everything_is_answered_at_least_once_also_over_a_kill(embedded: World) -> None:
    embedded.publish("v1", 2)
    guarantee = ("--guarantee", "at_least_once")
    slot = embedded.serve("v1", *guarantee)
    requests = embedded.requests()
    requests.send_x(range(2000))
    requests.send(b"not json", b"bad")
    requests.flush()
    slot.wait(lambda: slot.metric("predictions_total")[""] >= 500, "some answers")
    slot.kill()
    again = embedded.serve("v1", *guarantee)
    requests.send_x(range(2000, 3000))
    embedded.wait_answered(requests, [again])

    answers = embedded.read()
    topic = embedded.names.full("requests")
    wanted = Counter(sent.request_id(topic) for sent in requests.sent)
    found = answers.times_answered()
    assert found.keys() == wanted.keys()
    assert {letter.reason.value for letter, _ in answers.dead_letters} == {"not-json"}
    for _, prediction in answers.predictions:
        assert prediction.version == "v1"
    assert again.terminate() == 0
