"""The servers of the local stack as it starts them: where they listen, what they keep, how they end."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import boto3
import psutil
import pytest
from botocore.config import Config
from tests.env.kafka import params_for
from tests.env.missing import missing

from rollcast_cli.local.brokers import Broker, BrokerChoice, start_broker
from rollcast_cli.local.kafka_jars import KafkaBroker, available, fetch_jars
from rollcast_cli.local.ports import accepts, free_ports
from rollcast_cli.local.processes import ChildDied
from rollcast_cli.local.s3 import S3Server, start_s3
from rollcast_common.artifacts import ArtifactStore
from rollcast_common.errors import ConfigError
from rollcast_common.kafka import TopicNames, check_topics, make_admin, topic_specs
from rollcast_common.kafka.clients import ErrorWatch


def listening(pid: int) -> set[str]:
    """The addresses that a process listens on."""
    return {
        connection.laddr.ip.removeprefix("::ffff:")
        for connection in psutil.Process(pid).net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    }


def topics_on(broker: Broker) -> list[str]:
    params = params_for(broker.servers)
    admin = make_admin(params, ErrorWatch(broker.servers), client_id="test")
    return sorted(admin.list_topics(timeout=10).topics)


def started(kind: Literal["kafka", "embedded"], folder: Path) -> Broker:
    if kind == "kafka" and not (here := available()).works:
        missing(f"needs Java 17 and Maven: {here.why_not}")
    return start_broker(BrokerChoice(kind, "the test says so"), folder)


@pytest.fixture(params=["kafka", "embedded"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    broker = started(request.param, tmp_path / "a folder, with a comma")
    yield broker
    broker.stop()


def test_a_broker_listens_on_this_machine_only_makes_topics_and_ends(broker: Broker) -> None:
    names = TopicNames(prefix="local.")
    broker.create_topics(topic_specs(names, partitions=2))
    broker.create_topics(topic_specs(names, partitions=2))
    admin = make_admin(params_for(broker.servers), ErrorWatch(broker.servers), client_id="test")
    check_topics(admin, names.all_full(), servers=broker.servers)
    assert listening(broker.child.pid) == {"127.0.0.1"}
    assert broker.guarantee == {"kafka": "exactly_once", "embedded": "at_least_once"}[broker.kind]
    broker.stop()
    assert not broker.child.alive
    assert not accepts(int(broker.servers.rpartition(":")[2]))


def test_data_can_be_served_again_on_other_ports_but_by_one_broker_at_a_time(tmp_path: Path) -> None:
    first = started("kafka", tmp_path)
    try:
        first.create_topics(topic_specs(TopicNames(), partitions=1))
        before = topics_on(first)
        with pytest.raises(ConfigError, match="another broker runs on this folder"):
            started("kafka", tmp_path)
    finally:
        first.stop()
    again = started("kafka", tmp_path)
    try:
        assert again.servers != first.servers
        assert topics_on(again) == before
    finally:
        again.stop()


def test_a_broker_that_cannot_start_says_why_in_the_end_of_its_log(tmp_path: Path) -> None:
    first = started("kafka", tmp_path / "first")
    try:
        taken = int(first.servers.rpartition(":")[2])
        with pytest.raises(ChildDied, match=r"(?s)Kafka ended with exit code 1; .*Address already in use"):
            KafkaBroker(tmp_path / "second", fetch_jars(), ports=(free_ports(1)[0], taken)).start()
        with pytest.raises(ConfigError, match=f"127.0.0.1:{taken} is taken"):
            KafkaBroker(tmp_path / "third", fetch_jars(), ports=(taken, free_ports(1)[0])).start()
    finally:
        first.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = start_s3(log=tmp_path_factory.mktemp("s3") / "s3.log")
    yield server
    server.stop()


def test_s3_listens_on_this_machine_only_and_has_a_versioned_bucket(server: S3Server) -> None:
    params = server.params
    assert params.bucket == "rollcast-models"
    ArtifactStore(params).check_bucket()
    assert listening(server.child.pid) == {"127.0.0.1"}
    client = boto3.client(
        "s3",
        endpoint_url=params.endpoint_url,
        region_name=params.region,
        aws_access_key_id=params.access_key_id,
        aws_secret_access_key="any",
        config=Config(s3={"addressing_style": "path"}),
    )
    assert client.get_bucket_versioning(Bucket=params.bucket)["Status"] == "Enabled"
    client.close()


def test_s3_does_not_log_every_request(server: S3Server, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"forest")
    ArtifactStore(server.params).put_once("models/quiet.skops", tmp_path / "model")
    assert "quiet.skops" not in server.child.log.read_text()


def test_free_ports_differ_and_are_no_ports_of_outgoing_connections() -> None:
    ports = free_ports(50)
    assert len(set(ports)) == 50
    assert all(15_000 <= port < 32_768 for port in ports)
    assert not any(accepts(port) for port in ports[:5])
