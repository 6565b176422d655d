"""One rollout from creation to its end, by a clock that nobody waits for."""

from hashlib import sha256

import numpy as np

from bench.simulate_rollouts.candidates import CANDIDATES
from bench.simulate_rollouts.recording import Recording
from bench.simulate_rollouts.traffic import Traffic
from rollcast_common.contracts import PredictionBins, ServedVersion
from rollcast_rollout.bins import bins_of
from rollcast_rollout.model_version import Artifact, ModelVersion, Rollout, Serving
from rollcast_rollout.observed import Pinned
from rollcast_rollout.simulation import World

__all__ = ["LONGEST_SECONDS", "trial"]

LONGEST_SECONDS = 1_200
_ENDS = {"Live", "RolledBack", "Failed"}


def trial(
    recording: Recording, kind: str, seed: int, *, slots: int = 3, rows_per_second: int = 100, rollout: Rollout
) -> tuple[str, int]:
    """How it ended, Live or the failure's reason, and after how many seconds. The same seed ends the same way.

    `rows_per_second` are each slot's.
    """
    rng = np.random.default_rng([seed, *kind.encode()])
    world = World()
    traffic = Traffic(recording, CANDIDATES[kind](recording, rng), rng, slots=slots)
    bins = bins_of(recording.stable.tolist())
    _create(world, "stable", slots, rollout, bins)
    _run(world, traffic, 0, seconds=4)
    _create(world, f"{kind} {seed}", slots, rollout, bins)
    for second in range(LONGEST_SECONDS):
        _run(world, traffic, rows_per_second, seconds=1)
        status = world.resources[f"{kind} {seed}"].status
        if status["phase"] in _ENDS:
            return str(status.get("lastFailure", {}).get("reason", status["phase"])), second
    return "never ends", LONGEST_SECONDS


def _create(world: World, name: str, slots: int, rollout: Rollout, bins: PredictionBins) -> None:
    uri = f"s3://models/{name}.skops"
    served = ServedVersion(version=name, uri=uri, format="skops", sha256=sha256(name.encode()).hexdigest())
    version = ModelVersion(
        uid=name,
        name=name,
        namespace="default",
        generation=1,
        created=world.now,
        deleting=False,
        model="model",
        version=name,
        artifact=Artifact(uri),
        serving=Serving(replicas=slots),
        rollout=rollout,
    )
    world.create(version, Pinned(served, bins))


def _run(world: World, traffic: Traffic, rows: int, *, seconds: int) -> None:
    for _ in range(seconds):
        world.pass_time(1)
        for slot in world.running():
            if rows and slot.serving is not None:
                traffic.serve(slot, rows, world.now)
        world.report()
        world.settle()
