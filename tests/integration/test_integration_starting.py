"""A slot that cannot start says why: exit code 1, soon, in one line that names what, where and what to do."""

import re
import socket
from pathlib import Path

import pytest
from tests.env.kafka import params_for, sasl_kafka
from tests.env.predictor import Slot, World
from tests.env.s3 import S3

from rollcast_cli.local.ports import free_ports
from rollcast_common.kafka import TopicNames

NOBODY = "127.0.0.1:9"
SOON_SECONDS = 180.0
"""On a machine with much else to do a slot has been seen to take 70 s to start."""


def last_words(slot: Slot, kind: str) -> str:
    """The one line, and that nothing else on the way out is a riddle."""
    assert slot.wait_for_end(SOON_SECONDS) == 1
    [line] = slot.events("predictor stopped")
    assert line == slot.lines()[-1]
    assert line["kind"] == kind
    assert line["level"] == "error"
    text = str(line["problem"])
    assert "\n" not in text
    log = slot.child.log.read_text(encoding="utf-8")
    assert "Traceback" not in log
    return text


@pytest.fixture
def unreachable(s3: S3, tmp_path: Path) -> World:
    """What a slot is told when Kafka is not where it is said to be."""
    return World(params_for(NOBODY), TopicNames(), s3.params_without_bucket(), tmp_path)


def test_nobody_listens_at_the_address_of_kafka(unreachable: World) -> None:
    slot = unreachable.start("--startup-timeout-seconds", "1")
    text = last_words(slot, "KafkaUnavailable")
    assert text.startswith(f"Kafka at {NOBODY}: connecting: not reachable (")
    assert "is the broker running, and are the address (broker.servers or ROLLCAST_KAFKA_SERVERS)" in text


@pytest.mark.parametrize(
    ("setting", "value", "named"),
    [
        ("ROLLCAST_LOG_LEVEL", "loud", "log level was 'loud', may be debug, info, warning, error, critical"),
        ("ROLLCAST_LOG_FORMAT", "xml", "log format was 'xml', may be json or console"),
        ("ROLLCAST_GUARANTEE", "twice", r"guarantee was 'twice', should be 'exactly_once' or 'at_least_once'"),
        ("ROLLCAST_MODEL", "My Model", "model was 'My Model', may be lower-case letters"),
        ("ROLLCAST_KAFKA_SERVERS", "localhost", "broker.servers: was 'localhost', may be host:port"),
        ("ROLLCAST_KAFKA_SECURITY_PROTOCOL", "SASL_SSL", "security_protocol SASL_SSL needs sasl_mechanism"),
        ("ROLLCAST_S3_ENDPOINT_URL", "here", "endpoint_url was 'here'"),
    ],
)
def test_a_wrong_setting_is_named_with_what_it_was(unreachable: World, setting: str, value: str, named: str) -> None:
    slot = unreachable.start(environ={setting: value})
    assert named in last_words(slot, "ConfigError")


def test_a_property_that_the_client_does_not_know_is_named(world: World) -> None:
    config = world.folder / "kafka_config.yaml"
    config.write_text("consumer:\n  properties:\n    fetch.wurst.ms: 1\n", encoding="utf-8")
    text = last_words(world.start("--kafka-config", str(config)), "ConfigError")
    assert 'No such configuration property: "fetch.wurst.ms"' in text
    assert "consumer.properties.fetch.wurst.ms" in text


def test_a_missing_topic_is_named(world: World) -> None:
    prefix = f"{world.names.prefix}other."
    slot = world.start(environ={"ROLLCAST_TOPIC_PREFIX": prefix})
    text = last_words(slot, "TopicMissing")
    topics = ("requests", "app_messages", "dead_letters", "assignments", "predictor_status", "shadow_predictions")
    names = ", ".join(f"{prefix}{name}" for name in topics)
    assert text.startswith(f"Kafka at {world.kafka.broker.servers}: no topic {names}; create with `rollcast topics")


def test_a_port_in_use_is_named(unreachable: World) -> None:
    with socket.create_server(("127.0.0.1", free_ports(1)[0])) as taken:
        port = taken.getsockname()[1]
        slot = unreachable.start(environ={"ROLLCAST_METRICS_PORT": str(port)})
        text = last_words(slot, "ConfigError")
    expected = f"the metrics address 127.0.0.1:{port} cannot be had: Address already in use; choose another port"
    assert text == expected


def test_a_wrong_password_is_told_at_once_and_never_repeated(
    s3: S3, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Librdkafka tells it to a callback only; to all else it looks like a broker that does not answer."""
    with sasl_kafka(tmp_path_factory.mktemp("sasl-kafka")) as kafka:
        world = World(params_for(kafka.servers), TopicNames(), s3.params_without_bucket(), tmp_path)
        environ = {
            "ROLLCAST_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "ROLLCAST_KAFKA_SASL_MECHANISM": "PLAIN",
            "ROLLCAST_KAFKA_USERNAME": kafka.username,
        }
        wrong = world.start(
            "--startup-timeout-seconds", "600", environ=environ | {"ROLLCAST_KAFKA_PASSWORD": "guess-1"}
        )
        text = last_words(wrong, "KafkaDenied")
        assert re.match(rf"Kafka at {kafka.servers}: connecting: refused \(.*Authentication failed.*\); check ", text)
        assert "password" in text
        assert "guess-1" not in wrong.child.log.read_text(encoding="utf-8")
        # With the right one it comes further: to the topics, which nobody lets it see.
        right = world.start(environ=environ | {"ROLLCAST_KAFKA_PASSWORD": kafka.password})
        assert "may not even see topic requests" in last_words(right, "KafkaDenied")
        assert kafka.password not in right.child.log.read_text(encoding="utf-8")


def test_tls_spoken_to_a_port_that_does_not_points_to_the_setting(world: World) -> None:
    """All that the client is told is that no broker is up."""
    environ = {"ROLLCAST_KAFKA_SECURITY_PROTOCOL": "SSL"}
    slot = world.start("--startup-timeout-seconds", "2", environ=environ)
    text = last_words(slot, "KafkaUnavailable")
    assert text.startswith(f"Kafka at {world.kafka.broker.servers}: connecting: not reachable (")
    assert text.endswith("security_protocol right?")


def test_a_slot_without_a_model_waits_and_ends_when_it_is_asked_to(world: World) -> None:
    slot = world.start()
    slot.wait(lambda: slot.events("waiting for a model to be assigned"), "it says what it waits for")
    health = slot.health()
    assert (health["alive"], health["ready"], health["version"]) == (True, False, None)
    assert slot.terminate() == 0
