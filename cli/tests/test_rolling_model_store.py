"""The folder that stands in for an API server: what is kept, what is refused, and that writers take turns."""

import multiprocessing
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from rollcast_cli.rolling.model_store import FINALIZER, ModelStore
from rollcast_cli.rolling.resources import Invalid, NoSuchModelVersion, Resource
from rollcast_rollout.validation import with_defaults


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def resource(name: str = "wine-1", *, metadata: dict[str, Any] | None = None, **spec: Any) -> Resource:
    return {
        "apiVersion": "rollcast.dev/v1alpha1",
        "kind": "ModelVersion",
        "metadata": {"name": name, **(metadata or {})},
        "spec": {"model": "wine", "version": "1", "artifact": {"uri": "s3://wines/1.skops"}, **spec},
    }


def test_what_is_created_is_whole(store: ModelStore) -> None:
    status = {"phase": "Live"}
    assert store.apply({**resource(metadata={"labels": {"a": "b"}, "uid": "mine"}), "status": status}) == "created"
    kept = store.get("wine-1")
    assert kept["spec"] == with_defaults(resource())["spec"]
    assert kept["status"] == {}
    metadata = kept["metadata"]
    assert metadata["uid"] != "mine"
    assert (metadata["generation"], metadata["finalizers"], metadata["namespace"]) == (1, [FINALIZER], "default")
    assert (metadata["labels"], "annotations" in metadata) == ({"a": "b"}, False)
    assert [each["metadata"]["name"] for each in store.all()] == ["wine-1"]


@pytest.mark.parametrize(
    ("change", "became", "generation"),
    [
        (resource(), "unchanged", 1),
        (resource(rollout={}), "unchanged", 1),
        (resource(rollout={"paused": None}), "unchanged", 1),
        (resource(rollout={"paused": True}), "configured", 2),
        (resource(version="2", artifact={"uri": "s3://wines/2.skops"}), "configured", 2),
        (resource(metadata={"labels": {"team": "cellar"}}), "configured", 1),
        (resource(metadata={"annotations": {"why": "taste"}}), "configured", 1),
        (resource(metadata={"labels": {"old": "label"}}), "unchanged", 1),
    ],
)
def test_a_generation_is_one_of_the_spec(store: ModelStore, change: Resource, became: str, generation: int) -> None:
    store.apply(resource(metadata={"labels": {"old": "label"}, "annotations": {"old": "mark"}}))
    before = store.get("wine-1")["metadata"]
    assert store.apply(change) == became
    after = store.get("wine-1")["metadata"]
    assert after["generation"] == generation
    assert (after["uid"], after["creationTimestamp"]) == (before["uid"], before["creationTimestamp"])
    given = change["metadata"]
    assert after["labels"] == {"old": "label", **given.get("labels", {})}
    assert after["annotations"] == {"old": "mark", **given.get("annotations", {})}


def test_annotations_come_and_go(store: ModelStore) -> None:
    store.apply(resource())
    store.annotate("wine-1", "rollcast.dev/action", "pause")
    store.take_off("wine-1", "rollcast.dev/action", "resume")
    assert store.get("wine-1")["metadata"]["annotations"] == {"rollcast.dev/action": "pause"}
    store.take_off("wine-1", "rollcast.dev/action", "pause")
    assert store.get("wine-1")["metadata"]["annotations"] == {}
    assert store.get("wine-1")["metadata"]["generation"] == 1
    store.take_off("gone", "rollcast.dev/action", "pause")


def test_a_status_is_the_controllers(store: ModelStore) -> None:
    store.apply(resource())
    store.write_status("wine-1", {"phase": "Live"})
    assert store.apply({**resource(), "status": {"phase": "Failed"}}) == "unchanged"
    assert store.apply(resource(rollout={"paused": True})) == "configured"
    assert store.get("wine-1")["status"] == {"phase": "Live"}
    store.write_status("gone", {"phase": "Live"})


