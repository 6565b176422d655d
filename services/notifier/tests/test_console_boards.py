"""The boards of models, accuracy and dead letters: pure pictures of what the topics said."""

import json
from typing import Any

import msgspec
import pytest

from rollcast_common.contracts import Assignment, DeadLetterReason, GroundTruth, PredictorStatus, ServedVersion
from rollcast_common.contracts.dead_letter import DeadLetter, dead_letter_headers, replay_mark_headers
from rollcast_common.contracts.predictor_status import TrackCounts, VersionReport
from rollcast_notifier.console.accuracy import AccuracyBoard
from rollcast_notifier.console.letters import LetterBoard
from rollcast_notifier.console.models_board import ModelsBoard, phase_of
from rollcast_notifier.console.reader import Record

V1 = ServedVersion(version="v1", uri="s3://b/v1.skops", format="skops", sha256="1" * 64)
V2 = ServedVersion(version="v2", uri="s3://b/v2.skops", format="skops", sha256="2" * 64)
KEY = "local/default/m"


def assigned(stable: ServedVersion, candidate: ServedVersion | None = None, **changes: Any) -> Assignment:
    salt = "0" * 16 if candidate else None
    return Assignment(
        model="m", generation=changes.pop("generation", 1), stable=stable, candidate=candidate, salt=salt, **changes
    )


@pytest.mark.parametrize(
    ("assignment", "phase"),
    [
        (assigned(V1), "live"),
        (assigned(V1, V2), "preparing"),
        (assigned(V1, V2, shadow=True), "shadow"),
        (assigned(V1, V2, weight=5.0), "canary"),
        (assigned(V1, V2, weight=5.0, shadow=True), "canary"),
    ],
)
def test_the_phase_is_what_the_assignment_says(assignment: Assignment, phase: str) -> None:
    assert phase_of(assignment) == phase


def test_a_rollout_is_told_step_by_step() -> None:
    board = ModelsBoard()
    told = []
    for time, assignment in enumerate(
        [
            assigned(V1),
            assigned(V1, V2, shadow=True, generation=2),
            assigned(V1, V2, shadow=True, generation=3),  # bins, say: no step
            assigned(V1, V2, weight=25.0, generation=4),
            assigned(V2, generation=5),
        ]
    ):
        board.assign(KEY, assignment, time)
        (model,) = board.picture(10)
        told.append((model["since"], model["phase"], model["weight"], model["change"]))
    assert told == [
        (0, "live", 0, "v1 answers all requests"),
        (1, "shadow", 0, "v2 is scored beside it, unseen"),
        (1, "shadow", 0, "v2 is scored beside it, unseen"),
        (3, "canary", 25, "v2 answers 25 % of the keys"),
        (4, "live", 0, "v2 was promoted and answers all requests"),
    ]
    assert [step["weight"] for step in board.picture(10)[0]["steps"]] == [0, 0, 25, 0]
    board.assign(KEY, None, 6)
    assert board.picture(10) == []


def test_a_candidate_that_was_taken_off_is_said_to_be() -> None:
    board = ModelsBoard()
    board.assign(KEY, assigned(V1, V2, weight=5.0), 1)
    board.assign(KEY, assigned(V1, generation=2), 2)
    assert board.picture(3)[0]["change"] == "v2 was taken off; v1 answers all requests"


def test_slots_tell_what_they_have_loaded_and_what_went_wrong() -> None:
    board = ModelsBoard()
    board.assign(KEY, assigned(V1, V2, weight=5.0, generation=7), 1)
    status = PredictorStatus(
        slot="s",
        ordinal=1,
        instance="i",
        time=100_000,
        generation=7,
        partitions=3,
        stable=VersionReport(version="v1", sha256="1" * 64, state="ready"),
        candidate=VersionReport(version="v2", sha256="2" * 64, state="refused", reason="Bad", message="a pickle"),
        candidate_counts=TrackCounts(errors=2),
        last_error="disk full",
    )
    board.report(f"{KEY}/1", status)
    (slot,) = board.picture(101_000)[0]["slots"]
    assert (slot["partitions"], slot["current"], slot["silent"], slot["error"]) == (3, True, False, "disk full")
    assert (slot["candidate"]["state"], slot["candidate"]["message"]) == ("refused", "a pickle")
    assert board.picture(120_000)[0]["slots"][0]["silent"]
    # Who was scaled away long ago is gone.
    assert board.picture(1_000_000)[0]["slots"] == []
    board.report(f"{KEY}/1", None)
    assert board.picture(101_000)[0]["slots"] == []


def truth(number: int, actual: Any, said: Any, *, version: str = "v1", model: str = "m") -> GroundTruth:
    return GroundTruth(
        prediction_id=f"local/default/{model}:r-{number}",
        model=model,
        version=version,
        actual=msgspec.Raw(json.dumps(actual).encode()),
        prediction=msgspec.Raw(json.dumps(said).encode()),
        source="console:ann",
        time=number,
    )


