"""The loader with assignments from memory, a real S3 and real hosts: what it serves, refuses, and tries again."""

import threading
import time
from collections.abc import Callable
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
from rollcast_common.contracts import Assignment, ServedVersion
from rollcast_common.errors import ConfigError
from rollcast_common.models.card import (
    DataFacts,
    Feature,
    InputSchema,
    ModelCard,
    PredictionHistogram,
    encode_card,
)
from rollcast_common.models.files import save_model
from rollcast_common.signing import Signer
from rollcast_predictor.host_process import HostDied
from rollcast_predictor.lineup import Lineup
from rollcast_predictor.metrics import PredictorMetrics
from rollcast_predictor.model_cache import ModelCache
from rollcast_predictor.model_loader import ModelLoader
from rollcast_predictor.served_model import ServedModel, start_host
from rollcast_predictor.settings import PredictorSettings
from rollcast_predictor.wire import ScoreBatch

SECONDS = 120.0


class Told:
    """Assignments from memory."""

    def __init__(self) -> None:
        self._assignment: Assignment | None = None
        self._changed = threading.Event()
        self.generation = 0

    def assign(self, stable: ServedVersion, candidate: ServedVersion | None = None, **changes: Any) -> Assignment:
        self.generation += 1
        self._assignment = Assignment(
            model="wine", generation=self.generation, stable=stable, candidate=candidate, **changes
        )
        self._changed.set()
        return self._assignment

    def current(self) -> Assignment | None:
        return self._assignment

    def wait(self, timeout_seconds: float) -> bool:
        if self._changed.wait(timeout_seconds):
            self._changed.clear()
            return True
        return False


class Bench:
    """A loader, and what it is told and given."""

    def __init__(self, store: ArtifactStore, folder: Path) -> None:
        self._store = store
        self._folder = folder
        self.told = Told()
        self.metrics = PredictorMetrics(CollectorRegistry())
        self.settings = PredictorSettings(model="wine", cache_dir=folder / "cache")
        self.cache = ModelCache(self.settings.cache_dir, store, keep=self.settings.cache_models)
        self.make_loader()

    def make_loader(self, *, cache: ModelCache | None = None, **settings: Any) -> None:
        changed = self.settings.model_copy(update=settings)
        self.loader = ModelLoader(self.told, cache or self.cache, changed, self.metrics, bucket=self._store.bucket)

    def cut_off(self) -> ModelCache:
        """The same folder, and no way to S3."""
        gone = self._store._params.model_copy(update={"endpoint_url": "http://127.0.0.1:9"})
        return ModelCache(self.settings.cache_dir, ArtifactStore(gone, attempts=1), keep=5)

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

    def served(self, version: str, artifact: ArtifactRef, **more: Any) -> ServedVersion:
        assert artifact.sha256 is not None
        return ServedVersion(
            version=version,
            uri=artifact.uri,
            format="skops",
            sha256=artifact.sha256,
            version_id=artifact.version_id,
            **more,
        )

    def model(self, version: str, slope: float) -> ServedVersion:
        return self.served(version, self.upload(version, slope))

    def missing(self, version: str) -> ServedVersion:
        return self.served(version, ArtifactRef(self._store.bucket, f"models/none-{version}.skops", "0" * 64))

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + SECONDS
        while not (answer := condition()):
            assert self.loader.failure is None
            assert time.monotonic() < deadline, what
            time.sleep(0.02)
        return answer

    def lineup(self) -> Lineup:
        lineup: Lineup = self.wait(self.loader.take_lineup, "there is another line-up")
        return lineup

    def next_model(self) -> ServedModel:
        return self.lineup().stable

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
def bench(store: ArtifactStore, tmp_path: Path) -> Bench:
    return Bench(store, tmp_path)


def said(model: ServedModel, x: float) -> float:
    model.host.send(ScoreBatch(1, [b'{"x":%f}' % x]), deadline_seconds=SECONDS)
    return float(model.host.receive(1, deadline_seconds=SECONDS).results[0])


def test_what_is_assigned_is_served(bench: Bench) -> None:
    assignment = bench.told.assign(bench.model("v1", 2))
    with bench.loader:
        lineup = bench.lineup()
        assert (lineup.assignment, lineup.candidate) == (assignment, None)
        assert (lineup.stable.version, lineup.stable.sha256) == ("v1", assignment.stable.sha256)
        assert said(lineup.stable, 5) == pytest.approx(10)
        assert bench.loader.take_lineup() is None
        report = bench.loader.report(assignment.stable)
        assert report is not None
        assert (report.state, report.version) == ("ready", "v1")


