"""The servers of the local stack as it starts them: where they listen, what they keep, how they end."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import boto3
import psutil
import pytest
from botocore.config import Config
from tests.env.kafka import params_for
from tests.env.missing import missing

from rollcast_cli.local import ports
from rollcast_cli.local.brokers import Broker, BrokerChoice, start_broker
from rollcast_cli.local.kafka_jars import KafkaBroker, available, fetch_jars
from rollcast_cli.local.ports import accepts, free_ports
from rollcast_cli.local.processes import ChildDied, wait_until
from rollcast_cli.local.s3 import S3Server, start_s3
from rollcast_common.artifacts import ArtifactStore
from rollcast_common.errors import ConfigError, RollcastError
from rollcast_common.kafka import TopicNames, check_topics, make_admin, topic_specs
from rollcast_common.kafka.clients import ErrorWatch


def listening(pid: int) -> set[str]:
    """The addresses that a process listens on."""
    return {
        connection.laddr.ip.removeprefix("::ffff:")
        for connection in psutil.Process(pid).net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    }


def wait_for_topics(broker: Broker, names: list[str]) -> None:
    """Until it has these. It learns a moment later than its controller what was created, or loaded at its start."""
    admin = make_admin(params_for(broker.servers), ErrorWatch(broker.servers), client_id="test")
    wait_until(
        lambda: sorted(admin.list_topics(timeout=30).topics) == sorted(names), what="its topics", timeout_seconds=60
    )


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
    wait_for_topics(broker, names.all_full())
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
        with pytest.raises(ConfigError, match="another broker runs on this folder"):
            started("kafka", tmp_path)
    finally:
        first.stop()
    again = started("kafka", tmp_path)
    try:
        assert again.servers != first.servers
        wait_for_topics(again, TopicNames().all_full())
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
    found = free_ports(50)
    assert len(set(found)) == 50
    assert all(15_000 <= port < 32_768 for port in found)
    assert not any(accepts(port) for port in found[:5])


def test_a_free_port_is_given_to_one_only_also_while_nobody_listens_there_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    monkeypatch.setattr(ports, "_FIRST", port)
    monkeypatch.setattr(ports, "_LAST", port + 1)
    with pytest.raises(RollcastError, match="no free port"):
        free_ports(1)
    code = "from rollcast_cli.local import ports; "
    code += f"ports._FIRST, ports._LAST = {port}, {port + 1}; print(ports.free_ports(1))"
    elsewhere = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "no free port" in elsewhere.stderr, elsewhere.stdout
