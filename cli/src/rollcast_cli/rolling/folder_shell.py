"""The Shell over a folder: records and workloads are files, events are lines."""

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rollcast_cli.rolling.model_store import ModelStore
from rollcast_common.identity import ModelIdentity
from rollcast_control.shell import ShellUnavailable
from rollcast_rollout.model_version import ACTION_ANNOTATION, ModelVersion
from rollcast_rollout.plan import Event, Workload
from rollcast_rollout.record import Record, decode_record, encode_record

__all__ = ["FolderShell", "read_events", "read_workloads"]


class FolderShell:
    def __init__(self, folder: Path, store: ModelStore, identity: ModelIdentity) -> None:
        self._store = store
        self._model = identity.model
        self._record = folder / "records" / f"{identity.model}.json"
        self._workload = folder / "workloads" / f"{identity.model}.json"
        self._events = folder / "events.jsonl"
        self._versions: dict[str, ModelVersion] = {}
        """As they were planned for."""

    def model_versions(self) -> Sequence[ModelVersion]:
        try:
            found = [r for r in self._store.all() if r["spec"]["model"] == self._model]
        except OSError as error:
            raise ShellUnavailable(str(error)) from None
        versions = [ModelVersion.from_resource(r) for r in found]
        self._versions = {version.uid: version for version in versions}
        return versions

    def read_record(self) -> Record | None:
        try:
            return decode_record(self._record.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ShellUnavailable(str(error)) from None

    def write_record(self, record: Record) -> None:
        _write(self._record, encode_record(record))

    def delete_record(self) -> None:
        self._record.unlink(missing_ok=True)

    def replicas(self) -> int | None:
        workload = _read_workload(self._workload)
        return workload["replicas"] if workload else None

    def apply_workload(self, workload: Workload | None) -> None:
        """On one machine nothing scales by itself: with autoscaling there are as many slots as it has at least."""
        if workload is None:
            self._workload.unlink(missing_ok=True)
            return
        scaling = workload.serving.autoscaling
        replicas = workload.replicas if workload.replicas is not None else scaling.min if scaling else 1
        wanted = {
            "model": workload.model,
            "replicas": replicas,
            "inputTopic": workload.serving.input_topic,
            "outputTopic": workload.serving.output_topic,
        }
        if wanted != _read_workload(self._workload):
            _write(self._workload, json.dumps(wanted).encode())

    def write_status(self, uid: str, status: Mapping[str, Any]) -> None:
        self._store.write_status(self._versions[uid].name, status)

    def take_off_action(self, uid: str) -> None:
        """Only the one that was obeyed: another may have been asked for meanwhile."""
        version = self._versions[uid]
        self._store.take_off(version.name, ACTION_ANNOTATION, version.action)

    def release(self, uid: str) -> None:
        self._store.release(self._versions[uid].name)

    def post(self, event: Event) -> None:
        about = self._versions[event.uid]
        when = datetime.now(UTC).isoformat()
        line = {"time": when, "model": self._model, "name": about.name, "version": about.version, **asdict(event)}
        with self._events.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def read_events(folder: Path) -> list[dict[str, Any]]:
    """The oldest first. One that is just being written is none yet."""
    try:
        text = (folder / "events.jsonl").read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def read_workloads(folder: Path) -> list[dict[str, Any]]:
    """What should run: model, replicas, inputTopic, outputTopic of each."""
    found = [_read_workload(path) for path in sorted((folder / "workloads").glob("*.json"))]
    return [workload for workload in found if workload is not None]


def _read_workload(path: Path) -> dict[str, Any] | None:
    with contextlib.suppress(FileNotFoundError):
        workload: dict[str, Any] = json.loads(path.read_bytes())
        return workload
    return None


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise ShellUnavailable(f"{path}: {error.strerror or error}") from None
