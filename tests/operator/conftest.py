"""A cluster for each test: a namespace, topics and a bucket of its own, on servers that all tests share."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.env.kafka import RealKafka
from tests.env.kubernetes import KubeApi
from tests.env.predictor import Requests, World
from tests.env.s3 import S3
from tests.operator.cluster import CRD, Cluster


@pytest.fixture(scope="session")
def api(kube_api: KubeApi) -> KubeApi:
    kube_api.install_crd(CRD)
    return kube_api


@pytest.fixture
def world(kafka: RealKafka, s3: S3, topic_prefix: str, tmp_path: Path) -> Iterator[World]:
    names = kafka.create_topics(topic_prefix)
    made = World(kafka.params, names, s3.params(), tmp_path)
    yield made
    made.stop()


@pytest.fixture
def cluster(api: KubeApi, world: World) -> Iterator[Cluster]:
    """Whatever a test is about: the shipped Role suffices, and no turn ends with a bug."""
    made = Cluster(api, world)
    yield made
    made.stop()
    said = made.said()
    if not made.may_be_forbidden:
        assert [line for line in said if "(403)" in json.dumps(line)] == []
    # What librdkafka says of a broker that is away begins with its own word.
    errors = [line["event"] for line in said if line.get("level") == "error" and not line["event"].startswith("FAIL")]
    assert set(errors) <= made.expected_errors


@pytest.fixture
def requests(world: World) -> Requests:
    return world.requests()
