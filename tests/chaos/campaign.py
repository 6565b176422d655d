"""A campaign: requests flow, and one fault after another, in an order that a seed decides, tries to break a promise."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.checker import Limits, Verdict, judge
from tests.chaos.cluster import kafka_cluster
from tests.chaos.faults import FAULTS, Scene
from tests.chaos.history import Event, Fault
from tests.chaos.stage import PARTITIONS, Stage
from tests.chaos.store import Store
from tests.env.predictor import World

from rollcast_cli.local.processes import wait_until

__all__ = ["Campaign", "Played", "play"]

_LIMITS = Limits(unready_seconds=20.0, unowned_seconds=30.0, catch_up_seconds=30.0)
_MOST_MODELS = 12


@dataclass(frozen=True, slots=True)
class Campaign:
    seed: int
    requests: int
    """At least so many; they go on until the last fault is over."""

    faults: Sequence[str]
    per_second: float = 150.0
    rounds: int = 3
    """How many times each fault is inflicted, at least."""

    minutes: float = 0.0
    """At least so long."""

    brokers: int = 1
    slots: int = 2
    most_pause_seconds: float = 3.0
    """Between a fault's end and the next one."""

    limits: Limits = _LIMITS
    batch_deadline_seconds: float = 1.0
    """Of the slots. Shorter than a busy machine may stop a host for, it takes good models for hung ones."""


@dataclass(frozen=True, slots=True)
class Played:
    verdict: Verdict
    events: list[Event]
    restarts: dict[str, list[int]]
    """By slot, or of the notifier: exit codes of those that ended unasked."""

    seconds: float


def play(campaign: Campaign, folder: Path, say: Callable[[str], None] = lambda _: None) -> Played:
    began = time.monotonic()
    chance = random.Random(campaign.seed)  # noqa: S311  # no secret: the same again from the same seed
    store = Store(folder / "s3")
    with kafka_cluster(folder, campaign.brokers) as cluster:
        store.start()
        try:
            world = World(cluster.params, cluster.create_topics("chaos.", PARTITIONS), store.params, folder)
            with Stage(
                world,
                seed=campaign.seed,
                per_second=campaign.per_second,
                models=_MOST_MODELS,
                sabotage=("die", "none"),
                telling=True,
                batch_deadline_seconds=campaign.batch_deadline_seconds,
            ) as stage:
                stage.begin(campaign.slots)
                scene = Scene(stage, cluster, store, chance)
                _inflict(campaign, scene, say)
                say("the last fault is over")
                events = stage.end()
                restarts = {slot.name: slot.restarts for slot in stage.slots.values() if slot.restarts}
                if stage.telling is not None and stage.telling.ended_unasked:
                    restarts["notifier"] = stage.telling.ended_unasked
        finally:
            store.stop()
    return Played(judge(events, campaign.limits), events, restarts, time.monotonic() - began)


def _inflict(campaign: Campaign, scene: Scene, say: Callable[[str], None]) -> None:
    """Rounds of all faults, each in an order of its own."""
    stage = scene.stage
    began = time.monotonic()
    rounds = 0

    def is_over() -> bool:
        long_enough = time.monotonic() - began >= 60 * campaign.minutes
        return rounds >= campaign.rounds and long_enough and stage.client.sent >= campaign.requests

    while not is_over():
        kinds = list(campaign.faults)
        scene.random.shuffle(kinds)
        for kind in kinds:
            before = stage.client.sent
            wait_until(lambda: stage.client.sent > before, what="requests flow", timeout_seconds=120)  # noqa: B023  # called at once
            started = time.monotonic()
            target = FAULTS[kind](scene)
            until = time.monotonic()
            stage.note(Fault(kind=kind, target=target, time=started, until=until))
            stage.check()
            say(f"{started - began:6.1f} s  {kind} ({target}), {until - started:.1f} s; {stage.client.sent} sent")
            time.sleep(scene.random.uniform(0.2, campaign.most_pause_seconds))  # faults overlap recoveries, or not
        rounds += 1
