"""The command as people meet it: its help, and one clear line when something is not there."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rollcast_cli.__main__ import app

COMMAND = str(Path(sys.executable).with_name("rollcast"))
SECONDS = 60.0


def environment(home: Path, **environ: str) -> Mapping[str, str]:
    """Ours, without what it says about Rollcast."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("ROLLCAST_") and k not in ("BROKER", "WINES")}
    return {**clean, "ROLLCAST_HOME": str(home), **environ}


def begin(home: Path, *arguments: str, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [COMMAND, *arguments],
        cwd=home,
        env=environment(home, **environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str], timeout_seconds: float = 120.0) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=timeout_seconds)
    finally:
        process.kill()
    return process.returncode, out, err


def the_one_line(process: subprocess.Popen[str], timeout_seconds: float = 120.0) -> str:
    code, out, err = ended(process, timeout_seconds)
    assert (code, out) == (1, ""), err
    (line,) = err.splitlines()
    assert line.startswith("rollcast: error: ")
    return line


ROLLING = (
    *("apply", "get", "describe", "delete", "rollback", "promote", "abort", "retry", "pause", "resume"),
    *("history", "events"),
)
COMMANDS = ("up", "down", "demo", "tail", "status", "predict", "env", *ROLLING, "acls", "topics", "dead-letters")


def test_the_command_lists_its_commands(tmp_path: Path) -> None:
    code, out, err = ended(begin(tmp_path, "--help"))
    assert (code, err) == (0, "")
    listed = out[out.index("Commands:") :]
    assert re.findall(r"^  ([a-z-]+) ", listed, re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize("name", [*COMMANDS, "topics create", "topics list"])
def test_every_command_explains_itself(name: str) -> None:
    result = CliRunner().invoke(app, [*name.split(), "--help"])
    assert result.exit_code == 0, result.output
    assert re.search(rf"^ *Usage: .*{name}", result.output)
    usage, _, explanation = result.output.strip().partition("\n")
    assert usage
    assert explanation.strip()


@pytest.mark.parametrize("name", ROLLING)
def test_every_command_about_models_teaches_with_an_example(name: str) -> None:
    text = CliRunner().invoke(app, [name, "--help"]).output
    assert re.search(rf"Examples?:\n  +rollcast {name} ", text)


def test_a_command_that_does_not_exist_is_a_users_error(tmp_path: Path) -> None:
    code, _, err = ended(begin(tmp_path, "deploy"))
    assert code == 2
    assert "No such command 'deploy'" in err
    assert "Traceback" not in err


def test_where_nothing_listens_every_command_says_so_in_time_and_in_one_line(tmp_path: Path) -> None:
    servers = "127.0.0.1:1"  # where no test ever starts a server
    processes = [
        begin(tmp_path, *arguments, ROLLCAST_KAFKA_SERVERS=servers)
        for arguments in (
            ("tail",),
            ("status",),
            ("status", "--json"),
            ("predict", "{}"),
            ("topics", "create"),
            ("topics", "list"),
        )
    ]
    try:
        # One that gives up at once tells how long it takes to start where so many start together.
        begun = time.monotonic()
        the_one_line(begin(tmp_path, "status", "--kafka-config", "none.yaml"), SECONDS)
        # They try for 10 s, after a start that is as slow as this one was, or three times as slow.
        deadline = time.monotonic() + 15 + 3 * (time.monotonic() - begun)
        for process in processes:
            line = the_one_line(process, deadline - time.monotonic())
            assert f"Kafka at {servers}: connecting: not reachable" in line
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_without_a_stack_every_command_says_how_to_start_one(tmp_path: Path) -> None:
    for arguments in (("down",), ("env",), ("tail",), ("status",), ("predict", "{}"), ("topics", "list")):
        line = the_one_line(begin(tmp_path, *arguments), SECONDS)
        assert "no local stack is running here (" in line, arguments
        assert "start one with `rollcast up`" in line


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("up", "--train-config", "none.yaml"), "none.yaml: no such file"),
        (("demo",), "no such folder; run this in the repository, or give --train-config FILE"),
        (("demo", "--train-config", "mine.yaml", "--broker", "rabbit"), "BROKER was 'rabbit', may be auto, kafka or"),
        (("predict", "{not json", "--kafka-config", "kafka.yaml"), "not JSON: "),
        (("predict", "[1]", "--kafka-config", "kafka.yaml"), "expected a JSON object of features, such as"),
        (("status", "--kafka-config", "none.yaml"), "none.yaml: no such file"),
    ],
)
def test_what_a_user_gets_wrong_is_one_line(tmp_path: Path, arguments: tuple[str, ...], complaint: str) -> None:
    (tmp_path / "mine.yaml").write_text("model: mine\n")
    (tmp_path / "kafka.yaml").write_text("broker: {servers: '127.0.0.1:1'}\n")
    code, _, err = ended(begin(tmp_path, *arguments), SECONDS)
    assert code == 1
    (line,) = err.splitlines()
    assert line.startswith("rollcast: error: ")
    assert complaint in line
