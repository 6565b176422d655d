"""Model hosts as real processes: whatever a model does in there, the streamer is told in time and in plain words."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import joblib
import psutil
import pytest

from rollcast_cli.local.processes import wait_until
from rollcast_predictor import zygote
from rollcast_predictor.host_process import HostDied, HostProcess, HostTimedOut, ModelRefused
from rollcast_predictor.served_model import start_host
from rollcast_predictor.wire import LoadModel, ScoreBatch, Scored
from rollcast_predictor.zygote import HostHandle, host_environment, shared_zygote

SECONDS = 120.0


def row(x: float, mood: str = "good") -> bytes:
    return json.dumps({"x": x, "mood": mood}).encode()


def scored(host: HostProcess, *rows: bytes | None, sequence: int = 1, seconds: float = SECONDS) -> Scored:
    host.send(ScoreBatch(sequence, list(rows)), deadline_seconds=seconds)
    return host.receive(sequence, deadline_seconds=seconds)


def is_gone(pid: int) -> bool:
    """Dead, or a zombie that nobody has waited for."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until_gone(pid: int) -> None:
    wait_until(lambda: is_gone(pid), what=f"{pid} is gone", timeout_seconds=SECONDS)


def test_a_host_is_told_no_credentials() -> None:
    environ = {
        "PATH": "/bin",
        "HOME": "/home/me",
        "PYTHONPATH": "/mine",
        "OMP_NUM_THREADS": "8",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/token",
        "ROLLCAST_KAFKA_PASSWORD": "p",
        "ROLLCAST_S3_SECRET_ACCESS_KEY": "s",
        "KUBERNETES_SERVICE_HOST": "10.0.0.1",
        "MY_DATABASE_URL": "postgres://me:secret@db",
    }
    assert host_environment(environ) == {
        "PATH": "/bin",
        "HOME": "/home/me",
        "PYTHONPATH": "/mine",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }


def test_a_row_that_the_model_cannot_do_costs_no_other_row(host_of: Any) -> None:
    host = host_of()
    for mood, reason, text in (
        ("raises", "model-error", "the model raised ValueError: no such wine"),
        ("says_nan", "bad-output", "the model's result: is nan"),
        ("says_too_much", "bad-output", "the model gave 2 results for 1 rows"),
        ("says_too_little", "bad-output", "the model gave 0 results for 1 rows"),
        ("says_one_for_all", "bad-output", "the model gave float64, not one result for each row"),
        ("says_an_object", "bad-output", "the model's result: is of type dict"),
    ):
        answer = scored(host, row(1), row(2, mood), None, row(3), b"{")
        assert [answer.results[i] for i in (0, 3)] == [b"1.0", b"3.0"], mood
        errors = {index: (reason, message) for index, reason, message in answer.errors}
        assert errors.keys() == {1, 2, 4}, mood
        assert errors[1][0] == reason
        assert errors[1][1].startswith(text)
        assert (errors[2][0], errors[4][0]) == ("empty", "not-json")


def test_what_a_model_prints_goes_to_stderr(
    host_of: Any, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zygote, "_shared", None)  # a new one has this test's stderr
    assert scored(host_of(), row(1, "prints")).results == [b"1.0"]
    zygote.shared_zygote().close()
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "printed by the model" in printed.err


@pytest.mark.parametrize(
    ("mood", "how"),
    [
        ("leaves", "exit code 3"),
        ("leaves_politely", "exit code 4"),
        ("is_killed", "signal SIGKILL; out of memory?"),
    ],
)
def test_a_model_that_ends_its_process_is_a_dead_host(host_of: Any, mood: str, how: str) -> None:
    host = host_of()
    with pytest.raises(HostDied) as died:
        scored(host, row(1), row(2, mood))
    assert str(died.value) == f"the host of moody@1 ended while scoring ({how})"
    assert not host.is_running
    with pytest.raises(HostDied):
        host.send(ScoreBatch(2, [row(1)] * 100_000), deadline_seconds=SECONDS)


