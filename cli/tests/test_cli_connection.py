"""Which Kafka a command talks to."""

import os
from pathlib import Path

import pytest

from rollcast_cli.connection import connect
from rollcast_cli.local.state import ProcessRecord, Stack, StackS3, StateFolder
from rollcast_common.errors import ConfigError

LOCAL = "127.0.0.1:20000"
ELSEWHERE = "kafka.example:9092"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StateFolder:
    monkeypatch.setenv("ROLLCAST_HOME", str(tmp_path / "home"))
    return StateFolder()


@pytest.fixture
def stack(home: StateFolder) -> Stack:
    """A stack that runs, as far as its folder says: this very process is its owner."""
    stack = Stack(
        installation="local-1a2b3c",
        owner=ProcessRecord.of("rollcast up", os.getpid()),
        broker="kafka",
        servers=LOCAL,
        guarantee="exactly_once",
        s3=StackS3(endpoint_url="http://127.0.0.1:1", bucket="b", access_key_id="a", secret_access_key="s"),
        topic_prefix="mine.",
    )
    home.write_stack(stack)
    return stack


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "kafka_config.yaml"
    path.write_text(f"broker: {{servers: '{ELSEWHERE}'}}\n")
    return path


def test_the_local_stack_is_taken_when_nothing_is_named(stack: Stack) -> None:
    connection = connect(None, environ={})
    assert connection.stack == stack
    assert connection.kafka == stack.kafka_params()
    assert connection.kafka.topics.full("requests") == "mine.requests"


def test_a_kafka_that_is_named_needs_no_stack(config: Path) -> None:
    for connection in (connect(config, environ={}), connect(None, environ={"ROLLCAST_KAFKA_SERVERS": ELSEWHERE})):
        assert connection.kafka.broker.servers == ELSEWHERE
        assert connection.stack is None


def test_a_kafka_that_is_named_wins_over_the_stack(stack: Stack, config: Path) -> None:
    assert stack.servers != ELSEWHERE
    connection = connect(config, environ={})
    assert (connection.kafka.broker.servers, connection.stack) == (ELSEWHERE, None)


def test_the_stacks_own_kafka_that_is_named_is_still_the_stack(stack: Stack) -> None:
    """After `eval $(rollcast env)`."""
    connection = connect(None, environ={"ROLLCAST_KAFKA_SERVERS": LOCAL, "ROLLCAST_TOPIC_PREFIX": "mine."})
    assert connection.stack == stack
    assert connection.kafka.topics.full("train") == "mine.train"


def test_neither_is_one_line_that_names_both_ways() -> None:
    with pytest.raises(ConfigError) as error:
        connect(None, environ={"ROLLCAST_KAFKA_GROUP_ID": "only a group"})
    assert str(error.value).startswith("no local stack is running here (")
    assert str(error.value).endswith(
        "start one with `rollcast up`; or name a Kafka with --kafka-config or ROLLCAST_KAFKA_SERVERS"
    )
    assert "\n" not in str(error.value)


def test_a_wrong_name_is_told_also_while_a_stack_runs(stack: Stack, tmp_path: Path) -> None:
    assert stack.owner.alive
    with pytest.raises(ConfigError, match=r"none\.yaml: no such file"):
        connect(tmp_path / "none.yaml", environ={})
    with pytest.raises(ConfigError, match="may be host:port"):
        connect(None, environ={"ROLLCAST_KAFKA_SERVERS": "no port"})
