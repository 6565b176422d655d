"""A world for each test: topics, bucket and cache of its own, on brokers that all tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.env.kafka import RealKafka
from tests.env.predictor import World
from tests.env.s3 import S3


@pytest.fixture
def world(kafka: RealKafka, s3: S3, topic_prefix: str, tmp_path: Path) -> Iterator[World]:
    names = kafka.create_topics(topic_prefix)
    made = World(kafka.params, names, s3.params(), tmp_path)
    yield made
    made.stop()
