"""The judge finds what is wrong with telling: each planted bug on real Kafka, and nothing without one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.chaos.actors import Reader
from tests.chaos.checker import Limits, Verdict, judge
from tests.chaos.history import Event, Fault, read_history
from tests.chaos.notifier_saboteur import NOTIFIER_DEATHS
from tests.chaos.telling import Telling
from tests.env.kafka import RealKafka
from tests.env.notifier import Answer

from rollcast_cli.local.processes import wait_until
from rollcast_common.kafka import KafkaParams, TopicNames

_PREDICTIONS = 120
_SECONDS = 180.0


class Play:
    """A notifier and its receivers; predictions come from us, and what came of them is judged."""

    def __init__(self, kafka: KafkaParams, names: TopicNames, folder: Path, bug: str) -> None:
        self._folder = folder
        self.telling = Telling(kafka, names, folder / "notifier", sabotage=("die", bug))
        self._reader = Reader(kafka, names, folder / "reader.jsonl")
        self.faults: list[Event] = []

    def begin(self) -> None:
        self.telling.start()
        self._reader.start()

    def predict(self) -> None:
        predictions = self.telling.world.predictions
        predictions.send(_PREDICTIONS)
        predictions.flush()
        wait_until(lambda: self._reader.seen >= predictions.count, what="all can be read", timeout_seconds=_SECONDS)

    def die(self, point: str) -> None:
        """While there is something to do."""
        deaths = len(self.telling.restarts)
        self.faults.append(Fault(kind=f"kill-notifier-{point}", target="the notifier", time=0.0))
        self.telling.order_death(point)
        self.predict()
        wait_until(lambda: len(self.telling.restarts) > deaths, what=f"it dies {point}", timeout_seconds=_SECONDS)
        self.telling.wait_ready()

    def verdict(self) -> Verdict:
        self.telling.drain(self._reader.predicted)
        self._reader.stop()
        self.telling.stop(self._folder / "telling.jsonl")
        events = [*read_history(self._folder.glob("*.jsonl")), *self.faults]
        return judge(events, Limits(catch_up_seconds=None))


@contextmanager
def played(kafka: RealKafka, prefix: str, folder: Path, bug: str) -> Iterator[Play]:
    play = Play(kafka.params, kafka.create_topics(prefix), folder, bug)
    try:
        play.begin()
        yield play
    finally:
        play.telling.kill()


def broken(verdict: Verdict) -> list[str]:
    """Nobody asked here, and nobody announced a model: only what is told is judged."""
    return [violation.what for violation in verdict.violations if violation.invariant == 6]


@pytest.mark.parametrize(
    ("bug", "deaths", "what"),
    [
        ("committed-before-recorded", ["after-record"], "was never told"),
        ("place-too-far", [], "was never told"),
        ("all-are-told", [], "was not to be"),
        ("read-and-told-again", ["after-settle"], "were told again whose answer had come"),
        ("sent-before-called", [], "was never told"),
        ("sent-is-forgotten", [], "were told again whose answer had come"),
    ],
)
def test_a_planted_bug_is_found(
    kafka: RealKafka, topic_prefix: str, tmp_path: Path, bug: str, deaths: list[str], what: str
) -> None:
    with played(kafka, topic_prefix, tmp_path, bug) as play:
        if bug == "sent-before-called":
            with play.telling.answering([Answer(), Answer(503, taken=False)]):
                before = play.telling.receiver.tries
                play.predict()
                play.telling.wait_tried(10, since=before)
        for point in deaths:
            play.die(point)
        play.predict()
        found = broken(play.verdict())
        assert any(what in violation for violation in found), found


def test_without_a_bug_nothing_is_found_whatever_dies_or_fails(
    kafka: RealKafka, topic_prefix: str, tmp_path: Path
) -> None:
    with played(kafka, topic_prefix, tmp_path, "none") as play:
        for point in NOTIFIER_DEATHS:
            play.die(point)
        moody = [Answer(), Answer(503, taken=False), Answer(cut=True), Answer(429, taken=False), Answer(seconds=0.1)]
        with play.telling.answering(moody):
            before = play.telling.receiver.tries
            play.predict()
            play.telling.wait_tried(len(moody), since=before)
        verdict = play.verdict()
        assert broken(verdict) == []
        assert verdict.untold == 0
        assert verdict.told > _PREDICTIONS
        assert play.telling.ended_unasked == []


def test_reading_a_little_again_at_each_start_tells_nobody_twice(
    kafka: RealKafka, topic_prefix: str, tmp_path: Path
) -> None:
    with played(kafka, topic_prefix, tmp_path, "place-forgotten") as play:
        play.die("after-settle")
        play.predict()
        verdict = play.verdict()
        assert broken(verdict) == []
        assert verdict.told_twice == 0
