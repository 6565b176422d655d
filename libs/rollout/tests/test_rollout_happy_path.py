"""One version after another goes live, seen from far away."""

from hashlib import sha256

from rollcast_common.contracts import ServedVersion
from rollcast_rollout.model_version import Artifact, ModelVersion, Rollout, Serving, Step
from rollcast_rollout.observed import Pinned
from rollcast_rollout.simulation import World

STEPS = Rollout(shadow_seconds=None, steps=(Step(10, 5), Step(50, 5)))


def _version(number: int) -> tuple[ModelVersion, Pinned]:
    name, uri = f"v{number}", f"s3://models/v{number}.skops"
    version = ModelVersion(
        uid=f"uid-{number}",
        name=f"model-{number}",
        namespace="default",
        generation=1,
        created=float(number),
        deleting=False,
        model="model",
        version=name,
        artifact=Artifact(uri),
        serving=Serving(replicas=2),
        rollout=STEPS,
    )
    digest = sha256(name.encode()).hexdigest()
    return version, Pinned(ServedVersion(version=name, uri=uri, format="skops", sha256=digest))


def _run(world: World, seconds: int) -> None:
    for _ in range(seconds):
        world.pass_time(1)
        world.settle()


def test_the_first_version_goes_live_at_once_and_the_next_by_its_steps() -> None:
    world = World()
    world.create(*_version(1))
    _run(world, 5)
    assert world.resources["uid-1"].status["phase"] == "Live"
    world.create(*_version(2))
    _run(world, 20)
    assert {uid: version.status["phase"] for uid, version in world.resources.items()} == {
        "uid-1": "Superseded",
        "uid-2": "Live",
    }
    weights = [each.weight for each in world.published if each is not None and each.candidate is not None]
    assert weights == [0, 10, 50]
