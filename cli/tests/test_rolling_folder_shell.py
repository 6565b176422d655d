"""The brain's shell over a folder: what it writes it reads again, and nobody's wish is lost in between."""

import json
from pathlib import Path
from typing import Any

import pytest

from rollcast_cli.rolling.folder_resources import FolderResources
from rollcast_cli.rolling.folder_shell import FolderShell, read_events, read_workloads
from rollcast_cli.rolling.model_store import ModelStore
from rollcast_common.errors import ConfigError
from rollcast_common.identity import ModelIdentity
from rollcast_control.shell import ShellUnavailable
from rollcast_rollout.answer import Event, Workload
from rollcast_rollout.model_version import ACTION_ANNOTATION, Autoscaling, Serving
from rollcast_rollout.record import Entry, Record

IDENTITY = ModelIdentity("local", "default", "wine")


def resource(name: str = "wine-1", model: str = "wine", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "rollcast.dev/v1alpha1",
        "kind": "ModelVersion",
        "metadata": {"name": name},
        "spec": {"model": model, "version": "1", "artifact": {"uri": "s3://wines/1.skops"}, **spec},
    }


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture
def shell(tmp_path: Path, store: ModelStore) -> FolderShell:
    return FolderShell(tmp_path, store, IDENTITY)


def uid_of(store: ModelStore, name: str) -> str:
    return str(store.get(name)["metadata"]["uid"])


def test_it_knows_its_own_model_only(shell: FolderShell, store: ModelStore) -> None:
    store.apply(resource())
    store.apply(resource("beer-1", model="beer"))
    assert [version.name for version in shell.model_versions()] == ["wine-1"]


def test_a_record_comes_back_as_it_was(shell: FolderShell) -> None:
    assert shell.read_record() is None
    record = Record(model="wine", generation=7, entries={"a": Entry(sequence=1, fingerprint="f")})
    shell.write_record(record)
    shell.write_record(record)
    assert shell.read_record() == record
    shell.delete_record()
    shell.delete_record()
    assert shell.read_record() is None


@pytest.mark.parametrize(
    ("serving", "replicas", "slots"),
    [
        (Serving(replicas=3), 3, 3),
        (Serving(autoscaling=Autoscaling(2, 8, 1000)), None, 2),
        (Serving(input_topic="a", output_topic="b"), 1, 1),
    ],
)
def test_a_workload_comes_back_as_it_was(
    shell: FolderShell, tmp_path: Path, serving: Serving, replicas: int | None, slots: int
) -> None:
    assert shell.replicas() is None
    shell.apply_workload(Workload("wine", serving, replicas))
    assert shell.replicas() == slots
    wanted = {
        "model": "wine",
        "replicas": slots,
        "inputTopic": serving.input_topic,
        "outputTopic": serving.output_topic,
    }
    assert read_workloads(tmp_path) == [wanted]
    written = (tmp_path / "workloads" / "wine.json").stat().st_mtime_ns
    shell.apply_workload(Workload("wine", serving, replicas))
    assert (tmp_path / "workloads" / "wine.json").stat().st_mtime_ns == written
    shell.apply_workload(None)
    shell.apply_workload(None)
    assert (shell.replicas(), read_workloads(tmp_path)) == (None, [])


def test_a_status_an_action_and_a_deletion(shell: FolderShell, store: ModelStore) -> None:
    store.apply(resource())
    uid = uid_of(store, "wine-1")
    store.annotate("wine-1", ACTION_ANNOTATION, "pause")
    (version,) = shell.model_versions()
    assert version.action == "pause"
    shell.write_status(uid, {"phase": "Live"})
    shell.take_off_action(uid)
    assert store.get("wine-1")["status"] == {"phase": "Live"}
    (version,) = shell.model_versions()
    assert (version.action, version.status) == (None, {"phase": "Live"})
    store.delete("wine-1")
    (version,) = shell.model_versions()
    assert version.deleting
    shell.release(uid)
    assert shell.model_versions() == []


def test_what_was_asked_for_meanwhile_is_not_taken_off(shell: FolderShell, store: ModelStore) -> None:
    store.apply(resource())
    store.annotate("wine-1", ACTION_ANNOTATION, "pause")
    shell.model_versions()
    store.annotate("wine-1", ACTION_ANNOTATION, "abort")
    shell.take_off_action(uid_of(store, "wine-1"))
    (version,) = shell.model_versions()
    assert version.action == "abort"


def test_events_are_read_as_they_were_posted(shell: FolderShell, store: ModelStore, tmp_path: Path) -> None:
    assert read_events(tmp_path) == []
    store.apply(resource())
    uid = uid_of(store, "wine-1")
    shell.model_versions()
    shell.post(Event(uid, "Normal", "Live", "1 answers all requests"))
    shell.post(Event(uid, "Warning", "ActionRefused", "no\nno"))
    first, second = read_events(tmp_path)
    assert (first["name"], first["model"], first["version"], first["reason"]) == ("wine-1", "wine", "1", "Live")
    assert second["message"] == "no\nno"
    said = FolderResources(tmp_path).events()
    assert [(each.name, each.reason, each.uid) for each in said] == [
        ("wine-1", "Live", uid),
        ("wine-1", "ActionRefused", uid),
    ]
    assert said[0].time <= said[1].time


def test_an_event_that_is_written_half_is_not_read_yet(shell: FolderShell, store: ModelStore, tmp_path: Path) -> None:
    store.apply(resource())
    shell.model_versions()
    shell.post(Event(uid_of(store, "wine-1"), "Normal", "Live", "1 answers all requests"))
    (line,) = (tmp_path / "events.jsonl").read_text().splitlines(keepends=True)
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write(line[:40])
        file.flush()
        assert len(read_events(tmp_path)) == 1
        file.write(line[40:])
    assert len(read_events(tmp_path)) == 2


def test_a_disk_that_refuses_is_no_end(shell: FolderShell, tmp_path: Path) -> None:
    (tmp_path / "records").write_text("in the way")
    with pytest.raises(ShellUnavailable, match="records"):
        shell.write_record(Record(model="wine"))


def test_digests_are_what_was_pinned(shell: FolderShell, tmp_path: Path) -> None:
    resources = FolderResources(tmp_path)
    assert resources.digests("wine") == {}
    shell.write_record(Record(model="wine", versions={"1": "ab"}))
    assert resources.digests("wine") == {"1": "ab"}


def test_there_is_one_namespace(tmp_path: Path) -> None:
    resources = FolderResources(tmp_path)
    elsewhere = resource()
    elsewhere["metadata"]["namespace"] = "cellar"
    with pytest.raises(ConfigError, match='namespace "cellar" of the object is not "default"'):
        resources.apply(elsewhere)
    elsewhere["metadata"]["namespace"] = "default"
    assert resources.apply(elsewhere) == "created"


def test_a_watch_tells_every_change(tmp_path: Path, store: ModelStore) -> None:
    store.apply(resource())
    changes = FolderResources(tmp_path).watch()

    def told() -> tuple[str, str]:
        change = next(changes)
        return change.kind, change.resource["metadata"]["name"]

    assert told() == ("ADDED", "wine-1")
    store.annotate("wine-1", "a", "b")
    assert told() == ("MODIFIED", "wine-1")
    store.apply(resource("wine-2"))
    assert told() == ("ADDED", "wine-2")
    store.release("wine-1")
    assert told() == ("DELETED", "wine-1")
    store.release("wine-2")
    store.apply(resource("wine-2"))
    assert [told(), told()] == [("DELETED", "wine-2"), ("ADDED", "wine-2")]
    json.dumps(store.all())
