"""A model goes out: to S3 first, then onto topic `train`. What is announced is complete and lies there."""

import time
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaError, Message

from rollcast_common.artifacts import ArtifactRef, ArtifactStore, load_s3_params
from rollcast_common.contracts.model_trained import ModelTrained, encode_model_trained
from rollcast_common.errors import ArtifactExists, ArtifactNotFound, KafkaUnavailable, StoreDenied
from rollcast_common.kafka import (
    ErrorWatch,
    KafkaParams,
    check_topics,
    load_kafka_params,
    make_admin,
    make_producer,
    problem_from,
    reach_broker,
)
from rollcast_common.models.card import ModelCard, card_key
from rollcast_common.signing import signature_key
from rollcast_trainer.training import Trained

__all__ = [
    "Destination",
    "Uploaded",
    "announce",
    "artifact_key",
    "check_version_is_free",
    "connect",
    "event_for",
    "upload",
]

_CLIENT_ID = "rollcast-trainer"
_DELIVERY_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Destination:
    """Where models go; both ends were there when it was made."""

    kafka: KafkaParams
    store: ArtifactStore

    @property
    def topic(self) -> str:
        return self.kafka.topics.full("train")


@dataclass(frozen=True, slots=True)
class Uploaded:
    model: ArtifactRef
    card: ArtifactRef
    signature: ArtifactRef | None = None


def artifact_key(model: str, version: str) -> str:
    return f"models/{model}/{version}.skops"


def connect(kafka_config: Path | None, s3_config: Path | None) -> Destination:
    """Read both configurations and look whether broker, topic and bucket are there, before any long work.

    Raises ConfigError, KafkaProblem or StoreProblem.
    """
    kafka, s3 = load_kafka_params(kafka_config), load_s3_params(s3_config)
    destination = Destination(kafka, ArtifactStore(s3))
    reach_broker(kafka, client_id=_CLIENT_ID)
    servers = kafka.broker.servers
    admin = make_admin(kafka, ErrorWatch(servers), client_id=_CLIENT_ID)
    check_topics(admin, [destination.topic], servers=servers)
    destination.store.check_bucket()
    return destination


def check_version_is_free(store: ArtifactStore, model: str, version: str) -> None:
    """Raises ArtifactExists when the version was written before, so that nobody fits in vain."""
    ref = ArtifactRef(store.bucket, artifact_key(model, version))
    try:
        store.resolve(ref)
    except (ArtifactNotFound, StoreDenied):  # a writer that may not read finds out when it writes
        return
    raise ArtifactExists(f"{ref.uri} is there already; a version is written once: choose another --version")


def upload(store: ArtifactStore, trained: Trained, signature: Path | None = None) -> Uploaded:
    """The model, its card, then its signature if there is one. Raises ArtifactExists or StoreProblem."""
    key = artifact_key(trained.card.model, trained.card.version)
    model = store.put_once(key, trained.model_path)
    card = store.put_once(card_key(key), trained.card_path, content_type="application/json")
    signed = store.put_once(signature_key(key), signature, content_type="application/json") if signature else None
    return Uploaded(model, card, signed)


def event_for(card: ModelCard, uploaded: Uploaded) -> ModelTrained:
    return ModelTrained(
        model=card.model,
        version=card.version,
        uri=uploaded.model.uri,
        format="skops",
        sha256=uploaded.model.sha256,
        size_bytes=uploaded.model.size_bytes,
        version_id=uploaded.model.version_id,
        card_uri=uploaded.card.uri,
        card_sha256=uploaded.card.sha256,
        signature_uri=uploaded.signature.uri if uploaded.signature else None,
        signature_sha256=uploaded.signature.sha256 if uploaded.signature else None,
        trained_at=card.trained_at,
        metrics=card.metrics,
    )


def announce(kafka: KafkaParams, event: ModelTrained) -> None:
    """Write the event, keyed by the model's name, and wait until the broker has it.

    Raises KafkaProblem, saying that the uploaded model was not announced.
    """
    topic, servers = kafka.topics.full("train"), kafka.broker.servers
    watch = ErrorWatch(servers)
    producer = make_producer(
        kafka,
        watch,
        client_id=_CLIENT_ID,
        settings={"delivery.timeout.ms": int(_DELIVERY_TIMEOUT_SECONDS * 1000)},
    )
    reports: list[KafkaError | None] = []

    def on_delivery(error: KafkaError | None, _: Message) -> None:
        reports.append(error)

    doing = f"announcing {event.uri} on topic {topic} (it is uploaded, but not announced)"
    producer.produce(topic, key=event.model, value=encode_model_trained(event), on_delivery=on_delivery)
    deadline = time.monotonic() + _DELIVERY_TIMEOUT_SECONDS + 5
    try:
        while not reports and time.monotonic() < deadline:
            producer.poll(0.1)
            watch.check(doing)
    finally:
        if not reports:
            producer.purge()  # or it might still be delivered after we said that it was not
    if not reports:
        raise KafkaUnavailable(f"Kafka at {servers}: {doing}: no answer")
    if error := reports[0]:
        raise problem_from(error, doing, servers)