def test_how_a_host_ended_is_told_also_where_its_end_takes_a_while(
    host_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was given up after a second as one whose socket had closed, and nobody learnt of what it had died."""
    host = host_of()
    exit_code, kill, killed = host._host.exit_code, host._host.kill, threading.Event()

    def kill_at_last() -> None:
        killed.set()
        kill()

    monkeypatch.setattr(host._host, "exit_code", lambda: exit_code() if killed.is_set() else None)
    monkeypatch.setattr(host._host, "kill", kill_at_last)
    with pytest.raises(HostDied, match=r"ended while scoring \(exit code 3\)"):
        scored(host, row(1, "leaves"))


def test_a_host_that_closes_its_socket_and_runs_on_is_ended(host_of: Any) -> None:
    """Whoever waits for it is held up by little more than what a kind end may take."""
    host = host_of()
    with pytest.raises(HostDied, match=r"ended while scoring \(its socket closed\)"):
        scored(host, row(1, "hangs_up"))
    assert not host.is_running


def test_a_model_that_hangs_is_a_late_host(host_of: Any) -> None:
    host = host_of()
    started = time.monotonic()
    host.send(ScoreBatch(1, [row(1, "sleeps")]), deadline_seconds=SECONDS)
    with pytest.raises(HostTimedOut, match=r"the host of moody@1 was not done scoring after 0\.3 s"):
        host.receive(1, deadline_seconds=0.3)
    assert time.monotonic() - started < SECONDS  # it sleeps for ten minutes
    host.kill()
    wait_until_gone(host.pid)


def test_a_model_that_leaks_ends_its_host_instead_of_refusing_all_that_follows(host_of: Any) -> None:
    """With its memory used up a host could only answer with errors; a fresh one can do the same rows."""
    host = host_of()

    def hoard_until_it_breaks() -> None:
        for sequence in range(20):
            assert scored(host, row(sequence, "hoards"), sequence=sequence).errors == []

    with pytest.raises(HostDied, match=r"ended while scoring \(out of memory\)"):
        hoard_until_it_breaks()
    assert scored(host_of(), row(1, "hoards")).results == [b"1.0"]


def test_answers_to_batches_given_up_are_passed_over(host_of: Any) -> None:
    host = host_of()
    for sequence in (1, 2, 3):
        host.send(ScoreBatch(sequence, [row(sequence)]), deadline_seconds=SECONDS)
    assert host.receive(3, deadline_seconds=SECONDS).results == [b"3.0"]


def test_a_host_outlives_what_a_terminal_says_to_the_group_and_ends_when_it_is_closed(host_of: Any) -> None:
    host = host_of()
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(host.pid, number)
        assert scored(host, row(1)).results == [b"1.0"]
    host.close()
    assert not host.is_running
    host.close()
    host.kill()


def test_a_host_whose_model_hangs_is_closed_all_the_same(host_of: Any) -> None:
    host = host_of()
    host.send(ScoreBatch(1, [row(1, "sleeps")]), deadline_seconds=SECONDS)
    host.close()
    assert is_gone(host.pid)


PARENT = """
import sys, time
from pathlib import Path
from rollcast_predictor.host_process import HostProcess
from rollcast_predictor.wire import LoadModel, ScoreBatch
host = HostProcess("moody@1", memory_bytes=None)
host.load(LoadModel(path=sys.argv[1], format="pickle", name="moody@1", allow_pickle=True), deadline_seconds=60)
if sys.argv[2] != "idle":
    host.send(ScoreBatch(1, [b'{"x": 1, "mood": "sleeps"}']), deadline_seconds=5)
print(host.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("state", ["idle", "hanging"])
def test_a_host_dies_with_its_streamer(moody_file: Path, importable: Path, state: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(moody_file), state],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(importable)},
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not is_gone(pid)
        parent.kill()
    wait_until_gone(pid)


def test_a_model_that_may_not_be_loaded_is_refused_in_the_hosts_own_words(moody_file: Path, tmp_path: Path) -> None:
    skops = tmp_path / "cut.skops"
    skops.write_bytes(b"PK\x03\x04 and no more")
    for path, artifact_format, kind, text in (
        (moody_file, "pickle", "UntrustedArtifact", "a pickle can run any code"),
        (skops, "skops", "UnusableModel", "not a skops file, or cut off"),
        (tmp_path / "none.skops", "skops", "ArtifactNotFound", "no such file"),
    ):
        request = LoadModel(path=str(path), format=artifact_format, name="moody@1")  # type: ignore[arg-type]  # literals
        with pytest.raises(ModelRefused) as refused:
            start_host(request, memory_bytes=None, deadline_seconds=60)
        assert str(refused.value).startswith(f"{kind}: ")
        assert text in str(refused.value)
        assert "\n" not in str(refused.value)


def test_a_model_that_kills_its_host_while_loading_leaves_none_behind(
    moody: Any, importable: Path, tmp_path: Path
) -> None:
    path = tmp_path / "stubborn.pkl"
    joblib.dump(moody.Stubborn(), path)
    assert importable.is_dir()
    request = LoadModel(path=str(path), format="pickle", name="stubborn@1", allow_pickle=True)
    shared_zygote()  # a child, too, and made now if no test has needed it before
    before = set(psutil.Process().children())
    with pytest.raises(HostDied, match=r"the host of stubborn@1 ended while loading \(exit code 5\)"):
        start_host(request, memory_bytes=None, deadline_seconds=60)
    assert {child for child in psutil.Process().children() if child not in before} == set()


def test_a_model_larger_than_the_memory_of_a_host_is_not_served(moody: Any, importable: Path, tmp_path: Path) -> None:
    path = tmp_path / "large.pkl"
    joblib.dump(moody.Large(), path)
    assert importable.is_dir()
    request = LoadModel(path=str(path), format="pickle", name="large@1", allow_pickle=True)
    with pytest.raises((ModelRefused, HostDied), match="memory"):
        start_host(request, memory_bytes=1_000_000_000, deadline_seconds=60)


def test_a_host_that_is_asked_after_twice_has_ended_once_and_costs_no_other_host(host_of: Any) -> None:
    """The zygote once waited for it a second time, and ended of that with every host that it had made."""
    host, other = host_of(), host_of()
    maker = shared_zygote()
    first, second = HostHandle(maker, host.pid), HostHandle(maker, host.pid)
    first.kill()
    second.kill()
    assert (first.exit_code(), second.exit_code()) == (-signal.SIGKILL, -signal.SIGKILL)
    # A third one, so that an end of the zygote has had time to be seen.
    assert scored(host_of(), row(1)).results == [b"1.0"]
    assert shared_zygote() is maker
    assert scored(other, row(1)).results == [b"1.0"]
