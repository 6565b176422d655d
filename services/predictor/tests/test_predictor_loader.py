"""The loader with orders from memory, a real S3 and real hosts: what it serves, refuses, and tries again."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from prometheus_client import CollectorRegistry
from sklearn.linear_model import LinearRegression
from tests.env.s3 import S3

from rollcast_common.artifacts import ArtifactRef, ArtifactStore
from rollcast_common.errors import ConfigError, DigestMismatch
from rollcast_common.models.card import (
    DataFacts,
    Feature,
    InputSchema,
    ModelCard,
    PredictionHistogram,
    encode_card,
)
from rollcast_common.models.files import save_model
from rollcast_common.signing import SignatureChecker, Signer
from rollcast_predictor.metrics import PredictorMetrics
from rollcast_predictor.model_cache import ModelCache
from rollcast_predictor.model_loader import ModelLoader
from rollcast_predictor.orders import Order
from rollcast_predictor.served_model import ServedModel
from rollcast_predictor.settings import PredictorSettings
from rollcast_predictor.wire import ScoreBatch

SECONDS = 40.0


class Told:
    """Orders from memory."""

    def __init__(self) -> None:
        self._orders: list[Order] = []
        self._changed = threading.Event()

    def add(self, *orders: Order) -> None:
        self._orders += orders
        self._changed.set()

    def newer_than(self, generation: int) -> list[Order]:
        self._changed.clear()
        return [order for order in reversed(self._orders) if order.generation > generation]

    def wait(self, timeout_seconds: float) -> bool:
        return self._changed.wait(timeout_seconds)


class Bench:
    """A loader, and what it is told and given."""

    def __init__(self, store: ArtifactStore, folder: Path) -> None:
        self._store = store
        self._folder = folder
        self.orders = Told()
        self.metrics = PredictorMetrics(CollectorRegistry())
        self.settings = PredictorSettings(model="wine", cache_dir=folder / "cache")
        self.cache = ModelCache(self.settings.cache_dir, store, keep=self.settings.cache_models)
        self.loader = ModelLoader(self.orders, self.cache, self.settings, self.metrics)
        self.taken: list[ServedModel] = []

    def upload(self, name: str, slope: float) -> ArtifactRef:
        path = self._folder / "model.skops"
        xs = pd.DataFrame({"x": [1.0, 2.0]})
        save_model(LinearRegression(fit_intercept=False).fit(xs, np.array([slope, 2 * slope])), path)
        return self.put(name, path)

    def put(self, name: str, path: Path) -> ArtifactRef:
        return self._store.put_once(f"models/{name}.skops", path)

    def upload_signature(self, name: str, key: Path) -> ArtifactRef:
        """Of what was uploaded last."""
        signature = self._folder / "model.skops.sig"
        Signer(key).sign(self._folder / "model.skops", signature)
        return self._store.put_once(f"models/{name}.skops.sig", signature)

    def upload_card(self, name: str, model: ArtifactRef) -> ArtifactRef:
        path = self._folder / "card.json"
        assert model.sha256 is not None
        path.write_bytes(encode_card(card_of(model.sha256)))
        return self._store.put_once(f"models/{name}.card.json", path)

    def order(self, generation: int, artifact: ArtifactRef) -> Order:
        return Order(generation, "wine", f"v{generation}", artifact, "skops")

    def missing(self, generation: int) -> Order:
        return self.order(generation, ArtifactRef(self._store.bucket, f"models/none-{generation}.skops"))

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + SECONDS
        while not (answer := condition()):
            assert self.loader.failure is None
            assert time.monotonic() < deadline, what
            time.sleep(0.02)
        return answer

    def next_model(self) -> ServedModel:
        model: ServedModel = self.wait(self.loader.take_ready, "a model is ready")
        self.taken.append(model)
        return model

    def problem(self, text: str) -> str:
        found: str = self.wait(lambda: text in (self.loader.last_problem or "") and self.loader.last_problem, text)
        return found


def card_of(sha256: str) -> ModelCard:
    return ModelCard(
        model="wine",
        version="1",
        task="regression",
        estimator="LinearRegression",
        trained_at=1,
        artifact_sha256=sha256,
        artifact_size_bytes=1,
        input=InputSchema(features=(Feature(name="x", type="number"),)),
        metrics={},
        baseline_metrics={},
        data=DataFacts(
            source="s", sha256="0" * 64, rows=2, unique_rows=2, train_rows=1, test_rows=1, split="s", target="y"
        ),
        libraries={},
        golden_rows=(),
        predictions=PredictionHistogram(counts=()),
    )


@pytest.fixture
def store(moto_s3: S3) -> ArtifactStore:
    return ArtifactStore(moto_s3.params())


@pytest.fixture
def bench(store: ArtifactStore, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(store, tmp_path)
    yield made
    for model in made.taken:
        model.host.kill()


def said(model: ServedModel, x: float) -> float:
    model.host.send(ScoreBatch(1, [b'{"x":%f}' % x]), deadline_seconds=SECONDS)
    return float(model.host.receive(1, deadline_seconds=SECONDS).results[0])


def test_of_several_models_the_newest_is_served_and_the_others_are_not_even_loaded(bench: Bench) -> None:
    first, second = bench.upload("v1", 2), bench.upload("v2", 3)
    bench.orders.add(bench.order(1, first), bench.order(2, second))
    with bench.loader:
        model = bench.next_model()
        assert (model.order.version, model.sha256) == ("v2", second.sha256)
        assert said(model, 5) == pytest.approx(15)
        bench.wait(lambda: bench.loader.idle, "it is done")
    assert [path.name for path in bench.settings.cache_dir.iterdir()] == [second.sha256]


def test_at_the_start_an_older_model_is_better_than_none(bench: Bench) -> None:
    bench.orders.add(bench.order(1, bench.upload("v1", 2)), bench.missing(2))
    with bench.loader:
        assert bench.next_model().order.version == "v1"
        assert bench.metrics.models_refused._value.get() == 1


def test_a_refused_newest_is_told_once_and_what_serves_goes_on(bench: Bench) -> None:
    bench.orders.add(bench.order(1, bench.upload("v1", 2)))
    with bench.loader:
        serving = bench.next_model()
        bench.orders.add(bench.missing(2))
        assert "wine@v2: " in bench.problem("no such object; was it uploaded?")
        assert bench.loader.take_ready() is None
        assert said(serving, 5) == pytest.approx(10)
        # The next good one is taken, and with it the problem is over.
        bench.orders.add(bench.order(3, bench.upload("v3", 4)))
        assert bench.next_model().order.version == "v3"
        assert bench.loader.last_problem is None
        assert bench.metrics.models_refused._value.get() == 1


def test_what_is_only_unreachable_now_is_not_refused(bench: Bench, moto_s3: S3) -> None:
    gone = moto_s3.params().model_copy(update={"endpoint_url": "http://127.0.0.1:9"})
    cut_off = ModelCache(bench.settings.cache_dir, ArtifactStore(gone, attempts=1), keep=5)
    bench.loader = ModelLoader(bench.orders, cut_off, bench.settings, bench.metrics)
    bench.orders.add(bench.missing(2))
    with bench.loader:
        bench.problem("not reachable; is S3 running")
        assert bench.metrics.models_refused._value.get() == 0
        assert not bench.loader.idle


def test_what_is_tried_again_does_not_hold_up_what_is_newer(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollcast_predictor.model_loader._FIRST_RETRY_SECONDS", 600.0)
    monkeypatch.setattr("rollcast_predictor.model_loader._LONGEST_RETRY_SECONDS", 600.0)
    bench.orders.add(bench.order(1, bench.upload("v1", 2)))
    with bench.loader:
        bench.next_model()
        second = bench.upload("v2", 3)
        in_the_way = bench.settings.cache_dir / str(second.sha256)
        in_the_way.mkdir()
        bench.orders.add(bench.order(2, second))
        bench.problem("cannot hold s3://")
        bench.orders.add(bench.order(3, bench.upload("v3", 4)))
        assert bench.next_model().order.version == "v3"


def test_a_model_that_was_not_taken_ends_with_its_successor_and_with_the_loader(bench: Bench) -> None:
    bench.orders.add(bench.order(1, bench.upload("v1", 2)))
    with bench.loader:
        first: ServedModel = bench.wait(lambda: bench.loader._ready, "the first is ready")
        bench.orders.add(bench.order(2, bench.upload("v2", 3)))
        second: ServedModel = bench.wait(
            lambda: bench.loader._ready is not first and bench.loader._ready, "the second is ready"
        )
        bench.wait(lambda: not first.host.is_running, "the first host has ended")
        assert second.host.is_running
    assert not second.host.is_running


def test_a_lost_or_damaged_file_does_not_keep_a_host_from_being_replaced(bench: Bench) -> None:
    """Slots share a cache, and newer models push files out of it; what serves must outlive that."""
    bench.orders.add(bench.order(1, bench.upload("v1", 2)))
    with bench.loader:
        model = bench.next_model()
        kept = bench.settings.cache_dir / model.sha256
        for harm in (kept.unlink, lambda: kept.write_bytes(b"damaged")):
            harm()
            before = model.host
            model.replace_host()
            assert not before.is_running
            assert said(model, 5) == pytest.approx(10)


def test_a_model_announced_without_a_digest_stays_the_one_that_was_loaded(bench: Bench, store: ArtifactStore) -> None:
    """Somebody writes other bytes under the same name; a replaced host must not quietly serve them."""
    ref = bench.upload("v1", 2)
    bench.orders.add(bench.order(1, ArtifactRef(ref.bucket, ref.key)))
    with bench.loader:
        model = bench.next_model()
        assert model.sha256 == ref.sha256
        store._client.put_object(Bucket=ref.bucket, Key=ref.key, Body=b"others")
        model.replace_host()
        assert said(model, 5) == pytest.approx(10)
        (bench.settings.cache_dir / model.sha256).unlink()
        with pytest.raises(DigestMismatch, match="the bytes are not the announced ones"):
            model.replace_host()


def test_a_damaged_file_is_not_served_while_s3_is_away(bench: Bench, moto_s3: S3) -> None:
    ref = bench.upload("v1", 2)
    bench.cache.get(ref).path.write_bytes(b"damaged")
    gone = moto_s3.params().model_copy(update={"endpoint_url": "http://127.0.0.1:9"})
    cut_off = ModelCache(bench.settings.cache_dir, ArtifactStore(gone, attempts=1), keep=5)
    bench.loader = ModelLoader(bench.orders, cut_off, bench.settings, bench.metrics)
    bench.orders.add(bench.order(1, ref))
    with bench.loader:
        bench.problem("not reachable; is S3 running")
        assert bench.loader.take_ready() is None


def test_a_card_about_another_file_is_refused_by_both_digests(bench: Bench, store: ArtifactStore) -> None:
    """Also where the announcement names both files: a writer of one cannot lend it the other's promises."""
    model, other = bench.upload("v1", 2), bench.upload("v2", 3)
    bench.orders.add(replace(bench.order(1, model), card=bench.upload_card("v2", other)))
    with bench.loader:
        problem = bench.problem("the card beside it is about another file")
        assert f"sha256 is {model.sha256}, expected {other.sha256}" in problem
        assert "DigestMismatch" in problem
        bench.orders.add(replace(bench.order(2, other), card=ArtifactRef(store.bucket, "models/v2.card.json")))
        assert said(bench.next_model(), 5) == pytest.approx(15)


