"""The whole way: train, publish, serve, swap. What comes out is what the model says, exactly once."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.env.predictor import Answers, Slot, World
from tests.env.records import check_answered_once, streaming, train

from rollcast_common.artifacts import sha256_of
from rollcast_common.contracts import Prediction
from rollcast_common.models.card import decode_card
from rollcast_common.models.files import load_model
from rollcast_common.models.scoring import Scorer

_CONFIG = Path(__file__).parents[2] / "examples" / "breast-cancer" / "train.yaml"
_MODEL = "breast-cancer"
_TRAINER = Path(sys.executable).with_name("rollcast-trainer")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The example's data set as requests."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    subprocess.run(
        [str(_TRAINER), "rows", "--config", str(_CONFIG), "--output", str(path)],
        stdin=subprocess.DEVNULL,
        check=True,
        timeout=300,
    )
    return path.read_bytes().splitlines()


class Offline:
    """What a version says about a row when nothing but rollcast_common is asked."""

    def __init__(self, folder: Path, version: str) -> None:
        path = folder / f"{version}.skops"
        card = decode_card((folder / f"{version}.card.json").read_bytes(), source=version)
        self.sha256 = sha256_of(path)
        self._scorer = Scorer(load_model(path, "skops"), card.input)

    def says(self, rows: Sequence[bytes]) -> dict[bytes, Any]:
        scored = self._scorer.score(rows)
        assert scored.errors == {}
        return {row: json.loads(result) for row, result in zip(rows, scored.results, strict=True)}


def serve(world: World, version: str) -> Slot:
    return world.serve(version, environ={"ROLLCAST_MODEL": _MODEL})


def check_values(predictions: Sequence[Prediction], offline: Offline, rows: Sequence[bytes]) -> None:
    """Each says what the model says about the very features that it carries."""
    says = offline.says(rows)
    assert {prediction.sha256 for prediction in predictions} == {offline.sha256}
    for prediction in predictions:
        assert prediction.value() == says[bytes(prediction.features)]


def wait_for_metrics(slot: Slot, answers: Answers) -> None:
    """They are counted just after the commit that makes an answer visible."""
    count = len(answers.predictions)
    slot.wait(lambda: slot.metric("batch_rows_sum")[""] >= count, "all answers are counted")
    # Of a batch the latency comes last: of each there are two, the oldest row's and the newest one's.
    slot.wait(
        lambda: slot.metric("latency_seconds_count")[""] == 2 * slot.metric("batches_total")[""], "all of it is counted"
    )
    slot.wait(lambda: slot.metric("assigned_partitions") == {"": 4}, "it is told what it owns")
    slot.wait(lambda: slot.metric("lag_records")[""] == 0, "no lag")
    assert slot.metric("predictions_total") == {"": count}
    assert slot.metric("batch_rows_sum") == {"": count}
    assert slot.metric("batch_rows_count") == slot.metric("batches_total")
    assert slot.counted("dead_letters_total") == {}
    assert slot.metric("skipped_records_total") == {"": 0}
    assert slot.metric("assigned_partitions") == slot.metric("input_partitions") == {"": 4}
    assert slot.metric("ready") == {"": 1}


def test_what_was_trained_is_what_answers(world: World, rows: list[bytes]) -> None:
    offline = Offline(train(world, _CONFIG, "v1"), "v1")
    slot = serve(world, "v1")
    requests = world.requests()
    for number, row in enumerate(rows):
        requests.send(row, b"patient-%d" % (number % 50))
    world.wait_answered(requests, [slot])

    answers = check_answered_once(world, requests)
    assert answers.dead_letters == []
    predictions = [prediction for _, prediction in answers.predictions]
    assert len(predictions) == len(rows) == 569
    check_values(predictions, offline, rows)
    assert {prediction.value() for prediction in predictions} == {"benign", "malignant"}
    assert {(prediction.model, prediction.version) for prediction in predictions} == {(_MODEL, "v1")}
    for key, prediction in answers.predictions:
        assert key is not None
        assert prediction.key == key.decode()
        assert prediction.prediction_id == f"test/default/{_MODEL}:{prediction.request_id}"
        assert 0 < prediction.request_time <= prediction.prediction_time
    wait_for_metrics(slot, answers)
    assert slot.metric("model_info") == {f'model="{_MODEL}",sha256="{offline.sha256}",track="stable",version="v1"': 1}
    health = slot.health()
    assert (health["version"], health["sha256"], health["problem"]) == ("v1", offline.sha256, None)


def test_a_second_training_swaps_the_model_under_a_stream(world: World, rows: list[bytes]) -> None:
    folder = train(world, _CONFIG, "v1")
    slot = serve(world, "v1")
    requests = world.requests()
    with streaming(requests, rows):
        slot.wait(lambda: slot.metric("predictions_total")[""] > 1000, "answers of v1")
        train(world, _CONFIG, "v2", "--seed", "7")
        slot.wait_for_version("v2", partitions=4)
        before = slot.metric("predictions_total")[""]
        slot.wait(lambda: slot.metric("predictions_total")[""] > before + 1000, "answers of v2")
    world.wait_answered(requests, [slot])

    answers = check_answered_once(world, requests)
    assert answers.dead_letters == []
    for key, predictions in answers.by_key().items():
        versions = [prediction.version for prediction in predictions]
        assert versions == sorted(versions), key
        assert set(versions) == {"v1", "v2"}, key
    for version in ("v1", "v2"):
        told = [prediction for _, prediction in answers.predictions if prediction.version == version]
        check_values(told, Offline(folder, version), rows)
    wait_for_metrics(slot, answers)
    assert slot.metric("model_swaps_total") == {"": 1}
    [swap] = slot.events("model swapped")
    assert (swap["previous_version"], swap["version"]) == ("v1", "v2")
