"""Publishing, against servers of this machine: what arrives, and that nothing is announced too early."""

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.env.kafka import params_for
from typer.testing import CliRunner

from rollcast_common.artifacts import ArtifactStore, S3Params, parse_uri
from rollcast_common.contracts import ModelTrained, parse_model_trained
from rollcast_common.errors import KafkaUnavailable
from rollcast_common.kafka import ErrorWatch, KafkaBrokerParams, KafkaParams, make_consumer, read_to_end
from rollcast_common.models.card import decode_card
from rollcast_common.signing import SignatureChecker
from rollcast_trainer.__main__ import app
from rollcast_trainer.publishing import announce


def environment(s3: S3Params, servers: str, prefix: str) -> dict[str, str | None]:
    secret = s3.secret_access_key
    return {
        "ROLLCAST_KAFKA_SERVERS": servers,
        "ROLLCAST_TOPIC_PREFIX": prefix,
        "ROLLCAST_S3_ENDPOINT_URL": s3.endpoint_url,
        "ROLLCAST_S3_BUCKET": s3.bucket,
        "ROLLCAST_S3_ACCESS_KEY_ID": s3.access_key_id,
        "ROLLCAST_S3_SECRET_ACCESS_KEY": secret.get_secret_value() if secret else None,
    }


def records(servers: str, topic: str) -> list[tuple[bytes | None, bytes | None]]:
    """All of a topic's records."""
    watch = ErrorWatch(servers)
    consumer = make_consumer(params_for(servers), watch, client_id="test", group_id="test")
    try:
        return [(message.key(), message.value()) for message in read_to_end(consumer, topic, watch, servers)]
    finally:
        consumer.close()


def test_what_is_announced_lies_on_s3_byte_for_byte(
    configured: Any, tmp_path: Path, embedded_kafka: Any, moto_s3: Any, topic_prefix: str
) -> None:
    s3 = moto_s3.params()
    names = embedded_kafka.create_topics(topic_prefix)
    environ = environment(s3, embedded_kafka.servers, topic_prefix)
    arguments = ["fit", "--config", str(configured()), "--version", "v1", "--output", str(tmp_path / "kept")]
    result = CliRunner().invoke(app, arguments, env=environ)
    assert result.exit_code == 0, result.output

    ((key, value),) = records(embedded_kafka.servers, names.full("train"))
    assert key == b"shop-price"
    event = parse_model_trained(key, value, default_model="none")
    assert (event.model, event.version) == ("shop-price", "v1")
    assert event.uri == f"s3://{s3.bucket}/models/shop-price/v1.skops"
    assert event.card_uri == f"s3://{s3.bucket}/models/shop-price/v1.card.json"

    store = ArtifactStore(s3)
    model = store.fetch(parse_uri(event.uri, s3.bucket), tmp_path / "model")
    assert (model.sha256, model.size_bytes, model.version_id) == (event.sha256, event.size_bytes, event.version_id)
    assert model.version_id is not None
    card_ref = store.fetch(parse_uri(event.card_uri, s3.bucket), tmp_path / "card")
    card = decode_card((tmp_path / "card").read_bytes(), source="card")
    assert (card_ref.sha256, card.artifact_sha256) == (event.card_sha256, event.sha256)
    assert (card.metrics, card.trained_at) == (event.metrics, event.trained_at)
    assert (tmp_path / "kept" / "v1.skops").read_bytes() == (tmp_path / "model").read_bytes()

    again = CliRunner().invoke(app, arguments[:-2], env=environ)
    assert again.exit_code == 1
    assert "a version is written once: choose another --version" in again.stderr
    assert "fitting" not in again.stderr


def test_a_signed_model_is_announced_with_its_signature(
    configured: Any, tmp_path: Path, embedded_kafka: Any, moto_s3: Any, topic_prefix: str
) -> None:
    s3 = moto_s3.params()
    names = embedded_kafka.create_topics(topic_prefix)
    private = ec.generate_private_key(ec.SECP256R1())
    key, public = tmp_path / "key.pem", tmp_path / "key.pub"
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    public.write_bytes(
        private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    kept = tmp_path / "kept"
    arguments = ["fit", "--config", str(configured()), "--version", "signed", "--output", str(kept)]
    environ = environment(s3, embedded_kafka.servers, topic_prefix) | {"ROLLCAST_SIGNING_KEY": str(key)}
    result = CliRunner().invoke(app, arguments, env=environ)
    assert result.exit_code == 0, result.output

    ((_, value),) = records(embedded_kafka.servers, names.full("train"))
    event = parse_model_trained(None, value, default_model="none")
    assert event.schema == "1.1"
    assert event.signature_uri == f"{event.uri}.sig"
    store = ArtifactStore(s3)
    store.fetch(parse_uri(event.uri, s3.bucket), tmp_path / "model")
    signature = store.fetch(parse_uri(event.signature_uri, s3.bucket), tmp_path / "signature")
    assert signature.sha256 == event.signature_sha256
    SignatureChecker(public).check(tmp_path / "model", tmp_path / "signature", name="model")
    assert (kept / "signed.skops.sig").read_bytes() == (tmp_path / "signature").read_bytes()


def test_a_signing_key_that_is_none_is_told_before_the_fit(configured: Any, tmp_path: Path) -> None:
    arguments = ["fit", "--config", str(configured()), "--no-publish", "--output", str(tmp_path)]
    result = CliRunner().invoke(app, [*arguments, "--signing-key", str(tmp_path / "none.pem")])
    assert result.exit_code == 1
    assert "none.pem cannot be used (No such file or directory)" in result.stderr
    assert "fitting" not in result.stderr


def test_a_missing_topic_or_bucket_is_told_before_the_fit(
    configured: Any, embedded_kafka: Any, moto_s3: Any, topic_prefix: str
) -> None:
    config = str(configured())
    no_topic = CliRunner().invoke(
        app, ["fit", "--config", config], env=environment(moto_s3.params(), embedded_kafka.servers, topic_prefix)
    )
    assert no_topic.exit_code == 1
    assert f"no topic {topic_prefix}train" in no_topic.stderr
    embedded_kafka.create_topics(topic_prefix)
    missing = moto_s3.params_without_bucket()
    no_bucket = CliRunner().invoke(
        app, ["fit", "--config", config], env=environment(missing, embedded_kafka.servers, topic_prefix)
    )
    assert no_bucket.exit_code == 1
    assert "no such bucket" in no_bucket.stderr
    assert "reading" not in no_topic.stderr + no_bucket.stderr


def test_a_broker_that_is_gone_leaves_no_doubt_that_nothing_was_announced() -> None:
    kafka = KafkaParams.from_mapping(
        {
            "broker": KafkaBrokerParams(servers="127.0.0.1:9"),
            "producer": {"properties": {"delivery.timeout.ms": 500}},
        },
        source="test",
    )
    event = ModelTrained(model="m", version="v", uri="s3://b/models/m/v.skops", format="skops")
    with pytest.raises(KafkaUnavailable, match=r"s3://b/models/m/v\.skops .*it is uploaded, but not announced"):
        announce(kafka, event)
