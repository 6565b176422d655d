"""The supervisor with streamers that do nothing but end: who takes over, when, and what that costs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rollcast_cli.local.processes import wait_until

# Says its pid when it may go, serves at once, and ends in the way that can be mended when it is told to.
STREAMER = """
import os, signal, socket, sys
control = socket.socket(fileno=int(os.environ["ROLLCAST_CONTROL_FD"]))
signal.signal(signal.SIGUSR1, lambda *_: os._exit(75))
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
open(sys.argv[1] + "/started", "a").write(f"{os.getpid()}\\n")
if control.recv(1) == b"g":
    control.send(b"s")
    open(sys.argv[1] + "/serving", "a").write(f"{os.getpid()}\\n")
    while True:
        signal.pause()
"""
SUPERVISOR = """
import sys
from rollcast_predictor.supervisor import supervise
sys.exit(supervise([sys.executable, "-c", *sys.argv[1:]], standby=True))
"""


class Slot:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in ("started", "serving"):
            (folder / name).touch()
        self.process = subprocess.Popen([sys.executable, "-c", SUPERVISOR, STREAMER, str(folder)])

    def pids(self, what: str) -> list[int]:
        return [int(line) for line in (self._folder / what).read_text().splitlines()]

    def wait_for(self, what: str, count: int) -> int:
        """Until so many have done it; the pid of the last one."""
        wait_until(lambda: len(self.pids(what)) >= count, what=f"{count} {what}", timeout_seconds=30)
        return self.pids(what)[count - 1]


@pytest.fixture
def slot(tmp_path: Path) -> Iterator[Slot]:
    slot = Slot(tmp_path)
    yield slot
    # Streamers see the end of their socket, or are ended here.
    slot.process.kill()
    slot.process.wait()
    for pid in slot.pids("serving"):
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGTERM)


def test_the_standby_takes_over_and_a_drain_ends_all(slot: Slot) -> None:
    active = slot.wait_for("serving", 1)
    standby = slot.wait_for("started", 2)
    os.kill(active, signal.SIGUSR1)
    assert slot.wait_for("serving", 2) == standby
    third = slot.wait_for("started", 3)
    slot.process.terminate()
    assert slot.process.wait(timeout=30) == 0
    wait_until(lambda: not psutil.pid_exists(third), what="the standby is gone", timeout_seconds=10)
    assert slot.pids("serving") == [active, standby]


def test_waiting_before_the_next_try_costs_no_processor(slot: Slot) -> None:
    """A signal that came meanwhile woke select() again and again, for up to half a minute."""
    for turn in (1, 2, 3):  # ever longer waits: 1 s, 2 s, 4 s
        os.kill(slot.wait_for("serving", turn), signal.SIGUSR1)
        slot.wait_for("started", turn + 1)
    wait_until(lambda: len(slot.pids("serving")) == 3, what="the third one served", timeout_seconds=10)
    used = psutil.Process(slot.process.pid).cpu_times()
    slot.process.send_signal(signal.SIGCHLD)
    slot.wait_for("serving", 4)
    after = psutil.Process(slot.process.pid).cpu_times()
    assert after.user + after.system - used.user - used.system < 0.5


def test_a_streamer_that_is_killed_soon_and_often_is_followed_at_once_each_time(slot: Slot) -> None:
    """The waits of those that end by themselves made half a minute of recovery out of kills a few seconds apart."""
    kills = 6
    for turn in range(1, kills + 1):
        active = slot.wait_for("serving", turn)
        slot.wait_for("started", turn + 1)
        killed_at = time.monotonic()
        os.kill(active, signal.SIGKILL)
        slot.wait_for("serving", turn + 1)
        assert time.monotonic() - killed_at < 0.9  # less than the shortest wait


def test_a_standby_that_dies_before_it_may_go_is_replaced(slot: Slot) -> None:
    active = slot.wait_for("serving", 1)
    standby = slot.wait_for("started", 2)
    os.kill(active, signal.SIGUSR1)
    wait_until(lambda: not psutil.pid_exists(active), what="its end is noted", timeout_seconds=10)
    os.kill(standby, signal.SIGKILL)  # while the supervisor waits a second before the next one
    assert slot.wait_for("serving", 2) not in (active, standby)
    assert slot.process.poll() is None
