"""What `rollcast acls` prints: command lines, KafkaUsers, a table, JSON; and how it says what is wrong."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from rollcast_cli.__main__ import app
from rollcast_common.kafka import ABOUT_ROLES, Role, Scope, TopicNames, rights


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ROLLCAST_KAFKA_SERVERS", "ROLLCAST_KAFKA_CONFIG", "ROLLCAST_TOPIC_PREFIX", "ROLLCAST_INSTALLATION"):
        monkeypatch.delenv(name, raising=False)


def run(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(app, ["acls", *arguments], env=environ)


def printed(*arguments: str, **environ: str) -> str:
    result = run(*arguments, **environ)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_command_lines_are_what_a_shell_runs() -> None:
    principal = "trainer=User:CN=the trainer,O=Wine & Co"
    text = printed("--role", "trainer", "--principal", principal, ROLLCAST_KAFKA_SERVERS="a:1,b:2")
    comment, line = text.replace("\\\n", "").strip().split("\n")
    assert comment == "# trainer: User:CN=the trainer,O=Wine & Co"
    assert shlex.split(line) == [
        *("kafka-acls.sh", "--bootstrap-server", "a:1,b:2", "--command-config", "admin.properties", "--add"),
        *("--allow-principal", "User:CN=the trainer,O=Wine & Co", "--operation", "Write"),
        *("--resource-pattern-type", "literal", "--topic", "train"),
    ]


def test_without_a_broker_the_command_lines_leave_its_place_open() -> None:
    text = printed("--role", "trainer")
    assert text.startswith("# SERVERS=broker:9092\n")
    assert '--bootstrap-server "$SERVERS"' in text


def test_names_come_from_the_configuration(tmp_path: Path) -> None:
    config = tmp_path / "kafka_config.yaml"
    config.write_text("broker: {servers: 'a:1'}\ntopics: {prefix: shop-, train: announced}\n", encoding="utf-8")
    from_file = json.loads(printed("--role", "trainer", "--format", "json", "--kafka-config", str(config)))
    assert [right["name"] for right in from_file] == ["shop-announced"]
    from_environment = json.loads(printed("--role", "trainer", "--format", "json", ROLLCAST_TOPIC_PREFIX="x-"))
    assert [right["name"] for right in from_environment] == ["x-train"]


def test_json_has_the_whole_table() -> None:
    given = json.loads(printed("--format", "json", "--installation", "prod"))
    scope = Scope(TopicNames(), "prod")
    assert given == [
        {
            "role": role,
            "principal": f"User:rollcast-{role}",
            "resource": right.resource,
            "name": right.name,
            "pattern": right.pattern,
            "operations": list(right.operations),
            "why": right.why,
        }
        for role in Role
        for right in rights(role, scope)
    ]


def test_the_table_says_why() -> None:
    text = printed("--format", "table", "--role", "operator", COLUMNS="160")
    assert "operator: User:rollcast-operator" in text
    assert ABOUT_ROLES[Role.OPERATOR] in text
    assert re.search(r"topic .* assignments .* read, write .* orders, and knows after a restart", text)


def test_strimzi_gets_a_user_for_each_role() -> None:
    users: list[dict[str, Any]] = list(
        yaml.safe_load_all(
            printed(
                *("--format", "strimzi", "--cluster", "events", "--namespace", "shop", "--model", "wine"),
                *("--principal", "predictor=User:CN=wine"),
            )
        )
    )
    assert [user["metadata"]["name"] for user in users] == [
        "wine" if role is Role.PREDICTOR else f"rollcast-{role}" for role in Role
    ]
    for user in users:
        assert (user["apiVersion"], user["kind"]) == ("kafka.strimzi.io/v1", "KafkaUser")
        assert user["metadata"]["labels"] == {"strimzi.io/cluster": "events"}
        assert user["spec"]["authorization"]["type"] == "simple"
    predictor = users[list(Role).index(Role.PREDICTOR)]["spec"]
    assert predictor["authentication"] == {"type": "tls"}
    assert users[0]["spec"]["authentication"] == {"type": "scram-sha-512"}
    acls = predictor["authorization"]["acls"]
    assert acls[0] == {
        "resource": {"type": "topic", "name": "assignments", "patternType": "literal"},
        "operations": ["Read"],
    }
    assert acls[-1] == {
        "resource": {"type": "transactionalId", "name": "rollcast.rollcast.shop.wine-", "patternType": "prefix"},
        "operations": ["Write"],
    }


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--role", "cook"], "--role was 'cook', may be trainer, predictor"),
        (["--format", "xml"], "--format was 'xml', may be kafka-acls, strimzi, table, json"),
        (["--principal", "cook=User:x"], "--principal was 'cook=User:x', may be ROLE=User:NAME"),
        (["--principal", "User:x"], "--principal was 'User:x', may be ROLE=User:NAME"),
        (["--principal", "trainer=ann"], "--principal trainer: was 'ann', may be User:NAME"),
        (["--principal", "trainer=User:"], "--principal trainer: was 'User:', may be User:NAME"),
        (["--model", "wine"], "a model is named without its namespace"),
        (["--installation", "A"], "installation was 'A'"),
        (["--format", "strimzi", "--principal", "trainer=User:Ann"], "Strimzi makes users called User:NAME"),
        (["--apply"], "--apply needs a Kafka: name one with --kafka-config"),
    ],
)
def test_what_is_wrong_is_one_line(arguments: list[str], named: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("rollcast: error: ")
    assert named in line
