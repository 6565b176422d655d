"""The fixtures of every test in this repository; the root conftest.py registers them."""

import re
from collections.abc import Iterator
from uuid import uuid4

import pytest
from tests.env import helm as helm_module
from tests.env import kafka as kafka_module
from tests.env import kubernetes as kubernetes_module
from tests.env import s3 as s3_module
from tests.env.kubernetes_binaries import BinariesUnavailable, Say
from tests.env.missing import missing


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kafka_module.RealKafka]:
    """A real Kafka, shared: name topics and groups with `topic_prefix`."""
    with kafka_module.real_kafka(tmp_path_factory.mktemp("kafka")) as kafka:
        yield kafka


@pytest.fixture(scope="session")
def embedded_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kafka_module.MockKafka]:
    with kafka_module.mock_kafka(tmp_path_factory.mktemp("embedded-kafka")) as kafka:
        yield kafka


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3_module.S3]:
    """A real S3 server, shared: `s3.params()` makes a bucket per call."""
    with s3_module.versitygw(tmp_path_factory.mktemp("s3")) as s3:
        yield s3


@pytest.fixture(scope="session")
def moto_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3_module.S3]:
    with s3_module.moto(tmp_path_factory.mktemp("moto")) as s3:
        yield s3


@pytest.fixture(scope="session")
def kube_api(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[kubernetes_module.KubeApi]:
    """A real kube-apiserver, shared: work in a namespace of your own, `kube_api.namespace()`."""
    with kubernetes_module.kube_api(tmp_path_factory.mktemp("kubernetes"), _aloud(pytestconfig)) as api:
        yield api


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> helm_module.Helm:
    try:
        binary = helm_module.helm_binary(_aloud(pytestconfig))
    except BinariesUnavailable as error:
        missing(f"needs helm: {error}")
    return helm_module.Helm(binary, tmp_path_factory.mktemp("helm"))


def _aloud(config: pytest.Config) -> Say:
    """Past the capturing: a build takes minutes, and who waits for it wants to know."""
    capture = config.pluginmanager.getplugin("capturemanager")
    reporter = config.pluginmanager.getplugin("terminalreporter")

    def say(line: str) -> None:
        if capture is not None and reporter is not None:
            with capture.global_and_fixture_disabled():
                reporter.ensure_newline()
                reporter.write_line(line)

    return say


@pytest.fixture
def topic_prefix(request: pytest.FixtureRequest) -> str:
    """Of this test alone, readable, and short enough for a topic's name and for a group's."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:40]
    return f"{name}-{uuid4().hex[:8]}."
