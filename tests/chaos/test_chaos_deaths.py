"""SIGKILL at each step of a batch's way: whatever was begun then happens once, or not at all and once again."""

from pathlib import Path

import pytest
from tests.chaos.checker import Limits, judge
from tests.chaos.saboteur import DEATHS
from tests.chaos.stage import PARTITIONS, Stage
from tests.env.kafka import RealKafka
from tests.env.predictor import World
from tests.env.s3 import S3

from rollcast_cli.local.processes import wait_until

_DEATHS_EACH = 2
_REQUESTS_BETWEEN = 150


@pytest.fixture
def world(kafka: RealKafka, s3: S3, topic_prefix: str, tmp_path: Path) -> World:
    return World(kafka.params, kafka.create_topics(topic_prefix, PARTITIONS), s3.params(), tmp_path)


@pytest.mark.parametrize("point", DEATHS)
def test_a_streamer_killed_here_loses_and_doubles_nothing(world: World, point: str) -> None:
    with Stage(world, seed=1, per_second=300, sabotage=("die", "none")) as stage:
        stage.begin()
        slot = stage.slots[0]
        for _ in range(_DEATHS_EACH):
            # It may be late to say who it is, and nobody is not somebody else.
            before = wait_until(lambda: slot.streamer_pid, what="one streams", timeout_seconds=180)
            seen = stage.reader.seen
            slot.die_at(point)
            wait_until(lambda: slot.streamer_pid not in (None, before), what="another streams", timeout_seconds=180)  # noqa: B023  # called at once
            wait_until(lambda: stage.reader.seen > seen + _REQUESTS_BETWEEN, what="it answers", timeout_seconds=180)  # noqa: B023  # as above
        verdict = judge(stage.end(), Limits())
    assert verdict.violations == []
    assert verdict.requests >= _DEATHS_EACH * _REQUESTS_BETWEEN
    assert slot.restarts == []  # it was the streamer that died, and its supervisor that knew what to do
