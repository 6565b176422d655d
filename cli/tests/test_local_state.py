"""The state folder: what other commands learn from it, and that it holds one stack at a time."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from rollcast_cli.local import state
from rollcast_cli.local.state import ProcessRecord, Stack, StackS3, StateFolder, state_home
from rollcast_common.artifacts import S3Params
from rollcast_common.errors import ConfigError

S3 = S3Params(
    bucket="rollcast-models",
    endpoint_url="http://127.0.0.1:20001",
    access_key_id="rollcast",
    secret_access_key=SecretStr("not for everyone"),
)


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / ".rollcast")


def stack(owner: ProcessRecord | None = None, processes: list[ProcessRecord] | None = None) -> Stack:
    return Stack(
        installation="local-1a2b3c",
        owner=owner or ProcessRecord.of("rollcast up", os.getpid()),
        broker="kafka",
        servers="127.0.0.1:20000",
        guarantee="exactly_once",
        s3=StackS3.of(S3),
        model="wine-price",
        processes=processes or [],
        metrics_ports={"predictor-0": 20002},
    )


@contextmanager
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        try:
            yield process
        finally:
            process.kill()


def dead() -> ProcessRecord:
    with sleeper() as process:
        return ProcessRecord.of("rollcast up", process.pid)


def test_what_is_written_is_read(folder: StateFolder) -> None:
    with folder.lock():
        folder.write_stack(stack())
        read = folder.read_stack()
    assert read == stack()
    assert read.s3_params() == S3
    assert read.kafka_params().broker.servers == "127.0.0.1:20000"


def test_only_the_owner_can_read_the_keys(folder: StateFolder) -> None:
    with folder.lock():
        folder.write_stack(stack())
        file = folder.path / "stack.json"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
        assert "not for everyone" in file.read_text()
        assert not list(folder.path.glob("*.part"))


def test_without_a_stack_the_reader_is_told_how_to_start_one(folder: StateFolder) -> None:
    with pytest.raises(
        ConfigError, match=r"^no local stack is running here \(.*stack\.json: no such file\); start one"
    ):
        folder.read_stack()


def test_a_stack_that_died_is_no_stack(folder: StateFolder) -> None:
    owner = dead()
    folder.write_stack(stack(owner))
    with pytest.raises(
        ConfigError, match=rf"no local stack is running here \(.* is dead, pid {owner.pid}\); .*`rollcast up`"
    ):
        folder.read_stack()


def test_a_pid_that_came_round_again_is_another_process(folder: StateFolder) -> None:
    mine = ProcessRecord.of("rollcast up", os.getpid())
    folder.write_stack(stack(mine.model_copy(update={"started": mine.started - 3600})))
    with pytest.raises(ConfigError, match="no local stack is running here"):
        folder.read_stack()


@pytest.mark.parametrize("content", ["", "{", "{}", json.dumps({"installation": 3})])
def test_a_file_that_nobody_understands_is_named(folder: StateFolder, content: str) -> None:
    folder.path.mkdir()
    (folder.path / "stack.json").write_text(content)
    with pytest.raises(ConfigError, match=r"stack\.json cannot be understood"):
        folder.read_stack()


def test_a_stack_that_ended_leaves_no_file(folder: StateFolder) -> None:
    with folder.lock():
        folder.write_stack(stack())
    with pytest.raises(ConfigError, match="no such file"):
        folder.read_stack()


def test_two_stacks_in_one_folder_refuse_each_other(folder: StateFolder) -> None:
    code = "import sys; from pathlib import Path; from rollcast_cli.local.state import StateFolder\n"
    code += "with StateFolder(Path(sys.argv[1])).lock(): print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == b"held\n"
        with (
            pytest.raises(ConfigError, match=rf"runs here already \(.*, pid {other.pid}\); .*`rollcast down`"),
            folder.lock(),
        ):
            pass
        other.kill()
    with folder.lock():  # given back by its death
        assert (folder.path / "lock").read_text() == str(os.getpid())


def test_what_a_dead_stack_left_running_is_waited_for(folder: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "_LEFTOVERS_SECONDS", 0.2)
    with sleeper() as left:
        folder.write_stack(stack(dead(), [ProcessRecord.of("Kafka", left.pid)]))
        with pytest.raises(ConfigError, match=rf"still there: Kafka \(pid {left.pid}\)"), folder.lock():
            pass
    with folder.lock():
        pass


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"file/home: cannot be the state folder: Not a directory; set ROLLCAST_HOME"):
        StateFolder(tmp_path / "file" / "home").lock().__enter__()


def test_the_installation_keeps_its_name(folder: StateFolder) -> None:
    name = folder.installation()
    assert name.startswith("local-")
    assert StateFolder(folder.path).installation() == name


def test_the_folder_is_the_one_that_the_environment_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert state_home({"ROLLCAST_HOME": "/elsewhere"}) == Path("/elsewhere")
    assert state_home({"ROLLCAST_HOME": ""}) == tmp_path / ".rollcast"
    assert state_home({}) == tmp_path / ".rollcast"
