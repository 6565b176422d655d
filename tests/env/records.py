"""What integration tests say about records: cards for models, streams in the background, each answered exactly once."""

import os
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import sklearn
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource  # where their types are
from tests.env.predictor import MODEL, Answers, Requests, Sent, World

from rollcast_cli.local.processes import wait_until
from rollcast_common.artifacts import ArtifactRef
from rollcast_common.contracts import ModelTrained
from rollcast_common.kafka import ErrorWatch, KafkaParams, make_admin
from rollcast_common.models.card import (
    DataFacts,
    Feature,
    GoldenRow,
    InputSchema,
    ModelCard,
    PredictionHistogram,
    card_key,
    encode_card,
)

__all__ = [
    "announced_with_card",
    "check_answered_once",
    "set_largest_message",
    "streaming",
    "train",
]

_TRAINER = Path(sys.executable).with_name("rollcast-trainer")
_TRAIN_SECONDS = 300.0
_ADMIN_SECONDS = 60.0
_PAUSE_SECONDS = 0.02


def announced_with_card(
    world: World,
    ref: ArtifactRef,
    version: str,
    *,
    features: Sequence[Feature] = (Feature(name="x", type="number"),),
    golden: Mapping[str, Any] | None = None,
    sklearn_version: str = sklearn.__version__,
) -> ModelTrained:
    """Put a card beside an uploaded model; the event, not yet sent, names both. `golden` maps a row to its result."""
    assert ref.sha256 is not None
    card = ModelCard(
        model=MODEL,
        version=version,
        task="regression",
        estimator="LinearRegression",
        trained_at=0,
        artifact_sha256=ref.sha256,
        artifact_size_bytes=ref.size_bytes or 0,
        input=InputSchema(features=tuple(features)),
        metrics={},
        baseline_metrics={},
        data=DataFacts(
            source="a test", sha256="", rows=2, unique_rows=2, train_rows=2, test_rows=0, split="none", target="y"
        ),
        libraries={"scikit-learn": sklearn_version},
        golden_rows=tuple(
            GoldenRow(row=msgspec.Raw(row.encode()), prediction=msgspec.Raw(msgspec.json.encode(result)))
            for row, result in (golden or {}).items()
        ),
        predictions=PredictionHistogram(counts=()),
    )
    path = world.folder / f"{version}.card.json"
    path.write_bytes(encode_card(card))
    card_ref = world.store.put_once(card_key(ref.key), path)
    return ModelTrained(
        model=MODEL,
        version=version,
        uri=ref.uri,
        format="skops",
        sha256=ref.sha256,
        card_uri=card_ref.uri,
        card_sha256=card_ref.sha256,
    )


def train(world: World, config: Path, version: str, *arguments: str) -> Path:
    """`rollcast-trainer fit`, published and stable at once; the answer is the folder with its own model and card."""
    output = world.folder / "trained"
    subprocess.run(
        [str(_TRAINER), "fit", "--config", str(config), "--version", version, "--output", str(output), *arguments],
        env={**os.environ, **world.environment()},
        stdin=subprocess.DEVNULL,
        check=True,
        timeout=_TRAIN_SECONDS,
    )
    world.announce_trained()
    return output


@contextmanager
def streaming(requests: Requests, values: Sequence[bytes], *, keys: int = 8, at_once: int = 40) -> Iterator[None]:
    """The values again and again, about 2,000 a second, from a thread, until the block ends."""
    over = threading.Event()

    def run() -> None:
        numbers = count()
        while not over.wait(_PAUSE_SECONDS):
            for _ in range(at_once):
                number = next(numbers)
                requests.send(values[number % len(values)], b"key-%d" % (number % keys))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def check_answered_once(world: World, requests: Requests, *, passed_over: Collection[Sent] = ()) -> Answers:
    """Whatever the rows hold: 0 lost, 0 doubled, per key in the order sent, generations never going back, and the
    group's offsets account for all. Requests that are `passed_over` have no answer.
    """
    requests.flush()
    answers = world.read()
    topic = world.names.full("requests")
    wanted = {sent.request_id(topic) for sent in requests.sent if sent not in passed_over}
    found = answers.times_answered()
    assert set(found) - wanted == set(), "answers to nobody's question"
    assert wanted - set(found) == set(), "lost"
    assert {request_id: times for request_id, times in found.items() if times > 1} == {}, "doubled"
    for predictions in answers.by_key().values():
        offsets = [int(prediction.request_id.rpartition("-")[2]) for prediction in predictions]
        assert offsets == sorted(offsets)
        generations = [prediction.generation for prediction in predictions]
        assert generations == sorted(generations)
    ends: dict[int, int] = {}
    for sent in requests.sent:
        ends[sent.partition] = max(ends.get(sent.partition, 0), sent.offset + 1)
    assert {partition: offset for partition, offset in world.committed().items() if offset >= 0} == ends
    return answers


def set_largest_message(params: KafkaParams, topic: str, size_bytes: int) -> None:
    """Of this topic the broker takes no larger record, or rather no larger batch of records."""
    admin = make_admin(params, ErrorWatch(params.broker.servers), client_id="test-admin")
    entry = ConfigEntry("max.message.bytes", str(size_bytes), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(_ADMIN_SECONDS)

    def is_so() -> bool:
        """The broker learns of it a moment after its controller."""
        (told,) = admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, topic)]).values()
        return bool(told.result(_ADMIN_SECONDS)["max.message.bytes"].value == str(size_bytes))

    wait_until(is_so, what=f"{topic} takes {size_bytes} bytes at most", timeout_seconds=_ADMIN_SECONDS)
