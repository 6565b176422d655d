"""Files on the slot's disk: named by their digest, verified at each use, and only the latest are kept."""

import os
import threading
import time
from pathlib import Path

import pytest
from tests.env.s3 import S3

from rollcast_common.artifacts import ArtifactRef, ArtifactStore, sha256_of
from rollcast_common.errors import ArtifactNotFound, CacheProblem, DigestMismatch, StoreUnavailable
from rollcast_predictor.model_cache import ModelCache


@pytest.fixture
def store(moto_s3: S3) -> ArtifactStore:
    return ArtifactStore(moto_s3.params())


@pytest.fixture
def cache(store: ArtifactStore, tmp_path: Path) -> ModelCache:
    return ModelCache(tmp_path / "cache", store, keep=2)


@pytest.fixture
def unreachable(tmp_path: Path, moto_s3: S3) -> ModelCache:
    """The same folder, its S3 gone."""
    params = moto_s3.params().model_copy(update={"endpoint_url": "http://127.0.0.1:9"})
    return ModelCache(tmp_path / "cache", ArtifactStore(params, attempts=1), keep=2)


def put(store: ArtifactStore, tmp_path: Path, name: str, content: bytes) -> ArtifactRef:
    path = tmp_path / "upload"
    path.write_bytes(content)
    return store.put_once(f"models/{name}", path)


def test_a_file_is_fetched_once_and_then_needs_no_s3(
    cache: ModelCache, unreachable: ModelCache, store: ArtifactStore, tmp_path: Path
) -> None:
    ref = put(store, tmp_path, "a", b"forest")
    first = cache.get(ref)
    assert (first.path.name, first.path.read_bytes()) == (ref.sha256, b"forest")
    again = unreachable.get(ref)
    assert (again.path, again.sha256) == (first.path, ref.sha256)


def test_a_reference_without_a_digest_is_asked_for_each_time(
    cache: ModelCache, unreachable: ModelCache, store: ArtifactStore, tmp_path: Path
) -> None:
    ref = put(store, tmp_path, "a", b"forest")
    loose = ArtifactRef(ref.bucket, ref.key)
    assert cache.get(loose).sha256 == ref.sha256
    with pytest.raises(StoreUnavailable):
        unreachable.get(loose)


def test_a_file_that_was_damaged_on_the_disk_is_fetched_again(
    cache: ModelCache, store: ArtifactStore, tmp_path: Path
) -> None:
    ref = put(store, tmp_path, "a", b"forest")
    kept = cache.get(ref).path
    kept.write_bytes(b"f0rest")
    assert cache.get(ref).path.read_bytes() == b"forest"


def test_other_bytes_than_the_announced_ones_are_never_kept(
    cache: ModelCache, store: ArtifactStore, tmp_path: Path
) -> None:
    ref = put(store, tmp_path, "a", b"forest")
    with pytest.raises(DigestMismatch):
        cache.get(ArtifactRef(ref.bucket, ref.key, sha256="0" * 64))
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_digest_that_is_a_path_reaches_no_file(cache: ModelCache, store: ArtifactStore, tmp_path: Path) -> None:
    """It once deleted the file that it named, as a damaged one of the cache."""
    ref = put(store, tmp_path, "a", b"forest")
    cache.get(ref)
    precious = tmp_path / "precious"
    precious.write_bytes(b"mine")
    with pytest.raises(DigestMismatch):
        cache.get(ArtifactRef(ref.bucket, ref.key, sha256="../precious"))
    assert precious.read_bytes() == b"mine"


def test_the_longest_unused_files_are_forgotten(cache: ModelCache, store: ArtifactStore, tmp_path: Path) -> None:
    """Of two models, each with its card, four files; what is used again counts as new."""
    refs = [put(store, tmp_path, str(number), b"%d" % number) for number in range(5)]
    began = time.time()
    for age, ref in enumerate(reversed(refs[:4])):
        used = began - 100 - age
        os.utime(cache.get(ref).path, (used, used))
    cache.get(refs[0])
    cache.get(refs[4])
    folder = tmp_path / "cache"
    assert {path.name for path in folder.iterdir()} == {refs[number].sha256 for number in (0, 2, 3, 4)}
    # The order of their last use, the oldest first: 3, 2, 1 were asked for in this order.
    assert not (folder / str(refs[1].sha256)).exists()


def test_what_a_killed_slot_left_half_fetched_is_removed_in_time(
    cache: ModelCache, store: ArtifactStore, tmp_path: Path
) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    names = ["incoming-1-2", ".incoming-1-2.1.part", "incoming-3-4", "somebody's notes"]
    for name in names:
        (folder / name).write_bytes(b"half")
        if name != "incoming-3-4":
            os.utime(folder / name, (0, 0))
    ref = put(store, tmp_path, "a", b"forest")
    cache.get(ref)
    assert {path.name for path in folder.iterdir()} == {ref.sha256, "incoming-3-4", "somebody's notes"}


def test_threads_that_fetch_at_once_do_not_mix_their_bytes(
    cache: ModelCache, store: ArtifactStore, tmp_path: Path
) -> None:
    refs = [put(store, tmp_path, str(number), bytes([number]) * 3_000_000) for number in range(4)]
    wrong: list[object] = []

    def fetch(ref: ArtifactRef) -> None:
        try:
            if sha256_of(cache.get(ref).path) != ref.sha256:
                wrong.append(ref)
        except Exception as error:  # noqa: BLE001  # a thread's error would else be lost
            wrong.append(error)

    threads = [threading.Thread(target=fetch, args=(ref,)) for ref in refs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_what_may_be_missing_is_none_and_what_may_not_is_an_error(cache: ModelCache, store: ArtifactStore) -> None:
    ref = ArtifactRef(store.bucket, "models/none.card.json")
    assert cache.get_if_exists(ref) is None
    with pytest.raises(ArtifactNotFound):
        cache.get(ref)


def test_a_folder_that_cannot_be_is_told_with_what_to_do(store: ArtifactStore, tmp_path: Path) -> None:
    ref = put(store, tmp_path, "a", b"forest")
    (tmp_path / "a file").write_bytes(b"")
    cache = ModelCache(tmp_path / "a file", store, keep=2)
    with pytest.raises(CacheProblem, match=r"a file: cannot hold s3://.*/models/a: Not a directory; free space or"):
        cache.get(ref)
