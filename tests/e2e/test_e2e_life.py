"""The life of an installation, in order: each test goes on where the one before ended, under traffic all the time."""

from tests.e2e.installation import OPERATOR, SLOTS, Installation
from tests.e2e.play import Play


def test_the_first_model_answers(installed: Installation, play: Play) -> None:
    installed.cluster.wait(lambda: play.reader.seen >= 500, "500 answers")
    play.check()
    assert len(installed.slots()) == 2


def test_a_canary_goes_live(installed: Installation, play: Play) -> None:
    installed.serve(play, 3.0, "v2")
    installed.wait_for_phase("v1", "Superseded", seconds=30)


def test_a_slot_is_deleted(installed: Installation, play: Play) -> None:
    slot = installed.slots()[0]["metadata"]
    with play.fault("slot deleted", slot["name"]):
        installed.cluster.kubectl("delete", "pod", slot["name"], "--wait=false")
        installed.wait_until_ready(SLOTS, 2, not_these=[slot["uid"]])


def test_the_operator_is_deleted_during_a_rollout(installed: Installation, play: Play) -> None:
    (operator,) = installed.cluster.pods(OPERATOR)
    with play.fault("operator deleted", operator["metadata"]["name"]):
        installed.cluster.kubectl("delete", "pod", operator["metadata"]["name"], "--wait=false")
        installed.wait_until_ready(OPERATOR, 1, not_these=[operator["metadata"]["uid"]])


def test_every_slot_is_evicted_in_turn(installed: Installation, play: Play) -> None:
    for slot in installed.slots():
        with play.fault("slot evicted", slot["metadata"]["name"]):
            installed.cluster.evict(slot["metadata"]["name"])
            installed.wait_until_ready(SLOTS, 2, not_these=[slot["metadata"]["uid"]])


def test_nothing_was_lost_or_doubled(play: Play) -> None:
    verdict, felt = play.end()
    print(verdict, felt)  # noqa: T201  # shown when it fails
    assert verdict.kept, verdict
    assert verdict.lost == verdict.doubled == verdict.wrong == 0
    assert verdict.requests > 1000