def test_a_deletion_waits_for_its_finalizer(store: ModelStore) -> None:
    store.apply(resource())
    store.delete("wine-1")
    first = store.get("wine-1")["metadata"]["deletionTimestamp"]
    store.delete("wine-1")
    assert store.get("wine-1")["metadata"]["deletionTimestamp"] == first
    store.release("wine-1")
    store.release("wine-1")
    with pytest.raises(NoSuchModelVersion, match=r'modelversions\.rollcast\.dev "wine-1" not found'):
        store.get("wine-1")
    assert store.all() == []


@pytest.mark.parametrize("name", ["", "nobody", "../models/wine-1", ".lock", "a/b", "a\0b"])
def test_a_name_that_is_not_there(store: ModelStore, name: str) -> None:
    store.apply(resource())
    with pytest.raises(NoSuchModelVersion):
        store.get(name)
    with pytest.raises(NoSuchModelVersion):
        store.annotate(name, "a", "b")
    with pytest.raises(NoSuchModelVersion):
        store.delete(name)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (resource("Wine"), 'The ModelVersion "Wine" is invalid: metadata.name: Invalid value: "Wine": '),
        (resource("../wine"), 'The ModelVersion "../wine" is invalid: metadata.name: Invalid value'),
        (resource(model=7), 'The ModelVersion "wine-1" is invalid: spec.model: Invalid value: "integer": '),
        (resource(model="other"), "spec.model: Invalid value: "),
        (resource(artifact={"uri": "s3://wines/2.skops"}), "spec.artifact.uri: Invalid value: "),
        ({}, 'The ModelVersion "None" is invalid: apiVersion: Required value; kind: Required value'),
        ({**resource(), "metadata": []}, 'The ModelVersion "None" is invalid: metadata: Invalid value: "array": '),
        ({**resource(), "metadata": "wine"}, 'The ModelVersion "None" is invalid: metadata: Invalid value: "string": '),
    ],
)
def test_what_is_refused_changes_nothing(store: ModelStore, wanted: Resource, said: str) -> None:
    store.apply(resource())
    before = store.all()
    with pytest.raises(Invalid) as refused:
        store.apply(wanted)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert store.all() == before


def test_violations_are_always_in_the_same_order(store: ModelStore) -> None:
    with pytest.raises(Invalid) as refused:
        store.apply(resource(model="Wine", version="", serving={"replicas": 0}))
    paths = [violation.path for violation in refused.value.violations]
    assert paths == sorted(paths)
    assert len(paths) == 3


def test_every_change_is_seen_however_soon_it_comes(store: ModelStore) -> None:
    store.apply(resource())
    for number in range(100):
        seen = store.changed_at()
        store.annotate("wine-1", "number", str(number))
        assert store.changed_at() != seen
    time.sleep(0.1)
    assert store.changed_at() == store.changed_at()


def _count(folder: Path, who: int, times: int) -> None:
    store = ModelStore(folder)
    for number in range(times):
        store.annotate("wine-1", f"by-{who}-{number}", "x")
        store.write_status("wine-1", {"phase": f"{who}-{number}"})
        store.apply(resource(f"wine-{who}", rollout={"paused": bool(number % 2)}))


def test_writers_take_turns_and_readers_see_files_whole(store: ModelStore) -> None:
    """Threads and processes at once: nobody's annotation is lost, and nothing is read half."""
    store.apply(resource())
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_count, args=(store.folder, who, 20)) for who in (11, 12)]
    threads = [threading.Thread(target=_count, args=(store.folder, who, 20)) for who in (13, 14)]
    writers: list[Any] = [*processes, *threads]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert all("spec" in each and "uid" in each["metadata"] for each in store.all())
    for writer in writers:
        writer.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(store.get("wine-1")["metadata"]["annotations"]) == 80
    assert [store.get(f"wine-{who}")["metadata"]["generation"] for who in (11, 12, 13, 14)] == [20] * 4
    assert not list(store.folder.glob("*.part"))
