"""What goes wrong, by name. Each fault does its harm, mends what has to be mended, and says when that was."""

import random
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.chaos.checker import NOTIFIER_DEATH
from tests.chaos.cluster import Cluster
from tests.chaos.saboteur import DEATHS
from tests.chaos.slots import KeptSlot, signal_process
from tests.chaos.stage import BadModel, Stage
from tests.chaos.store import Store
from tests.chaos.telling import Telling
from tests.env.notifier import Answer

from rollcast_cli.local.processes import wait_until

__all__ = ["FAULTS", "Scene", "faults_for"]

_SECONDS = 120.0
_SLOW_SECONDS = 5.0


@dataclass(slots=True)
class Scene:
    """All that a fault may reach for. `random` decides whom it hits."""

    stage: Stage
    cluster: Cluster
    store: Store
    random: random.Random
    next_model: int = 1

    def any_slot(self) -> KeptSlot:
        return self.random.choice(sorted(self.stage.slots.values(), key=lambda slot: slot.ordinal))

    def take_model(self) -> int:
        """The next one in turn; those that have all been served come round again."""
        number = self.next_model % self.stage.models
        self.next_model += 1
        return number


Inflict = Callable[[Scene], str]
"""Returns its target, once all is whole again as far as it is the fault's to make it so."""


def _streamer(slot: KeptSlot) -> int:
    """Faults come one upon the other: this one may have to wait until the last one's victim is back."""
    pid = wait_until(lambda: slot.streamer_pid, what=f"{slot.name} says who it is", timeout_seconds=_SECONDS)
    assert pid is not None
    return pid


def _kill_streamer(scene: Scene) -> str:
    slot = scene.any_slot()
    signal_process(_streamer(slot), signal.SIGKILL)
    return slot.name


def _kill_streamer_at(point: str) -> Inflict:
    def inflict(scene: Scene) -> str:
        slot = scene.any_slot()
        slot.die_at(point)
        return slot.name

    return inflict


def _kill_host(scene: Scene) -> str:
    slot = scene.any_slot()
    pid = wait_until(lambda: slot.host_pid, what=f"{slot.name} has a host", timeout_seconds=_SECONDS)
    signal_process(pid, signal.SIGKILL)
    return slot.name


def _stop_streamer(seconds: float) -> Inflict:
    def inflict(scene: Scene) -> str:
        slot = scene.any_slot()
        pid = _streamer(slot)
        signal_process(pid, signal.SIGSTOP)
        try:
            time.sleep(seconds)  # the fault itself
        finally:
            signal_process(pid, signal.SIGCONT)
        return slot.name

    return inflict


def _restart_slot(scene: Scene) -> str:
    slot = scene.any_slot()
    code = slot.terminate()
    slot.start_again()
    slot.wait_ready()
    return f"{slot.name}, exit code {code}"


def _join_and_leave(scene: Scene) -> str:
    slot = scene.stage.add_slot(max(scene.stage.slots) + 1)
    slot.wait_ready(partitions=1)
    del scene.stage.slots[slot.ordinal]
    slot.stop()
    return slot.name


def _kill_broker(scene: Scene) -> str:
    number = scene.random.randrange(len(scene.cluster))
    scene.cluster.kill(number)
    scene.cluster.restart(number)
    return f"broker {number + 1}"


def _stop_broker(scene: Scene) -> str:
    number = scene.random.randrange(len(scene.cluster))
    scene.cluster.pause(number)
    return f"broker {number + 1}"


def _announce_without_s3(scene: Scene) -> str:
    number = scene.take_model()
    scene.stage.upload(number)
    scene.store.stop()
    try:
        scene.stage.announce(number)
        time.sleep(2.0)  # the fault itself
    finally:
        scene.store.start()
    return f"model {number + 1}"


def _announce(scene: Scene) -> str:
    number = scene.take_model()
    scene.stage.announce(number)
    return f"model {number + 1}"


