"""The Kafka and the S3 of values-dev.yaml, as their pods would be started, on the real programs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from confluent_kafka import TopicPartition
from tests.chart.conftest import Render
from tests.chart.rendered import DEV, named
from tests.env import s3 as s3_module
from tests.env.missing import missing

from rollcast_cli.local.kafka_jars import JarsUnavailable, available, fetch_jars
from rollcast_cli.local.ports import accepts, free_ports
from rollcast_cli.local.processes import start, wait_until
from rollcast_common.kafka import (
    ErrorWatch,
    KafkaBrokerParams,
    KafkaParams,
    create_topics,
    make_admin,
    make_consumer,
    make_producer,
    topic_specs,
)

Json = dict[str, Any]

_SECONDS = 120.0


@pytest.fixture
def trial_kafka(render: Render, tmp_path: Path) -> Iterator[KafkaParams]:
    here = available()
    if not here.works:
        missing(f"needs Java 17 and Maven: {here.why_not}")
    try:
        jars = fetch_jars()
    except JarsUnavailable as error:
        missing(f"needs Java 17 and Maven: {error}")
    objects = render(DEV)
    clients, controllers = free_ports(2)
    text = named(objects, "ConfigMap", "rollcast-dev-kafka")["data"]["server.properties"]
    for there, here_is in (
        ("rollcast-dev-kafka.ml.svc", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),  # noqa: S104  # it is what is replaced
        (":9092", f":{clients}"),
        (":9093", f":{controllers}"),
        ("/var/lib/kafka/data", str(tmp_path)),
    ):
        assert there in text
        text = text.replace(there, here_is)
    properties = tmp_path / "server.properties"
    properties.write_text(text, encoding="utf-8")
    variables = _container(objects, "rollcast-dev-kafka")["env"]
    (cluster_id,) = [variable["value"] for variable in variables if variable["name"] == "CLUSTER_ID"]
    java = ["java", "-Xmx384m", "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*"]
    format_it = ["kafka.tools.StorageTool", "format", "--cluster-id", cluster_id, "--config", str(properties)]
    formatting = start([*java, *format_it], role="format", log=tmp_path / "format.log")
    wait_until(lambda: not formatting.alive, what="the folder is formatted", timeout_seconds=_SECONDS)
    broker = start([*java, "kafka.Kafka", str(properties)], role="kafka", log=tmp_path / "kafka.log")
    try:
        wait_until(lambda: accepts(clients), what="Kafka answers", timeout_seconds=_SECONDS, children=[broker])
        yield KafkaParams(broker=KafkaBrokerParams(servers=f"127.0.0.1:{clients}"))
    finally:
        broker.stop(grace_seconds=30)


def test_its_broker_takes_transactions(trial_kafka: KafkaParams) -> None:
    """It ends them by sending itself markers, over the listener that it advertises."""
    servers = trial_kafka.broker.servers
    watch = ErrorWatch(servers)
    admin = make_admin(trial_kafka, watch, client_id="test")
    create_topics(admin, topic_specs(trial_kafka.topics, partitions=1), replication=-1, servers=servers)
    producer = make_producer(trial_kafka, watch, client_id="test", settings={"transactional.id": "test"})
    producer.init_transactions(_SECONDS)
    producer.begin_transaction()
    producer.produce("app_messages", b"said", b"key")
    producer.commit_transaction(_SECONDS)
    settings = {"auto.offset.reset": "earliest", "isolation.level": "read_committed"}
    consumer = make_consumer(trial_kafka, watch, client_id="test", group_id="test", settings=settings)
    consumer.assign([TopicPartition("app_messages", 0, 0)])
    message = consumer.poll(_SECONDS)
    consumer.close()
    assert message is not None
    assert message.value() == b"said"


def test_its_bucket_is_there_and_holds_what_is_put_once(render: Render, tmp_path: Path) -> None:
    binary = s3_module._versitygw_binary()
    objects = render(DEV)
    container = _container(objects, "rollcast-dev-s3")
    (port,) = free_ports(1)
    for mount in container["volumeMounts"]:
        (tmp_path / mount["mountPath"].lstrip("/")).mkdir(parents=True, exist_ok=True)
    arguments = [text.replace("/data", str(tmp_path / "data")) for text in container["args"]]
    arguments[arguments.index("--port") + 1] = f"127.0.0.1:{port}"
    names = [variable["name"] for variable in container["env"]]
    keys = dict.fromkeys(names, uuid4().hex)
    server = start([str(binary), *arguments], role="versitygw", log=tmp_path / "s3.log", environ=keys)
    try:
        wait_until(lambda: accepts(port), what="versitygw answers", timeout_seconds=_SECONDS, children=[server])
        client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            region_name="us-east-1",
            aws_access_key_id=keys["ROOT_ACCESS_KEY_ID"],
            aws_secret_access_key=keys["ROOT_SECRET_ACCESS_KEY"],
        )
        client.put_object(Bucket="rollcast-models", Key="models/a", Body=b"first", IfNoneMatch="*")
        with pytest.raises(client.exceptions.ClientError, match="PreconditionFailed"):
            client.put_object(Bucket="rollcast-models", Key="models/a", Body=b"second", IfNoneMatch="*")
        assert client.get_object(Bucket="rollcast-models", Key="models/a")["Body"].read() == b"first"
    finally:
        server.stop()


def _container(objects: list[Json], name: str) -> Json:
    (container,) = named(objects, "StatefulSet", name)["spec"]["template"]["spec"]["containers"]
    found: Json = container
    return found
