"""The real wines: what is in the CSV file goes through as it is."""

import csv
import itertools
import json
import os
from pathlib import Path

import pytest
from tests.env.predictor import World
from tests.env.records import check_answered_once, train

_CONFIG = Path(__file__).parents[2] / "examples" / "wine-price" / "train.yaml"
_COUNT = 3000


@pytest.mark.wines
def test_every_wine_of_the_file_is_predicted(world: World) -> None:
    wines = Path(os.environ["WINES"])
    train(world, _CONFIG, "v1", "--data", str(wines))
    slot = world.serve("v1", environ={"ROLLCAST_MODEL": "wine-price"})
    requests = world.requests()
    with wines.open(encoding="utf-8", newline="") as file:
        rows = list(itertools.islice(csv.DictReader(file), _COUNT))
    assert len(rows) == _COUNT
    assert all(isinstance(cell, str) for row in rows for cell in row.values())
    for row in rows:
        requests.send(json.dumps(row).encode(), row["winery"].encode())
    world.wait_answered(requests, [slot])

    answers = check_answered_once(world, requests)
    assert answers.dead_letters == []
    assert len(answers.predictions) == _COUNT
    for key, prediction in answers.predictions:
        features = json.loads(bytes(prediction.features))
        assert features["winery"] == prediction.key == (key or b"").decode()
        assert prediction.value() > 0
    # A model that saw nothing of a row would say the same of all.
    assert len({prediction.value() for _, prediction in answers.predictions}) > _COUNT / 10