def _announce_with_slow_s3(scene: Scene) -> str:
    number = scene.take_model()
    scene.stage.upload(number)
    with scene.store.stopped():
        scene.stage.announce(number)
        time.sleep(_SLOW_SECONDS)  # the fault itself
    return f"model {number + 1}"


def _announce_overwritten(scene: Scene) -> str:
    number = scene.take_model()
    scene.stage.announce_overwritten(number)
    return f"model {number + 1}"


def _announce_bad(how: BadModel) -> Inflict:
    def inflict(scene: Scene) -> str:
        scene.stage.announce_bad(how, damage=scene.store.damage)
        return "all slots"

    return inflict


def _poison(*, deadly: bool) -> Inflict:
    def inflict(scene: Scene) -> str:
        scene.stage.client.poison(deadly=deadly)
        return "a host"

    return inflict


def _bad_records(scene: Scene) -> str:
    scene.stage.client.burst_of_bad_records()
    return "all slots"


def _telling(scene: Scene) -> Telling:
    assert scene.stage.telling is not None
    return scene.stage.telling


def _kill_notifier(scene: Scene) -> str:
    telling = _telling(scene)
    pid = wait_until(lambda: telling.pid, what="the notifier is ready", timeout_seconds=_SECONDS)
    signal_process(pid, signal.SIGKILL)
    return "the notifier"


def _kill_notifier_at(point: str) -> Inflict:
    def inflict(scene: Scene) -> str:
        _telling(scene).die_at(point)
        return "the notifier"

    return inflict


def _channel(*answers: Answer) -> Inflict:
    def inflict(scene: Scene) -> str:
        telling = _telling(scene)
        with telling.answering(answers):
            telling.wait_tried(len(answers))
        return "the webhook"

    return inflict


FAULTS: Mapping[str, Inflict] = {
    "kill-streamer": _kill_streamer,
    **{f"kill-{point}": _kill_streamer_at(point) for point in DEATHS},
    "kill-host": _kill_host,
    "stop-streamer-2s": _stop_streamer(2.0),
    "stop-streamer-15s": _stop_streamer(15.0),
    "stop-streamer-70s": _stop_streamer(70.0),
    "restart-slot": _restart_slot,
    "join-and-leave": _join_and_leave,
    "kill-broker": _kill_broker,
    "stop-broker-2s": _stop_broker,
    "announce-without-s3": _announce_without_s3,
    "announce-slow-s3": _announce_with_slow_s3,
    "overwritten-model": _announce_overwritten,
    "swap": _announce,
    "broken-model": _announce_bad("broken"),
    "wrong-digest": _announce_bad("wrong-digest"),
    "truncated-in-s3": _announce_bad("truncated"),
    "bit-flipped-in-s3": _announce_bad("bit-flipped"),
    "deadly-request": _poison(deadly=True),
    "slow-request": _poison(deadly=False),
    "bad-records": _bad_records,
    NOTIFIER_DEATH: _kill_notifier,
    **{f"{NOTIFIER_DEATH}-{point}": _kill_notifier_at(point) for point in ("after-record", "after-send")},
    "channel-down": _channel(Answer(503, taken=False)),
    "channel-slow": _channel(Answer(seconds=0.5)),
    "channel-throttled": _channel(Answer(429, taken=False, headers={"Retry-After": "1"})),
    "channel-silent": _channel(Answer(cut=True)),
}

_LONG = frozenset({"stop-streamer-70s"})


def faults_for(brokers: int, *, long: bool = False) -> tuple[str, ...]:
    """All of them, those that take a minute only where it is `long`; but the only broker there is stays alive.

    A broker that starts again is for a moment the leader of nothing. Kafka 4.3.1 takes a partition without a leader for
    one that was deleted, and completes a transaction that was being committed without its marker there: its records
    belong to the same producer's next transaction in that partition, and its offsets are not committed. No client can
    make up for that. With replicas there is always a leader.
    """
    return tuple(name for name in FAULTS if (brokers > 1 or name != "kill-broker") and (long or name not in _LONG))
