"""Models that are announced: a notebook's own, refused ones while the old one serves on, and an S3 that is away."""

import os
import pickle
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import msgspec
import numpy as np
import pandas as pd
import pytest
import skops.io
from botocore.config import Config
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from tests.env.kafka import RealKafka
from tests.env.predictor import MODEL, Slot, World, line_of
from tests.env.records import announced_with_card, check_answered_once

from rollcast_cli.local.ports import free_ports
from rollcast_cli.local.s3 import start_s3
from rollcast_common.contracts import ModelTrained

_OTHER_MINOR = "1.2.2"


def put(world: World, key: str, body: bytes) -> None:
    """As a person would, with nothing but boto3."""
    secret = world.s3.secret_access_key
    assert secret is not None
    client = boto3.client(
        "s3",
        endpoint_url=world.s3.endpoint_url,
        region_name=world.s3.region,
        aws_access_key_id=world.s3.access_key_id,
        aws_secret_access_key=secret.get_secret_value(),
        config=Config(s3={"addressing_style": "path"}),
    )
    try:
        client.put_object(Bucket=world.s3.bucket, Key=key, Body=body)
    finally:
        client.close()


def kept(world: World, model: Any, name: str) -> bytes:
    path = world.folder / name
    skops.io.dump(model, path)
    return path.read_bytes()


def check_slope(world: World, slot: Slot, slope: float) -> None:
    """What is asked now, this model answers, and answers once."""
    before = len(world.read().predictions)
    requests = world.requests()
    requests.send_x(range(20))
    world.wait_answered(requests, [slot])
    answers = world.read()
    topic = world.names.full("requests")
    wanted = {sent.request_id(topic): sent for sent in requests.sent}
    told = [prediction for _, prediction in answers.predictions if prediction.request_id in wanted]
    assert len(answers.predictions) == before + 20
    assert sorted(prediction.value() for prediction in told) == pytest.approx([slope * x for x in range(20)])


FRAME = pd.DataFrame(
    {
        "kind": ["chair", "table", "lamp", "chair", "lamp", "table"],
        "size": [1.0, 2.5, 0.5, 1.5, 0.25, 3.0],
        "age": [10.0, 3.0, 7.0, 1.0, 20.0, 2.0],
    }
)


def shop_pipeline() -> Pipeline:
    columns = ColumnTransformer([("kind", OneHotEncoder(), ["kind"]), ("numbers", StandardScaler(), ["size", "age"])])
    return Pipeline([("columns", columns), ("line", LinearRegression())]).fit(
        FRAME, np.array([12.0, 55.0, 80.0, 14.0, 77.0, 61.0])
    )


def test_a_notebooks_pipeline_is_served_as_it_is(world: World) -> None:
    pipeline = shop_pipeline()
    put(world, "by-hand/2022-08-19.skops", kept(world, pipeline, "notebook.skops"))
    world.announce("by-hand/2022-08-19.skops")
    slot = world.serve("2022-08-19")
    requests = world.requests()
    rows = FRAME.to_json(orient="records", lines=True).splitlines()
    for row in rows:
        requests.send(row.encode(), row.encode())
    world.wait_answered(requests, [slot])
    answers = check_answered_once(world, requests)
    assert answers.dead_letters == []
    told = {key: prediction.value() for key, prediction in answers.predictions}
    assert [told[row.encode()] for row in rows] == pytest.approx(pipeline.predict(FRAME).tolist())

    put(world, "by-hand/another.skops", kept(world, line_of(4), "another.skops"))
    world.announce("by-hand/another.skops")
    slot.wait_for_version("another")
    check_slope(world, slot, 4)


def check_refused(slot: Slot, version: str, pattern: str) -> None:
    """Said on /readyz and once in the log, in the same words, in one line; and the slot is ready all the while."""
    problem = slot.wait_for_problem(rf"^{MODEL}@{version}: .*{pattern}")
    assert slot.health()["ready"]

    def lines() -> list[dict[str, Any]]:
        return [line for line in slot.events("model refused") if line["version"] == version]

    said = slot.wait(lines, "it is logged")
    assert [f"{MODEL}@{version}: {line['problem']}" for line in said] == [problem]
    assert [line["level"] for line in said] == ["error"]
    assert not [line for line in slot.lines() if "exception" in line or "Traceback" in line["event"]]


