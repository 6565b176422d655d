"""Questions, answers and cards on a real Kafka and a real S3."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from tests.env.cards import a_card
from tests.env.kafka import RealKafka
from tests.env.s3 import S3

from rollcast_common.artifacts import ArtifactRef, ArtifactStore, S3Params, sha256_of
from rollcast_common.contracts import Assignment, GroundTruth, ServedVersion
from rollcast_common.contracts.assignment import encode_assignment
from rollcast_common.contracts.ground_truth import decode_ground_truth
from rollcast_common.contracts.headers import header_texts
from rollcast_common.errors import KafkaProblem, KafkaUnavailable
from rollcast_common.kafka import ErrorWatch, KafkaBrokerParams, KafkaParams, make_consumer, make_producer, read_to_end
from rollcast_common.models.card import ModelCard, card_key, encode_card
from rollcast_notifier.inbound.answering import FeedbackWriter
from rollcast_notifier.inbound.asking import Asker
from rollcast_notifier.inbound.cards import Cards
from rollcast_notifier.inbound.writing import Writer
from rollcast_notifier.notification import Receiver

DEADLINE_SECONDS = 60.0
ANN = Receiver("console", "ann")


@dataclass
class Record:
    key: str
    value: bytes
    headers: dict[str, str]


@pytest.fixture
def params(kafka: RealKafka, topic_prefix: str) -> KafkaParams:
    return kafka.params.model_copy(update={"topics": kafka.create_topics(topic_prefix)})


def records(params: KafkaParams, topic: str, count: int) -> list[Record]:
    """All of them, once there are so many; a topic that was just made has no leader for a moment."""
    watch = ErrorWatch(params.broker.servers)
    consumer = make_consumer(params, watch, client_id="test", group_id="test")
    found: list[Record] = []

    def read() -> bool:
        try:
            messages = [*read_to_end(consumer, params.topics.full(topic), watch, params.broker.servers)]
        except KafkaProblem:
            return False
        found[:] = [
            Record((message.key() or b"").decode(), message.value() or b"", header_texts(message.headers()))  # type: ignore[arg-type]  # a list, or None
            for message in messages
        ]
        return len(found) >= count

    try:
        wait_for(read)
    finally:
        consumer.close()
    return found


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


def test_a_question_is_a_request_that_says_who_wants_to_know(params: KafkaParams) -> None:
    asker = Asker(params)
    named = asker.ask("wine-price", {"winery": "Artadi", "year": 2009, "x": None}, ANN, "ask-1", key="wine-7")
    unnamed = asker.ask("wine-price", {"winery": "Ürsula"}, Receiver("mesibo", "7", "group"))
    found = {record.headers["request-id"]: record for record in records(params, "requests", 2)}
    assert named == "ask-1"
    assert json.loads(found[named].value) == {"winery": "Artadi", "year": 2009, "x": None}
    assert found[named].key == "wine-7"
    assert found[named].headers == {"request-id": "ask-1", "model": "wine-price", "reply-to": "console:ann"}
    assert found[unnamed].key == unnamed
    assert found[unnamed].headers["reply-to"] == "mesibo:group:7"
    assert set(found) == {named, unnamed}


def test_many_may_ask_at_once(params: KafkaParams) -> None:
    asker = Asker(params)
    asked: list[str] = []
    threads = [
        threading.Thread(target=lambda: asked.extend([asker.ask("m", {"n": n}, ANN) for n in range(20)]))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_SECONDS)
    assert len(asked) == 160
    assert {record.headers["request-id"] for record in records(params, "requests", 160)} == set(asked)


def test_what_really_happened_is_written_under_the_prediction(params: KafkaParams) -> None:
    actual = msgspec.Raw(b"28.5")
    truth = GroundTruth(
        prediction_id="local/default/wine-price:r1", model="wine-price", actual=actual, source="console:ann", time=7
    )
    FeedbackWriter(params).record(truth)
    (record,) = records(params, "feedback", 1)
    assert record.key == truth.prediction_id
    assert bytes(decode_ground_truth(record.value).actual) == b"28.5"


def test_what_cannot_be_written_is_an_error_that_names_it(params: KafkaParams) -> None:
    with pytest.raises(KafkaProblem, match="requests"):
        Asker(params).ask("wine-price", {"x": "y" * 2_000_000}, ANN)


def test_a_broker_that_is_away_is_said_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollcast_notifier.inbound.writing._WAIT_SECONDS", 0.5)
    away = KafkaParams(broker=KafkaBrokerParams(servers="127.0.0.1:1"))
    with pytest.raises(KafkaUnavailable, match="not acknowledged in"):
        Writer(away, client_id="test").write("requests", "k", b"{}")


# Cards.


def put_card(s3: S3Params, folder: Path, card: ModelCard, name: str) -> ArtifactRef:
    path = folder / f"{name}.card.json"
    path.write_bytes(encode_card(card))
    return ArtifactStore(s3).put_once(card_key(f"models/{name}.skops"), path)


def publish(params: KafkaParams, key: str, assignment: Assignment | None) -> None:
    producer = make_producer(params, ErrorWatch(params.broker.servers), client_id="test")
    producer.produce(params.topics.full("assignments"), encode_assignment(assignment) if assignment else None, key)
    assert producer.flush(DEADLINE_SECONDS) == 0


def served(model: str, card: ArtifactRef | None, *, generation: int = 1) -> Assignment:
    return Assignment(
        model=model,
        generation=generation,
        stable=ServedVersion(
            version="v1",
            uri=f"s3://b/models/{model}.skops",
            format="skops",
            sha256="a" * 64,
            card_uri=card.uri if card else None,
            card_sha256=card.sha256 if card else None,
        ),
    )


def test_the_models_that_are_served_and_their_cards(params: KafkaParams, s3: S3, tmp_path: Path) -> None:
    store = s3.params()
    card = put_card(store, tmp_path, a_card(), "wine-price")
    publish(params, "local/default/wine-price", served("wine-price", card))
    publish(params, "local/default/bare", served("bare", None))
    publish(params, "local/default/gone", served("gone", None))
    publish(params, "local/default/gone", None)
    publish(params, "local/elsewhere/other", served("other", None))
    with Cards(params, store) as cards:
        wait_for(lambda: cards.caught_up)
        assert [(info.identity, info.model) for info in cards.models()] == [
            ("local/default/bare", "bare"),
            ("local/default/wine-price", "wine-price"),
        ]
        # A store that is slow to answer has its card later.
        wait_for(lambda: [info.card is not None for info in cards.models()] == [False, True])
        assert (found := cards.card("wine-price")) is not None
        assert (found.model, found.input) == ("wine-price", a_card().input)
        assert cards.card("bare") is None
        assert cards.card("nosuch") is None
        publish(params, "local/default/wine-price", None)
        wait_for(lambda: [info.model for info in cards.models()] == ["bare"])
        new = put_card(store, tmp_path, a_card(model="new"), "new")
        publish(params, "local/default/new", served("new", new))
        wait_for(lambda: (found := cards.card("new")) is not None and found.model == "new")


def test_a_card_that_cannot_be_had_leaves_a_model_without_one(params: KafkaParams, s3: S3, tmp_path: Path) -> None:
    store = s3.params()
    of_another = put_card(store, tmp_path, a_card(artifact_sha256="b" * 64), "another")
    broken = tmp_path / "broken.json"
    broken.write_text("{}")
    no_card = ArtifactStore(store).put_once("models/broken.card.json", broken)
    missing = ArtifactRef(store.bucket, "models/missing.card.json", sha256_of(broken))
    cases = {"another": of_another, "broken": no_card, "missing": missing}
    for model, ref in cases.items():
        publish(params, f"local/default/{model}", served(model, ref))
    with Cards(params, store) as cards:
        wait_for(lambda: cards.caught_up)
        assert [(info.model, info.card) for info in cards.models()] == [(model, None) for model in sorted(cases)]
    with Cards(params, None) as without_store:
        wait_for(lambda: without_store.caught_up)
        assert {info.card for info in without_store.models()} == {None}
