"""Children of the stack: what they leave behind, and that they leave nothing running."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from rollcast_cli.local.processes import Child, ChildDied, NotInTime, start, tail, wait_until
from rollcast_common.errors import RollcastError

SECONDS = 60.0
# All of them sleep far longer than anybody waits for their end.
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf'); time.sleep(600)"
SLEEPER = "import time; print('up'); time.sleep(600)"
# Starts a process of its own in the same group and says its pid.
LEADER = (
    "import subprocess, sys, time; "
    "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid); time.sleep(600)"
)

Start = Callable[..., Child]


def said(log: Path) -> str:
    """Its lines; nothing while one is not whole: what a child prints comes word by word."""
    text = log.read_text()
    return text if text.endswith("\n") else ""


@pytest.fixture
def python(tmp_path: Path) -> Iterator[Start]:
    """Start Python code as a child that has printed its first line."""
    children: list[Child] = []

    def started(code: str, **environ: str) -> Child:
        child = start([sys.executable, "-c", code], role="child", log=tmp_path / "child.log", environ=environ)
        children.append(child)
        wait_until(lambda: said(child.log), what="its first line", timeout_seconds=SECONDS, children=[child])
        return child

    yield started
    for child in children:
        child.kill()


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until_gone(pid: int) -> None:
    wait_until(lambda: gone(pid), what=f"{pid} is gone", timeout_seconds=SECONDS)


def test_the_log_of_a_child_that_dies_is_shown(tmp_path: Path) -> None:
    child = start(
        [sys.executable, "-c", "print('no room on the device'); raise SystemExit(3)"],
        role="Kafka",
        log=tmp_path / "logs" / "kafka.log",
    )
    with pytest.raises(ChildDied, match=r"(?s)Kafka ended with exit code 3; .*kafka\.log.*no room on the device"):
        wait_until(lambda: False, what="Kafka is up", timeout_seconds=SECONDS, children=[child])
    assert not child.alive
    assert child.returncode == 3


def test_a_killed_child_names_the_signal(python: Start) -> None:
    child = python(SLEEPER)
    os.kill(child.pid, signal.SIGKILL)
    wait_until(lambda: not child.alive, what="its death", timeout_seconds=SECONDS)
    with pytest.raises(ChildDied, match="was ended by SIGKILL"):
        child.check()


def test_what_is_not_in_time_is_named_with_the_log(python: Start) -> None:
    child = python(SLEEPER)
    with pytest.raises(NotInTime, match=r"(?s)S3 answers: not within 0\.1 s.*up"):
        wait_until(lambda: False, what="S3 answers", timeout_seconds=0.1, children=[child])
    assert child.alive


def test_waiting_gives_the_first_true_answer() -> None:
    answers = iter(["", "", "127.0.0.1:9092"])
    assert wait_until(lambda: next(answers), what="ready", timeout_seconds=SECONDS) == "127.0.0.1:9092"


def test_a_command_that_does_not_exist_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RollcastError, match=r"^S3: no-such-command cannot be started: No such file or directory$"):
        start(["no-such-command"], role="S3", log=tmp_path / "log")


def test_a_child_ends_at_sigterm(python: Start) -> None:
    child = python(SLEEPER)
    child.stop(grace_seconds=SECONDS)
    assert child.returncode == -signal.SIGTERM
    child.stop()  # and again changes nothing


def test_a_child_that_does_not_listen_is_killed_after_the_grace_period(python: Start) -> None:
    child = python(DEAF)
    begin = time.monotonic()
    child.stop(grace_seconds=0.3)
    assert time.monotonic() - begin < 9, "it waits as long as it was told, not for the usual 10 s"
    assert child.returncode == -signal.SIGKILL


@pytest.mark.parametrize("end", ["stop", "kill", "dies"])
def test_what_a_child_started_ends_with_it(python: Start, end: str) -> None:
    child = python(LEADER)
    grandchild = int(child.log.read_text())
    assert not gone(grandchild)
    if end == "dies":
        os.kill(child.pid, signal.SIGKILL)
        wait_until(lambda: not child.alive, what="its death", timeout_seconds=SECONDS)
    else:
        getattr(child, end)()
    wait_until_gone(grandchild)


def test_a_child_leads_a_session_of_its_own_so_that_ctrl_c_does_not_reach_it(python: Start) -> None:
    child = python(SLEEPER)
    assert os.getsid(child.pid) == child.pid
    assert os.getpgid(child.pid) == child.pid


def test_the_environment_is_laid_over_ours(python: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "kept")
    monkeypatch.setenv("CHANGED", "before")
    code = "import os, time; print(os.environ['KEPT'], os.environ['CHANGED']); time.sleep(600)"
    child = python(code, CHANGED="after")
    assert child.log.read_text().split() == ["kept", "after"]


def test_a_second_run_keeps_the_log_of_the_first(tmp_path: Path) -> None:
    for word in ("first", "second"):
        child = start([sys.executable, "-c", f"print('{word}')"], role="child", log=tmp_path / "log")
        wait_until(lambda child=child: not child.alive, what="its end", timeout_seconds=SECONDS)  # type: ignore[misc]  # a lambda's default has no type
    assert tail(tmp_path / "log") == "first\nsecond"


def test_the_tail_of_no_log_is_a_word(tmp_path: Path) -> None:
    assert tail(tmp_path / "none") == "(no log)"


PARENT = """
import sys, threading, time
from pathlib import Path
from rollcast_cli.local.processes import start
def begin():
    for number, code in enumerate(sys.argv[2:]):
        child = start([sys.executable, "-c", code], role="child", log=Path(sys.argv[1]) / f"{number}.log")
        print(child.pid, flush=True)
thread = threading.Thread(target=begin)  # one that is over long before the parent is
thread.start()
thread.join()
sys.stdin.read()
"""


@pytest.mark.parametrize("how", ["killed", "returns"])
def test_children_do_not_outlive_a_parent_that_never_stopped_them(tmp_path: Path, how: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path), SLEEPER, DEAF, LEADER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as parent:
        assert parent.stdin
        assert parent.stdout
        children = [int(parent.stdout.readline()) for _ in range(3)]
        logs = [tmp_path / f"{number}.log" for number in range(3)]
        wait_until(lambda: all(said(log) for log in logs), what="all up", timeout_seconds=SECONDS)
        grandchild = int(logs[2].read_text())
        assert not any(gone(pid) for pid in [*children, grandchild])
        if how == "killed":
            parent.kill()
        else:
            parent.stdin.close()
    for pid in [*children, grandchild]:
        wait_until_gone(pid)
