"""The supervisor with streamers that do nothing but end: who takes over, when, and what that costs."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rollcast_cli.local.processes import wait_until
from rollcast_predictor.supervisor import Control

# Says its pid when it may go, serves at once, and ends in the way that can be mended when it is told to. Once there is
# a file deaf, the next one that may go dies before it reads so.
STREAMER = """
import os, signal, socket, sys
control = socket.socket(fileno=int(os.environ["ROLLCAST_CONTROL_FD"]))
signal.signal(signal.SIGUSR1, lambda *_: os._exit(75))
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
open(sys.argv[1] + "/started", "a").write(f"{os.getpid()}\\n")
control.recv(1, socket.MSG_PEEK)
if os.path.exists(sys.argv[1] + "/deaf"):
    os.unlink(sys.argv[1] + "/deaf")
    os.kill(os.getpid(), signal.SIGKILL)
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


SECONDS = 120.0


class Slot:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in ("started", "serving"):
            (folder / name).touch()
        self._log = folder / "log"
        with self._log.open("wb") as log:
            command = [sys.executable, "-c", SUPERVISOR, STREAMER, str(folder)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def pids(self, what: str) -> list[int]:
        return [int(line) for line in (self._folder / what).read_text().splitlines()]

    def wait_for(self, what: str, count: int) -> int:
        """Until so many have done it; the pid of the last one."""

        def done() -> bool:
            assert self.process.poll() is None, self._log.read_text()
            return len(self.pids(what)) >= count

        wait_until(done, what=f"{count} {what}", timeout_seconds=SECONDS)
        return self.pids(what)[count - 1]

    def deafen(self) -> None:
        (self._folder / "deaf").touch()

    def says(self, text: str) -> bool:
        return text in self._log.read_text()


@pytest.fixture
def slot(tmp_path: Path) -> Iterator[Slot]:
    slot = Slot(tmp_path)
    yield slot
    # Streamers see the end of their socket, or are ended here.
    slot.process.kill()
    slot.process.wait()
    for pid in slot.pids("serving"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def test_the_standby_takes_over_and_a_drain_ends_all(slot: Slot) -> None:
    active = slot.wait_for("serving", 1)
    standby = slot.wait_for("started", 2)
    os.kill(active, signal.SIGUSR1)
    assert slot.wait_for("serving", 2) == standby
    third = slot.wait_for("started", 3)
    slot.process.terminate()
    assert slot.process.wait(timeout=SECONDS) == 0
    wait_until(lambda: not psutil.pid_exists(third), what="the standby is gone", timeout_seconds=SECONDS)
    assert slot.pids("serving") == [active, standby]


def test_waiting_before_the_next_try_costs_no_processor(slot: Slot) -> None:
    """A signal that came meanwhile woke select() again and again, for up to half a minute."""
    for turn in (1, 2, 3):  # ever longer waits: 1 s, 2 s, 4 s
        os.kill(slot.wait_for("serving", turn), signal.SIGUSR1)
        slot.wait_for("started", turn + 1)
    slot.wait_for("serving", 3)
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
        os.kill(active, signal.SIGKILL)
        slot.wait_for("serving", turn + 1)
    assert slot.says("the next one takes over")
    assert not slot.says("wait_seconds")


def test_a_standby_that_dies_before_it_may_go_is_replaced(slot: Slot) -> None:
    active = slot.wait_for("serving", 1)
    standby = slot.wait_for("started", 2)
    os.kill(standby, signal.SIGSTOP)  # told to go or not, it will not
    os.kill(active, signal.SIGUSR1)
    wait_until(lambda: not psutil.pid_exists(active), what="its end is noted", timeout_seconds=SECONDS)
    os.kill(standby, signal.SIGKILL)  # while the supervisor waits a second before the next one
    assert slot.wait_for("serving", 2) not in (active, standby)
    assert slot.process.poll() is None


def test_a_streamer_that_dies_before_it_hears_that_it_may_go_is_followed_by_another(slot: Slot) -> None:
    """The kernel told the supervisor so by an error, and the whole slot ended of it."""
    active = slot.wait_for("serving", 1)
    standby = slot.wait_for("started", 2)
    slot.deafen()
    os.kill(active, signal.SIGUSR1)
    assert slot.wait_for("serving", 2) not in (active, standby)
    assert slot.process.poll() is None


def test_a_streamer_hears_of_its_supervisors_end_whatever_was_left_unread() -> None:
    """It says that it serves each time that a model is assigned; the supervisor reads the first time only."""
    ours, theirs = socket.socketpair()
    control = Control(ours.detach())
    over = threading.Event()
    control.serving()
    control.on_end(over.set)
    theirs.close()
    assert over.wait(SECONDS)
    control.serving()  # nobody hears it, and it does no harm
    control._socket.close()