def test_a_pickle_is_refused_until_someone_vouches_for_it(world: World) -> None:
    world.publish("v1", 2)
    slot = world.serve("v1")
    put(world, "by-hand/pickled.pkl", pickle.dumps(line_of(5)))
    world.announce("by-hand/pickled.pkl")
    check_refused(slot, "pickled", "a pickle can run any code when it is loaded, and is not allowed here; save with")
    assert slot.health()["version"] == "v1"
    check_slope(world, slot, 2)
    assert slot.terminate() == 0

    allowing = world.serve("pickled", "--allow-pickle")
    check_slope(world, allowing, 5)


def digest_mismatch(world: World, version: str, _: pytest.MonkeyPatch) -> ModelTrained | str:
    ref = world.upload(line_of(9), version)
    return ModelTrained(model=MODEL, version=version, uri=ref.uri, format="skops", sha256="0" * 64)


def foreign_type(world: World, version: str, _: pytest.MonkeyPatch) -> ModelTrained | str:
    pipeline = Pipeline([("own", FunctionTransformer(_own_function)), ("line", line_of(9))])
    put(world, f"models/{version}.skops", kept(world, pipeline, f"{version}.skops"))
    return f"models/{version}.skops"


def _own_function(rows: Any) -> Any:
    return rows


def minor_in_card(world: World, version: str, _: pytest.MonkeyPatch) -> ModelTrained | str:
    ref = world.upload(line_of(9), version)
    return announced_with_card(world, ref, version, sklearn_version=_OTHER_MINOR)


def minor_in_file(world: World, version: str, monkeypatch: pytest.MonkeyPatch) -> ModelTrained | str:
    monkeypatch.setattr("sklearn.base.__version__", _OTHER_MINOR)
    body = kept(world, line_of(9), f"{version}.skops")
    monkeypatch.undo()
    put(world, f"models/{version}.skops", body)
    return f"models/{version}.skops"


