"""ArtifactStore against two servers that differ: versitygw checks signatures, moto accepts any."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr
from tests.env.s3 import S3

from rollcast_cli.local.ports import free_ports
from rollcast_common.artifacts import ArtifactRef, ArtifactStore
from rollcast_common.errors import (
    ArtifactExists,
    ArtifactNotFound,
    DigestMismatch,
    StoreDenied,
    StoreProblem,
    StoreUnavailable,
)

KEY = "models/2022-08-19.skops"


@pytest.fixture(params=["s3", "moto_s3"])
def server(request: pytest.FixtureRequest) -> S3:
    found: S3 = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def store(server: S3) -> ArtifactStore:
    return ArtifactStore(server.params())


@pytest.fixture
def model(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        path = tmp_path / "model.skops"
        path.write_bytes(content)
        return path

    return write


def test_put_names_exactly_these_bytes(store: ArtifactStore, model: Callable[[bytes], Path], tmp_path: Path) -> None:
    put = store.put_once(KEY, model(b"forest"))
    assert put.sha256 == hashlib.sha256(b"forest").hexdigest()
    assert put.size_bytes == 6
    assert put.version_id
    assert store.fetch(put, tmp_path / "cache" / "model") == put
    assert (tmp_path / "cache" / "model").read_bytes() == b"forest"


def test_an_empty_file_and_one_of_several_chunks_arrive_whole(
    store: ArtifactStore, model: Callable[[bytes], Path], tmp_path: Path
) -> None:
    for key, content in (("empty", b""), ("large", bytes(range(256)) * 20_000)):
        put = store.put_once(key, model(content))
        store.fetch(put, tmp_path / "fetched")
        assert (tmp_path / "fetched").read_bytes() == content


def test_the_same_bytes_may_be_put_again_and_stay_one_version(
    store: ArtifactStore, model: Callable[[bytes], Path]
) -> None:
    first = store.put_once(KEY, model(b"forest"))
    assert store.put_once(KEY, model(b"forest")) == first


def test_other_bytes_under_the_same_key_are_refused_and_change_nothing(
    store: ArtifactStore, model: Callable[[bytes], Path]
) -> None:
    first = store.put_once(KEY, model(b"forest"))
    with pytest.raises(ArtifactExists, match="already holds other bytes"):
        store.put_once(KEY, model(b"another forest"))
    assert store.resolve(ArtifactRef(store.bucket, KEY)) == first


def test_bytes_that_are_not_the_announced_ones_never_reach_the_target(
    store: ArtifactStore, model: Callable[[bytes], Path], tmp_path: Path
) -> None:
    put = store.put_once(KEY, model(b"forest"))
    folder = tmp_path / "cache"
    with pytest.raises(DigestMismatch, match="expected 0000"):
        store.fetch(replace(put, sha256="0" * 64), folder / "model")
    assert list(folder.iterdir()) == []


def test_a_missing_key_and_a_missing_version_are_not_found(
    store: ArtifactStore, model: Callable[[bytes], Path], tmp_path: Path
) -> None:
    with pytest.raises(ArtifactNotFound, match="no such object"):
        store.fetch(ArtifactRef(store.bucket, "models/none.skops"), tmp_path / "model")
    put = store.put_once(KEY, model(b"forest"))
    other = store.put_once("models/other.skops", model(b"another forest"))
    with pytest.raises(ArtifactNotFound, match="no such object"):
        store.fetch(replace(put, version_id=other.version_id), tmp_path / "model")


def test_a_missing_bucket_is_named_by_every_operation(
    server: S3, model: Callable[[bytes], Path], tmp_path: Path
) -> None:
    store = ArtifactStore(server.params_without_bucket())
    with pytest.raises(StoreProblem, match=f"{store.bucket}: no such bucket"):
        store.check_bucket()
    with pytest.raises(StoreProblem, match="no such bucket"):
        store.put_once(KEY, model(b"forest"))
    with pytest.raises(StoreProblem, match="no such bucket"):
        store.fetch(ArtifactRef(store.bucket, KEY), tmp_path / "model")


def test_a_bucket_is_made_once(server: S3) -> None:
    store = ArtifactStore(server.params_without_bucket())
    store.ensure_bucket()
    store.ensure_bucket()
    store.check_bucket()


@pytest.mark.parametrize(
    "wrong", [{"secret_access_key": SecretStr("wrong")}, {"access_key_id": "nobody"}], ids=["secret", "access key"]
)
def test_wrong_keys_are_denied(
    s3: S3, wrong: dict[str, object], model: Callable[[bytes], Path], tmp_path: Path
) -> None:
    """Only a real server checks them."""
    store = ArtifactStore(s3.params().model_copy(update=wrong))
    with pytest.raises(StoreDenied, match="check the access keys"):
        store.check_bucket()
    with pytest.raises(StoreDenied, match="check the access keys"):
        store.put_once(KEY, model(b"forest"))
    with pytest.raises(StoreDenied, match="check the access keys"):
        store.fetch(ArtifactRef(store.bucket, KEY), tmp_path / "model")


def test_nobody_listening_is_unavailable_and_may_be_tried_again(moto_s3: S3) -> None:
    (port,) = free_ports(1)
    params = moto_s3.params().model_copy(update={"endpoint_url": f"http://127.0.0.1:{port}"})
    with pytest.raises(StoreUnavailable, match="not reachable") as caught:
        ArtifactStore(params, attempts=1).check_bucket()
    assert caught.value.retryable