def test_a_candidate_comes_into_the_line_up_when_it_is_ready_and_stable_plays_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    stable, candidate = bench.model("v1", 2), bench.model("v2", 3)
    bench.told.assign(stable)
    with bench.loader:
        serving = bench.next_model()
        may_load = threading.Event()

        def start_when_told(*order: Any, **limits: Any) -> Any:
            assert may_load.wait(SECONDS)
            return start_host(*order, **limits)

        monkeypatch.setattr("rollcast_predictor.model_loader.start_host", start_when_told)
        bench.told.assign(stable, candidate, weight=5.0, salt="0" * 16)
        first = bench.lineup()
        # At once, without waiting for anybody: an abort would come the same way.
        assert (first.assignment.generation, first.stable, first.candidate) == (2, serving, None)
        may_load.set()
        both = bench.lineup()
        assert both.stable is serving
        assert both.candidate is not None
        assert said(both.candidate, 5) == pytest.approx(15)
        # Promoted, it is the same host, and the old one ends.
        bench.told.assign(candidate)
        promoted = bench.lineup()
        assert (promoted.stable, promoted.candidate) == (both.candidate, None)
        bench.wait(lambda: not serving.host.is_running, "the old host has ended")
        assert promoted.stable.host.is_running
    assert not promoted.stable.host.is_running


def test_a_candidate_that_is_taken_back_ends(bench: Bench) -> None:
    stable, candidate = bench.model("v1", 2), bench.model("v2", 3)
    bench.told.assign(stable, candidate, shadow=True)
    with bench.loader:
        lineup = bench.wait(lambda: (made := bench.loader.take_lineup()) and made.candidate and made, "both play")
        bench.told.assign(stable)
        assert bench.lineup().candidate is None
        bench.wait(lambda: not lineup.candidate.host.is_running, "the candidate's host has ended")
        assert lineup.stable.host.is_running


def test_a_refused_candidate_is_told_once_and_again_in_the_next_rollout(bench: Bench) -> None:
    stable, missing = bench.model("v1", 2), bench.missing("v2")
    bench.told.assign(stable)
    with bench.loader:
        bench.next_model()
        bench.told.assign(stable, missing, shadow=True, rollout=2)
        assert "wine@v2: " in bench.problem("no such object; was it uploaded?")
        bench.wait(lambda: bench.metrics.models_refused._value.get() == 1, "it is refused")
        report = bench.loader.report(missing)
        assert report is not None
        assert (report.state, report.reason) == ("refused", "ArtifactNotFound")
        assert bench.lineup().candidate is None
        bench.told.assign(stable, missing, weight=5.0, salt="0" * 16, rollout=2)
        bench.told.assign(stable, missing, shadow=True, rollout=4)
        bench.wait(lambda: bench.metrics.models_refused._value.get() == 2, "it is refused once more")


def test_a_refused_stable_leaves_the_one_before_it_serving(bench: Bench) -> None:
    bench.told.assign(bench.model("v1", 2))
    with bench.loader:
        serving = bench.next_model()
        bench.told.assign(bench.missing("v2"))
        bench.problem("no such object")
        lineup = bench.lineup()
        assert (lineup.assignment.generation, lineup.stable) == (2, serving)
        bench.told.assign(bench.model("v3", 4))
        bench.wait(lambda: (made := bench.loader.take_lineup()) and made.stable.version == "v3", "v3 serves")
        assert bench.loader.last_problem is None


def test_what_is_only_unreachable_now_is_not_refused(bench: Bench) -> None:
    bench.make_loader(cache=bench.cut_off())
    missing = bench.missing("v2")
    bench.told.assign(missing)
    with bench.loader:
        bench.problem("not reachable; is S3 running")
        assert bench.metrics.models_refused._value.get() == 0
        report = bench.loader.report(missing)
        assert report is not None
        assert report.state == "failed"


