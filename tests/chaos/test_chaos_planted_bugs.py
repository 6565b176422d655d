"""The judge is worth its name only if it finds what is wrong: each planted bug on real Kafka, under the right number,
and nothing without one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.chaos.checker import Limits, Verdict, judge
from tests.chaos.stage import PARTITIONS, Stage
from tests.env.kafka import RealKafka
from tests.env.predictor import World
from tests.env.s3 import S3

from rollcast_cli.local.processes import wait_until

_REQUESTS = 400
_PROVOKED = {"offsets-before-outputs": 1}
_ABORTS = 3


@pytest.fixture
def world(kafka: RealKafka, s3: S3, topic_prefix: str, tmp_path: Path) -> World:
    return World(kafka.params, kafka.create_topics(topic_prefix, PARTITIONS), s3.params(), tmp_path)


@contextmanager
def played(world: World, provocation: str, bug: str, *, isolation: str = "read_committed") -> Iterator[Verdict]:
    sabotage = (provocation, bug)
    with Stage(world, seed=1, per_second=300, isolation=isolation, sabotage=sabotage, standby=False) as stage:
        stage.begin()
        # A busy machine makes few large batches of them: it is asked until the bug has had its chance.
        enough = _ABORTS if provocation == "abort" else _PROVOKED.get(bug, 0)
        wait_until(
            lambda: stage.client.sent >= _REQUESTS and stage.slots[0].provoked() >= enough,
            what="all is asked, and provoked",
            timeout_seconds=120,
        )
        # What a bug has lost never catches up: there is nothing to wait for.
        yield judge(stage.end(catch_up_seconds=180.0 if bug == "none" else 5.0), Limits())


@pytest.mark.parametrize(
    ("provocation", "bug", "invariants"),
    [
        ("abort", "skipped-seek", {1, 3}),
        ("abort", "row-dropped-on-abort", {1, 3}),
        ("quiet", "offsets-before-outputs", {1, 3}),
        ("quiet", "row-answered-twice", {1}),
        ("quiet", "order-reversed", {2}),
        ("quiet", "offset-too-high", {3}),
        ("quiet", "results-swapped", {4}),
        ("quiet", "wrong-version", {4}),
        ("quiet", "wrong-digest", {4}),
    ],
)
def test_a_planted_bug_is_found(world: World, provocation: str, bug: str, invariants: set[int]) -> None:
    with played(world, provocation, bug) as verdict:
        assert invariants <= {violation.invariant for violation in verdict.violations}


def test_a_reader_of_aborted_answers_is_found(world: World) -> None:
    with played(world, "abort", "none", isolation="read_uncommitted") as verdict:
        assert verdict.doubled > 0
        assert 1 in {violation.invariant for violation in verdict.violations}


@pytest.mark.parametrize("provocation", ["abort", "quiet"])
def test_without_a_bug_nothing_is_found(world: World, provocation: str) -> None:
    with played(world, provocation, "none") as verdict:
        assert verdict.violations == []
        assert verdict.requests >= _REQUESTS
        assert verdict.dead_letters > 0