def test_a_model_that_cannot_even_be_asked_is_refused_and_not_tried_forever(bench: Bench, tmp_path: Path) -> None:
    broken = LinearRegression()
    broken.n_features_in_ = "many"
    save_model(broken, tmp_path / "broken.skops")
    ref = bench.put("broken", tmp_path / "broken.skops")
    bench.orders.add(bench.order(1, ref))
    with bench.loader:
        bench.problem("UnusableModel: LinearRegression cannot be asked what it is: ValueError")
        bench.wait(lambda: bench.metrics.models_refused._value.get() == 1, "it is refused for good")


def test_a_file_that_unpacks_to_more_than_was_allowed_is_refused(bench: Bench) -> None:
    settings = bench.settings.model_copy(update={"max_model_bytes": 100})
    bench.loader = ModelLoader(bench.orders, bench.cache, settings, bench.metrics)
    bench.orders.add(bench.order(1, bench.upload("v1", 2)))
    with bench.loader:
        assert "UntrustedArtifact" in bench.problem("at most 100 are expected here")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A private key; its public half has the ending pub."""
    path = tmp_path / "ours.pem"
    private = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    path.with_suffix(".pub").write_bytes(
        private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return path


class TestSignatures:
    @pytest.fixture
    def signing(self, bench: Bench, key: Path) -> Bench:
        settings = bench.settings.model_copy(update={"verify_key": key.with_suffix(".pub")})
        bench.loader = ModelLoader(bench.orders, bench.cache, settings, bench.metrics)
        return bench

    @pytest.fixture
    def no_host(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A refused file never comes as far as a host."""

        def start(*_: object, **__: object) -> None:
            raise AssertionError

        monkeypatch.setattr("rollcast_predictor.model_loader.start_host", start)

    def test_a_signed_model_is_served_and_needs_no_s3_after_a_restart(
        self, signing: Bench, key: Path, moto_s3: S3
    ) -> None:
        model = signing.upload("v1", 2)
        order = replace(signing.order(1, model), signature=signing.upload_signature("v1", key))
        signing.orders.add(order)
        with signing.loader:
            assert said(signing.next_model(), 5) == pytest.approx(10)
        gone = moto_s3.params().model_copy(update={"endpoint_url": "http://127.0.0.1:9"})
        cut_off = ModelCache(signing.settings.cache_dir, ArtifactStore(gone, attempts=1), keep=5)
        checker = SignatureChecker(key.with_suffix(".pub"))
        ModelLoader(signing.orders, cut_off, signing.settings, signing.metrics)._check_signature(
            checker, order, cut_off.get(model)
        )

    def test_a_signature_beside_a_model_is_found_without_being_announced(self, signing: Bench, key: Path) -> None:
        model = signing.upload("v1", 2)
        signing.upload_signature("v1", key)
        signing.orders.add(signing.order(1, ArtifactRef(model.bucket, model.key)))
        with signing.loader:
            assert said(signing.next_model(), 5) == pytest.approx(10)

    @pytest.mark.usefixtures("no_host")
    def test_no_signature(self, signing: Bench) -> None:
        signing.orders.add(signing.order(1, signing.upload("v1", 2)))
        with signing.loader:
            problem = signing.problem("no signature at s3://")
            assert "/models/v1.skops.sig, and this slot serves signed models only" in problem
            signing.wait(lambda: signing.metrics.models_refused._value.get() == 1, "it is refused for good")

    @pytest.mark.usefixtures("no_host")
    def test_another_models_signature(self, signing: Bench, key: Path) -> None:
        signing.upload("v1", 2)
        other = signing.upload_signature("v1", key)
        signing.orders.add(replace(signing.order(1, signing.upload("v2", 3)), signature=other))
        with signing.loader:
            signing.problem("the signature does not hold for ours.pub and this file (ValueError: Signature mismatch")

    @pytest.mark.usefixtures("no_host")
    def test_another_key(self, signing: Bench, tmp_path: Path) -> None:
        other = tmp_path / "theirs.pem"
        other.write_bytes(
            ec.generate_private_key(ec.SECP256R1()).private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        model = signing.upload("v1", 2)
        signing.orders.add(replace(signing.order(1, model), signature=signing.upload_signature("v1", other)))
        with signing.loader:
            signing.problem("the signature does not hold for ours.pub and this file (ValueError: Key mismatch")

    @pytest.mark.usefixtures("no_host")
    def test_a_signature_that_is_not_the_announced_one(self, signing: Bench, key: Path, store: ArtifactStore) -> None:
        model, signature = signing.upload("v1", 2), signing.upload_signature("v1", key)
        store._client.put_object(Bucket=signature.bucket, Key=signature.key, Body=b"{}")
        without_version = replace(signature, version_id=None)
        signing.orders.add(replace(signing.order(1, model), signature=without_version))
        with signing.loader:
            signing.problem("the bytes are not the announced ones")

    def test_a_key_that_is_none_ends_the_slot_at_its_start(self, bench: Bench, tmp_path: Path) -> None:
        settings = bench.settings.model_copy(update={"verify_key": tmp_path / "none.pub"})
        with pytest.raises(ConfigError, match=r"verify key .*none\.pub cannot be used \(No such file"):
            ModelLoader(bench.orders, bench.cache, settings, bench.metrics)


def test_a_bug_in_the_loader_is_not_silence(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: int) -> list[Order]:
        raise ZeroDivisionError

    monkeypatch.setattr(bench.orders, "newer_than", broken)
    with bench.loader:
        deadline = time.monotonic() + SECONDS
        while bench.loader.failure is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert isinstance(bench.loader.failure, ZeroDivisionError)