def truncated(world: World, version: str, _: pytest.MonkeyPatch) -> ModelTrained | str:
    body = kept(world, line_of(9), f"{version}.skops")
    put(world, f"models/{version}.skops", body[: len(body) // 2])
    return f"models/{version}.skops"


def missing(_: World, version: str, __: pytest.MonkeyPatch) -> ModelTrained | str:
    return f"models/{version}.skops"


def golden_rows(world: World, version: str, _: pytest.MonkeyPatch) -> ModelTrained | str:
    ref = world.upload(line_of(9), version)
    return announced_with_card(world, ref, version, golden={'{"x": 1}': 9.0, '{"x": 2}': 18.5})


BAD_MODELS: dict[str, tuple[Callable[[World, str, pytest.MonkeyPatch], ModelTrained | str], str]] = {
    "digest-mismatch": (
        digest_mismatch,
        rf"sha256 is [0-9a-f]{{64}}, expected {'0' * 64}: the bytes are not the announced ones; upload",
    ),
    "foreign-type": (foreign_type, r"types that are not trusted here: .*_own_function.*; if they are yours, .*trusted"),
    "minor-in-card": (minor_in_card, rf"made with scikit-learn {_OTHER_MINOR}, this predictor has .*; train it again"),
    "minor-in-file": (minor_in_file, rf"made with scikit-learn {_OTHER_MINOR}, this predictor has .*; train it again"),
    "truncated": (truncated, r"not a skops file, or cut off; save the model with skops\.io\.dump and upload it again"),
    "missing": (missing, r"s3://\S+/models/missing\.skops: no such object; was it uploaded\?"),
    "golden-rows": (golden_rows, r"golden row 1: the card promises 18\.5, this model says 1[78]\.\d+; file and card"),
}


def test_what_cannot_be_served_is_refused_and_the_old_model_serves_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.publish("v1", 2)
    slot = world.serve("v1")
    for number, (version, (make, pattern)) in enumerate(BAD_MODELS.items(), start=1):
        world.announce(make(world, version, monkeypatch))
        check_refused(slot, version, pattern)
        slot.wait(lambda: slot.health()["generation"] == number + 1, f"it follows past {version}")  # noqa: B023  # at once
        assert slot.health()["version"] == "v1"
        slot.wait(lambda: slot.metric("models_refused_total") == {"": number}, "it is counted")  # noqa: B023  # at once
    check_slope(world, slot, 2)
    world.publish("v2", 3)
    slot.wait_for_version("v2")
    assert slot.health()["problem"] is None
    check_slope(world, slot, 3)


JUNK: dict[str, tuple[bytes, str]] = {
    "text": (b"hello world", r"Assignment: .+"),
    "bytes": (b"\xff\xfe\x00", r"Assignment: .+"),
    "empty": (b"", r"Assignment: .+"),
    "cut-off": (b'{"schema": "1.0", "model"', r"Assignment: .+"),
    "lacks-stable": (b'{"schema": "1.0", "model": "line", "generation": 9}', r"missing required field"),
    "newer-major": (b'{"schema": "7.0"}', r"schema 7\.0 is not known here"),
    "bad-digest": (
        b'{"model":"line","generation":9,"stable":{"version":"9","uri":"s3://b/a","format":"skops","sha256":"../etc"}}',
        r"sha256 was '\.\./etc', may be 64 hexadecimal digits",
    ),
}


def test_junk_on_topic_assignments_is_said_and_passed_over(world: World) -> None:
    world.publish("v1", 2)
    slot = world.serve("v1")
    for number, (name, (value, pattern)) in enumerate(JUNK.items(), start=1):
        world.put_assignment(value)
        slot.wait(lambda: len(slot.events("assignment ignored")) == number, name)  # noqa: B023  # called at once
        line = slot.events("assignment ignored")[-1]
        assert re.search(pattern, line["problem"]), (name, line["problem"])
        assert "\n" not in line["problem"]
    world.put_assignment(b"junk", model="another")
    world.publish("v2", 3)
    slot.wait_for_version("v2")
    assert len(slot.events("assignment ignored")) == len(JUNK)
    assert slot.events("model refused") == []
    check_slope(world, slot, 3)


def test_a_lower_generation_than_the_one_followed_changes_nothing(world: World) -> None:
    first = world.publish("v1", 2)
    world.publish("v2", 3)
    slot = world.serve("v2")
    world.generation = 0
    world.assign(first)
    slot.wait(lambda: slot.events("assignment ignored"), "it is noticed")
    assert slot.health()["version"] == "v2"
    world.generation = 2
    world.assign(first)
    slot.wait_for_version("v1")


def test_a_file_where_the_cache_folder_should_be_keeps_the_old_model_serving(world: World) -> None:
    world.publish("v1", 2)
    slot = world.serve("v1")
    cache = world.folder / "cache"
    cache.rename(world.folder / "moved-away")
    cache.write_text("in the way", encoding="utf-8")
    world.publish("v2", 3)
    slot.wait_for_problem(rf"^{MODEL}@v2: {re.escape(str(cache))}: cannot hold s3://.*; free space or choose another")
    assert slot.health()["version"] == "v1"
    check_slope(world, slot, 2)
    cache.unlink()
    slot.wait_for_version("v2")
    assert slot.health()["problem"] is None
    assert slot.metric("models_refused_total") == {"": 0}
    check_slope(world, slot, 3)


class StoppableS3:
    """An S3 server that a test may stop: the shared one is others' too."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_ports(1)[0]
        self.start()

    def start(self) -> None:
        """Empty, on the same port."""
        self._server = start_s3(log=self._folder / "s3.log", port=self._port)
        self.params = self._server.params

    def stop(self) -> None:
        self._server.stop()


@pytest.fixture
def stoppable_s3(tmp_path: Path) -> Iterator[StoppableS3]:
    s3 = StoppableS3(tmp_path)
    yield s3
    s3.stop()


def test_a_model_announced_while_s3_is_away_is_loaded_when_it_is_back(
    kafka: RealKafka, topic_prefix: str, tmp_path: Path, stoppable_s3: StoppableS3
) -> None:
    world = World(kafka.params, kafka.create_topics(topic_prefix), stoppable_s3.params, tmp_path)
    try:
        world.publish("v1", 2)
        slot = world.serve("v1")
        second = world.put_model("v2", 3)
        stoppable_s3.stop()
        world.assign(msgspec.structs.replace(second, version_id=None))
        problem = slot.wait_for_problem(r"^line@v2: .*s3://\S+/models/v2\.skops: not reachable; is S3 running")
        assert slot.health()["version"] == "v1"
        check_slope(world, slot, 2)
        # An S3 that is back without the file would be believed; this one comes back empty.
        streamer = slot.streamer_pid
        os.kill(streamer, signal.SIGSTOP)
        try:
            stoppable_s3.start()
            world.store.put_once("models/v2.skops", world.folder / "v2.skops")
        finally:
            os.kill(streamer, signal.SIGCONT)
        slot.wait_for_version("v2")
        assert slot.health()["problem"] is None
        said = [line["problem"] for line in slot.events("model not loaded yet")]
        assert f"{MODEL}@v2: {said[0]}" == problem
        assert slot.metric("models_refused_total") == {"": 0}
        check_slope(world, slot, 3)
    finally:
        world.stop()
