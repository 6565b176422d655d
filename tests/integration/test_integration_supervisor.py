"""The supervisor: a streamer that dies is followed at once, and everything else ends as one process would."""

import os
import signal
from functools import partial

import psutil
import pytest
from tests.env.predictor import Requests, Slot, World


@pytest.fixture
def requests(world: World) -> Requests:
    return world.requests()


def template_of(slot: Slot) -> psutil.Process:
    """Of the hosts: it has the libraries imported."""
    (template,) = [c for c in psutil.Process(slot.pid).children() if "rollcast_predictor.zygote" in c.cmdline()]
    return template


def streamers_of(slot: Slot) -> list[int]:
    return [c.pid for c in psutil.Process(slot.pid).children() if "rollcast_predictor.zygote" not in c.cmdline()]


def standby_of(slot: Slot) -> int | None:
    """The pid of the streamer that waits, once there is one."""
    active = slot.health().get("pid")
    waiting = [pid for pid in streamers_of(slot) if pid != active]
    return waiting[0] if active and waiting else None


def _is_active(slot: Slot, pid: int) -> bool:
    return slot.health().get("pid") == pid


def test_a_killed_streamer_is_followed_by_the_one_that_stood_by(world: World, requests: Requests) -> None:
    world.publish("v1", 2)
    slot = world.serve("v1")
    for round_ in range(3):
        requests.send_x(range(round_ * 500, round_ * 500 + 500))
        requests.flush()
        successor = slot.wait(lambda: standby_of(slot), "another one stands by")
        os.kill(slot.health()["pid"], signal.SIGKILL)
        slot.wait(partial(_is_active, slot, successor), "it has taken over")
        slot.wait_for_version("v1")
    world.wait_answered(requests, [slot])
    world.check_exactly_once(requests)
    assert slot.child.alive
    assert slot.terminate() == 0


def test_a_standby_that_dies_is_missed_by_nobody(world: World, requests: Requests) -> None:
    world.publish("v1", 2)
    slot = world.serve("v1")
    standby = slot.wait(lambda: standby_of(slot), "one stands by")
    os.kill(standby, signal.SIGKILL)
    slot.wait(lambda: slot.events("standby ended"), "it is noticed")
    active = slot.health()["pid"]
    requests.send_x(range(100))
    world.wait_answered(requests, [slot])
    assert slot.health()["pid"] == active
    os.kill(active, signal.SIGKILL)
    slot.wait(lambda: slot.health().get("pid", active) != active, "a fresh one has taken over")
    requests.send_x(range(100, 200))
    world.wait_answered(requests, [slot])
    world.check_exactly_once(requests)


def test_a_template_that_dies_is_replaced_and_missed_by_nobody(world: World, requests: Requests) -> None:
    world.publish("v1", 2)
    slot = world.serve("v1")
    template, active, host = template_of(slot), slot.health()["pid"], slot.health()["host_pid"]
    template.kill()
    slot.wait(lambda: slot.events("the hosts' template ended"), "it is noticed")
    # The zygote that was forked for this streamer is its own by now.
    os.kill(host, signal.SIGKILL)
    requests.send_x(range(100))
    world.wait_answered(requests, [slot])
    assert slot.health()["pid"] == active
    slot.wait(lambda: standby_of(slot), "one stands by")
    os.kill(active, signal.SIGKILL)
    slot.wait(lambda: slot.health().get("pid", active) != active, "it has taken over")
    requests.send_x(range(100, 200))
    world.wait_answered(requests, [slot])
    world.check_exactly_once(requests)
    assert template_of(slot).pid != template.pid


def test_no_process_outlives_the_supervisor(world: World) -> None:
    world.publish("v1", 2)
    slot = world.serve("v1")
    slot.wait(lambda: standby_of(slot), "one stands by")
    family = psutil.Process(slot.pid).children(recursive=True)
    assert len(family) >= 4  # two streamers, a zygote, a host
    os.kill(slot.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(family, timeout=120)
    assert [process for process in alive if process.is_running() and process.status() != psutil.STATUS_ZOMBIE] == []


def test_without_a_standby_the_next_streamer_is_started_then(world: World, requests: Requests) -> None:
    world.publish("v1", 2)
    slot = world.serve("v1", "--no-standby")
    requests.send_x(range(100))
    world.wait_answered(requests, [slot])
    active = slot.health()["pid"]
    assert streamers_of(slot) == [active]
    os.kill(active, signal.SIGKILL)
    slot.wait(lambda: slot.health().get("pid", active) != active, "the next one has taken over")
    requests.send_x(range(100, 200))
    world.wait_answered(requests, [slot])
    world.check_exactly_once(requests)