def test_what_is_tried_again_does_not_hold_up_what_is_newer(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollcast_predictor.model_loader._FIRST_RETRY_SECONDS", 600.0)
    monkeypatch.setattr("rollcast_predictor.model_loader._LONGEST_RETRY_SECONDS", 600.0)
    stable = bench.model("v1", 2)
    bench.told.assign(stable)
    with bench.loader:
        bench.next_model()
        second = bench.model("v2", 3)
        in_the_way = bench.settings.cache_dir / second.sha256
        in_the_way.mkdir()
        bench.told.assign(stable, second, shadow=True)
        bench.problem("cannot hold s3://")
        bench.told.assign(stable, bench.model("v3", 4), shadow=True)
        bench.wait(
            lambda: (made := bench.loader.take_lineup()) and made.candidate and made.candidate.version == "v3", "v3"
        )


def test_the_problem_of_what_is_assigned_no_longer_is_told_no_longer(bench: Bench) -> None:
    """It stood in /readyz and in the status until something else was loaded, long after the rollout was taken back."""
    stable = bench.model("v1", 2)
    bench.told.assign(stable)
    with bench.loader:
        bench.next_model()
        for candidate in (bench.missing("v2"), bench.model("v3", 4)):
            (bench.settings.cache_dir / candidate.sha256).mkdir(exist_ok=True)  # v3 is tried again and again
            bench.told.assign(stable, candidate, shadow=True)
            bench.problem(f"wine@{candidate.version}: ")
            bench.told.assign(stable)
            bench.wait(lambda: bench.loader.last_problem is None, "all is well")


def test_what_never_served_is_given_up_with_its_assignment(bench: Bench) -> None:
    """The model was deleted before its only version could be loaded: it was asked for in S3 for ever."""
    version = bench.model("v1", 2)
    (bench.settings.cache_dir / version.sha256).mkdir(parents=True)  # cannot be loaded, and is tried again and again
    bench.told.assign(version)
    with bench.loader:
        bench.problem("wine@v1: ")
        bench.told._assignment = None
        bench.wait(lambda: bench.loader.last_problem is None, "nothing is wanted")
        assert bench.loader.take_lineup() is None


def test_when_nothing_is_assigned_any_longer_no_host_is_left(bench: Bench) -> None:
    bench.told.assign(bench.model("v1", 2))
    with bench.loader:
        model = bench.next_model()
        bench.told._assignment = None
        assert bench.loader.take_lineup() is None
        assert model.host.is_running  # the stream may still need it
        bench.loader.end_lineup()
        bench.wait(lambda: not model.host.is_running, "its host has ended")


def test_a_host_that_is_replaced_while_it_is_closed_does_not_stay(bench: Bench) -> None:
    bench.told.assign(bench.model("v1", 2))
    with bench.loader:
        model = bench.next_model()
        model.close()
        with pytest.raises(HostDied, match="not needed any longer"):
            model.replace_host()
        assert not model.host.is_running


def test_a_lost_or_damaged_file_does_not_keep_a_host_from_being_replaced(bench: Bench) -> None:
    """Slots share a cache, and newer models push files out of it; what serves must outlive that."""
    bench.told.assign(bench.model("v1", 2))
    with bench.loader:
        model = bench.next_model()
        kept = bench.settings.cache_dir / model.sha256
        for harm in (kept.unlink, lambda: kept.write_bytes(b"damaged")):
            harm()
            before = model.host
            model.replace_host()
            assert not before.is_running
            assert said(model, 5) == pytest.approx(10)


def test_a_damaged_file_is_not_served_while_s3_is_away(bench: Bench) -> None:
    ref = bench.upload("v1", 2)
    bench.cache.get(ref).path.write_bytes(b"damaged")
    bench.make_loader(cache=bench.cut_off())
    bench.told.assign(bench.served("v1", ref))
    with bench.loader:
        bench.problem("not reachable; is S3 running")
        assert bench.loader.take_lineup() is None


def test_a_card_about_another_file_is_refused_by_both_digests(bench: Bench) -> None:
    """Also where the assignment names both files: a writer of one cannot lend it the other's promises."""
    model, other = bench.upload("v1", 2), bench.upload("v2", 3)
    card = bench.upload_card("v2", other)
    bench.told.assign(bench.served("v1", model, card_uri=card.uri, card_sha256=card.sha256))
    with bench.loader:
        problem = bench.problem("the card beside it is about another file")
        assert f"sha256 is {model.sha256}, expected {other.sha256}" in problem
        assert "DigestMismatch" in problem
        bench.told.assign(bench.served("v2", other, card_uri="models/v2.card.json"))
        assert said(bench.next_model(), 5) == pytest.approx(15)


def test_a_model_that_cannot_even_be_asked_is_refused_and_not_tried_forever(bench: Bench, tmp_path: Path) -> None:
    broken = LinearRegression()
    broken.n_features_in_ = "many"
    save_model(broken, tmp_path / "broken.skops")
    bench.told.assign(bench.served("v1", bench.put("broken", tmp_path / "broken.skops")))
    with bench.loader:
        bench.problem("UnusableModel: LinearRegression cannot be asked what it is: ValueError")
        bench.wait(lambda: bench.metrics.models_refused._value.get() == 1, "it is refused for good")


def test_a_file_that_unpacks_to_more_than_was_allowed_is_refused(bench: Bench) -> None:
    bench.make_loader(max_model_bytes=100)
    bench.told.assign(bench.model("v1", 2))
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
        bench.make_loader(verify_key=key.with_suffix(".pub"))
        return bench

    @pytest.fixture
    def no_host(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A refused file never comes as far as a host."""

        def start(*_: object, **__: object) -> None:
            raise AssertionError

        monkeypatch.setattr("rollcast_predictor.model_loader.start_host", start)

    def test_a_signed_model_is_served_and_needs_no_s3_after_a_restart(self, signing: Bench, key: Path) -> None:
        model = signing.upload("v1", 2)
        card, signature = signing.upload_card("v1", model), signing.upload_signature("v1", key)
        signing.told.assign(
            signing.served(
                "v1",
                model,
                card_uri=card.uri,
                card_sha256=card.sha256,
                signature_uri=signature.uri,
                signature_sha256=signature.sha256,
            )
        )
        for cache in (signing.cache, signing.cut_off()):
            signing.make_loader(cache=cache, verify_key=key.with_suffix(".pub"))
            with signing.loader:
                assert said(signing.next_model(), 5) == pytest.approx(10)

    def test_a_signature_beside_a_model_is_found_without_being_announced(self, signing: Bench, key: Path) -> None:
        model = signing.upload("v1", 2)
        signing.upload_signature("v1", key)
        signing.told.assign(signing.served("v1", model))
        with signing.loader:
            assert said(signing.next_model(), 5) == pytest.approx(10)

    @pytest.mark.usefixtures("no_host")
    def test_no_signature(self, signing: Bench) -> None:
        signing.told.assign(signing.model("v1", 2))
        with signing.loader:
            problem = signing.problem("no signature at s3://")
            assert "/models/v1.skops.sig, and this slot serves signed models only" in problem
            signing.wait(lambda: signing.metrics.models_refused._value.get() == 1, "it is refused for good")

    @pytest.mark.usefixtures("no_host")
    def test_another_models_signature(self, signing: Bench, key: Path) -> None:
        signing.upload("v1", 2)
        other = signing.upload_signature("v1", key)
        signing.told.assign(signing.served("v2", signing.upload("v2", 3), signature_uri=other.uri))
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
        signature = signing.upload_signature("v1", other)
        signing.told.assign(signing.served("v1", model, signature_uri=signature.uri))
        with signing.loader:
            signing.problem("the signature does not hold for ours.pub and this file (ValueError: Key mismatch")

    @pytest.mark.usefixtures("no_host")
    def test_a_signature_that_is_not_the_announced_one(self, signing: Bench, key: Path, store: ArtifactStore) -> None:
        model, signature = signing.upload("v1", 2), signing.upload_signature("v1", key)
        store._client.put_object(Bucket=signature.bucket, Key=signature.key, Body=b"{}")
        signing.told.assign(signing.served("v1", model, signature_uri=signature.uri, signature_sha256=signature.sha256))
        with signing.loader:
            signing.problem("the bytes are not the announced ones")

    def test_a_key_that_is_none_ends_the_slot_at_its_start(self, bench: Bench, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"verify key .*none\.pub cannot be used \(No such file"):
            bench.make_loader(verify_key=tmp_path / "none.pub")


def test_a_bug_in_the_loader_is_not_silence(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(bench.told, "current", broken)
    with bench.loader:
        deadline = time.monotonic() + SECONDS
        while bench.loader.failure is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert isinstance(bench.loader.failure, ZeroDivisionError)
