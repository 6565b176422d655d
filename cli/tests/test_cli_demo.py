"""The whole of Rollcast on one machine, as a first user starts it; and that nothing of it stays behind."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from rollcast_cli.local.processes import Child, start, wait_until

SECONDS = 120.0
COMMAND = str(Path(sys.executable).with_name("rollcast"))
ROOT = Path(__file__).parents[2]
EXAMPLE = ("--broker", "embedded", "--train-config", "examples/breast-cancer/train.yaml")


def of_home(home: Path) -> list[psutil.Process]:
    """Every process that was started with this folder, however far down."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("ROLLCAST_HOME") == str(home) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def with_descendants(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it has gone in between
        return False


def wait_until_all_are_gone(processes: Iterable[psutil.Process], home: Path) -> None:
    """These, and those that were never seen: the last of them end by themselves, a moment after the command."""
    seen = list(processes)
    wait_until(lambda: not any(map(is_alive, seen)), what="all are gone", timeout_seconds=SECONDS)
    wait_until(lambda: of_home(home) == [], what="the others are gone", timeout_seconds=SECONDS)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder of the test's own. Whatever a failing test leaves running is ended.

    It is told to the commands alone, not set here: this process has children of its own (a watchdog).
    """
    for name in [name for name in os.environ if name.startswith("ROLLCAST_")]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    yield home
    for process in of_home(home):
        process.kill()


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments],
        cwd=ROOT,
        env={**os.environ, "ROLLCAST_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )


def said(home: Path, *arguments: str) -> str:
    """What a command that must succeed prints."""
    result = run(home, *arguments)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


@contextmanager
def running(home: Path, *arguments: str) -> Iterator[Child]:
    """A command that runs until the end of the test at most."""
    log = home.with_name("rollcast.log")
    child = start([COMMAND, *arguments], role="rollcast", log=log, cwd=ROOT, environ={"ROLLCAST_HOME": str(home)})
    try:
        yield child
    finally:
        child.kill()


def test_the_demo_keeps_its_promises_and_leaves_nothing_behind(home: Path) -> None:
    demo = ("demo", *EXAMPLE, "--rate", "100", "--before-seconds", "1", "--after-seconds", "1", "--bad-every", "20")
    with running(home, *demo) as child:
        seen: dict[int, psutil.Process] = {}

        def over() -> bool:
            if child.alive:
                seen.update((p.pid, p) for p in with_descendants(psutil.Process(child.pid)))
            return not child.alive

        wait_until(over, what="the demo ends", timeout_seconds=600, interval_seconds=0.2)
        assert child.returncode == 0, child.log_tail(60)
    report = child.log.read_text(encoding="utf-8")
    assert report.splitlines()[-1] == "as promised"
    facts = {name.strip(): value.strip() for name, value in re.findall(r"^│ (.+?) │ (.+?) │$", report, re.MULTILINE)}
    assert (facts["lost"], facts["doubled"], facts["others"]) == ("0", "0", "0")
    count = {
        name: int(facts[name].replace(",", "")) for name in ("requests acknowledged", "predictions", "dead letters")
    }
    # One prediction more than the stream asked for: a person did.
    assert count["requests acknowledged"] + 1 == count["predictions"] + count["dead letters"] > 200
    assert facts["receipts of the answer"] == "queued, sent, delivered, read"
    assert facts["what it really was"] == '"malignant"'
    assert facts["planted, and come back"] == f"{count['dead letters']} of {count['dead letters']}"
    assert facts["rolled out under traffic"].endswith("(2 of 2 slots)")
    assert facts["rolled back under traffic"].endswith("(PredictionDrift)")
    steps = re.findall(r"^│ +[\d.]+ s │ (first|second|bad) +│ (\w+) +│", report, re.MULTILINE)
    assert [step for model, step in steps if model == "first"][:3] == ["Verifying", "Promoting", "Live"]
    second = [step for model, step in steps if model == "second"]
    assert second == ["Verifying", "Shadow", "Canary", "Canary", "Canary", "Promoting", "Live"]
    assert [step for model, step in steps if model == "bad"][-1] == "PredictionDrift"
    # Broker, S3, two slots, their hosts, two trainers and a source at least: so the look at them was no empty one.
    assert len(seen) >= 9
    wait_until_all_are_gone(seen.values(), home)
    assert not (home / "stack.json").exists()


def test_up_answers_tells_its_status_and_goes_down(home: Path) -> None:
    with running(home, "up", *EXAMPLE, "--slots", "1", "--rate", "50") as child:

        def row_to_try() -> str:
            found = re.search(r"^rollcast predict '(.*)'$", child.log.read_text(encoding="utf-8"), re.MULTILINE)
            return found[1] if found else ""

        row = wait_until(row_to_try, what="it is up", timeout_seconds=300, children=[child])
        answer = json.loads(said(home, "predict", row, "--key", "patient-1", "--timeout", "60"))
        assert (answer["model"], answer["key"]) == ("breast-cancer", "patient-1")
        assert answer["features"] == json.loads(row)

        def every_slot_says() -> dict[str, Any] | None:
            """A slot that is busy may be too late for one look."""
            status: dict[str, Any] = json.loads(said(home, "status", "--json"))
            return status if all("ready" in slot for slot in status["slots"]) else None

        status = wait_until(every_slot_says, what="a slot's answer", timeout_seconds=SECONDS)
        assert status is not None
        assert (status["broker"], status["guarantee"]) == ("embedded", "at_least_once")
        assert all(process["alive"] for process in status["processes"])
        assert {process["role"] for process in status["processes"]} >= {
            "S3",
            "predictor-breast-cancer-0",
            "controller",
            "source",
        }
        (slot,) = status["slots"]
        assert (slot["ready"], slot["version"], slot["problem"]) == (True, answer["version"], None)
        assert status["topics"]["app_messages"]["offsets"] > 0

        assert "ROLLCAST_KAFKA_SERVERS=" in said(home, "env")
        refused = run(home, "predict", "{}", "--timeout", "60")
        assert refused.returncode == 1
        assert re.fullmatch(r"rollcast: error: missing-feature: .*\(model breast-cancer@.*\)\n", refused.stderr)

        family = with_descendants(psutil.Process(child.pid))
        # Broker, S3, a slot, its host and the source.
        assert len(family) >= 6
        said(home, "down")
        wait_until(lambda: not child.alive, what="it is down", timeout_seconds=SECONDS)
        assert child.returncode == 130
    wait_until_all_are_gone(family, home)
    assert not (home / "stack.json").exists()


def test_a_demo_that_is_interrupted_while_it_starts_leaves_nothing_behind(home: Path) -> None:
    with running(home, "demo", *EXAMPLE) as child:
        wait_until(
            lambda: "predictor slots and the controller started" in child.log.read_text(encoding="utf-8"),
            what="the slots start",
            timeout_seconds=300,
            children=[child],
        )
        family = with_descendants(psutil.Process(child.pid))
        os.kill(child.pid, signal.SIGINT)
        wait_until(lambda: not child.alive, what="it ends", timeout_seconds=SECONDS)
        assert child.returncode == 130
        assert child.log_tail(1) == "rollcast: interrupted"
    wait_until_all_are_gone(family, home)