def test_errors_of_numbers_are_told_by_version() -> None:
    board = AccuracyBoard()
    for number, (actual, said, version) in enumerate([(10, 12, "v1"), (20, 17, "v1"), (30, 30.5, "v2"), (7, 9, "v1")]):
        board.add(truth(number, actual, said, version=version))
    picture = board.picture()
    first, second = picture["numbers"]["versions"]
    assert (first["version"], first["answers"], first["median"]) == ("v1", 3, 2)
    assert first["mae"] == pytest.approx(7 / 3)
    assert first["rmse"] == pytest.approx(((4 + 9 + 4) / 3) ** 0.5)
    assert first["bias"] == pytest.approx(1 / 3)
    assert second["mae"] == 0.5
    assert picture["numbers"]["points"] == [[10, 12, 0], [20, 17, 0], [30, 30.5, 1], [7, 9, 0]]
    assert [answer["id"] for answer in picture["recent"]] == ["r-3", "r-2", "r-1", "r-0"]


def test_of_several_answers_to_a_prediction_the_latest_counts() -> None:
    board = AccuracyBoard()
    board.add(truth(1, 10, 12))
    board.add(truth(1, 12, 12))
    assert board.picture()["numbers"]["versions"][0]["mae"] == 0
    assert board.picture()["answers"] == 1


def test_confusions_of_classes_are_counted() -> None:
    board = AccuracyBoard()
    for number, (actual, said) in enumerate([("red", "red"), ("red", "white"), ("white", "white"), ("rosé", "red")]):
        board.add(truth(number, actual, said))
    classes = board.picture()["classes"]
    assert classes["names"] == ["red", "rosé", "white"]
    assert classes["counts"] == [[1, 0, 1], [1, 0, 0], [0, 0, 1]]
    assert classes["versions"] == [{"version": "v1", "answers": 4, "accuracy": 0.5}]


@pytest.mark.parametrize(
    ("actual", "said", "kind"),
    [(0, 1, "numbers"), (True, False, "classes"), ("a", ["a"], "classes"), (3, [3.5], "numbers"), ("1", 1, "classes")],
)
def test_numbers_and_classes_are_told_apart(actual: Any, said: Any, kind: str) -> None:
    board = AccuracyBoard()
    board.add(truth(1, actual, said))
    picture = board.picture()
    assert picture[kind] is not None
    assert picture["classes" if kind == "numbers" else "numbers"] is None


def test_an_answer_without_what_was_said_is_counted_apart() -> None:
    board = AccuracyBoard()
    board.add(truth(1, 10, None))
    picture = board.picture()
    assert (picture["answers"], picture["unknown"], picture["numbers"], picture["classes"]) == (1, 1, None, None)
    assert picture["recent"][0]["said"] is None


def test_what_is_no_answer_is_passed_over() -> None:
    board = AccuracyBoard()
    wrong: list[Any] = [None, {}, [1, 2]]
    for actual in wrong:
        board.add(truth(1, actual, 1))
    assert (board.unreadable, board.picture()["models"]) == (3, [])


def test_each_model_has_its_own_figures() -> None:
    board = AccuracyBoard()
    board.add(truth(1, 10, 12, model="a"))
    board.add(truth(2, 10, 15, model="b"))
    assert board.picture()["model"] == "b"
    assert board.picture("a")["numbers"]["versions"][0]["mae"] == 2
    assert board.picture("no such")["model"] == "b"


def letter(offset: int, reason: DeadLetterReason = DeadLetterReason.NOT_JSON, value: bytes | None = b"{") -> Record:
    why = DeadLetter(reason, "why", "requests", 3, 42, "m", "v1", f"r-{offset}")
    return Record(0, offset, b"key", value, list(dead_letter_headers(why)), offset, is_history=False)


def test_dead_letters_are_counted_by_reason_and_the_latest_shown() -> None:
    board = LetterBoard()
    for offset in range(60):
        board.add(letter(offset, DeadLetterReason.WRONG_TYPE if offset % 3 else DeadLetterReason.EMPTY))
    picture = board.picture()
    assert picture["reasons"] == {"wrong-type": 40, "empty": 20}
    assert len(picture["latest"]) == 50
    first = picture["latest"][0]
    assert (first["place"], first["source"], first["request"]) == ("0:59", "requests 3:42", "r-59")


def test_a_letter_read_twice_is_one() -> None:
    board = LetterBoard()
    board.add(letter(1))
    board.add(letter(1))
    assert board.picture()["reasons"] == {"not-json": 1}


def test_an_original_is_cut_and_need_be_no_text() -> None:
    board = LetterBoard()
    board.add(letter(1, value=b"\xff\x00" * 100_000))
    board.add(letter(2, value=None))
    empty, large = board.picture()["latest"]
    assert empty["original"] is None
    assert (len(large["original"]), large["size"], large["cut"]) == (2000, 200_000, True)


def test_a_letter_that_was_sent_again_says_so() -> None:
    board = LetterBoard()
    board.add(letter(1))
    board.add(Record(0, 2, None, None, list(replay_mark_headers(0, 1)), 2, is_history=False))
    (shown,) = board.picture()["latest"]
    assert shown["replayed"]
    board.add(Record(0, 3, None, b"x", [], 3, is_history=False))
    assert board.unreadable == 1
