"""ModelVersions in a folder, kept as an API server would keep them."""

import contextlib
import copy
import fcntl
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rollcast_cli.rolling.resources import Applied, Invalid, NoSuchModelVersion, Resource, name_of
from rollcast_rollout.validation import validate, with_defaults

__all__ = ["FINALIZER", "NAMESPACE", "ModelStore"]

FINALIZER = "rollcast.dev/finalizer"
NAMESPACE = "default"


_TICK_NS = 50_000_000
"""File systems take the time from the kernel's tick, which is much shorter."""


class ModelStore:
    """One file each, `<name>.json`. Writers take turns; a reader sees a file whole, before or after a change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    # Reading.

    def all(self) -> list[Resource]:
        """By age, the oldest first."""
        found = [resource for path in self.folder.glob("*.json") if (resource := _read(path)) is not None]
        return sorted(found, key=lambda r: (r["metadata"]["creationTimestamp"], r["metadata"]["name"]))

    def get(self, name: str) -> Resource:
        """Raises NoSuchModelVersion."""
        resource = _read(self._path(name))
        if resource is None:
            raise NoSuchModelVersion(name)
        return resource

    def changed_at(self) -> int:
        """Another number after every change. While the last one is so young that the next may get the same time, it is
        another number each time.
        """
        changed, now = self.folder.stat().st_mtime_ns, time.time_ns()
        return changed if abs(now - changed) > _TICK_NS else now

    # What people do.

    def apply(self, wanted: Mapping[str, Any]) -> Applied:
        """Create it, or make it what is wanted. Raises Invalid."""
        name = name_of(wanted)
        with self._turn():
            old = _read(self._path(name)) if _is_name(name) else None
            if violations := validate(wanted, old):
                raise Invalid(name, violations)
            new = with_defaults({**wanted, "status": {}})
            if old is None:
                self._write(_created(new))
                return "created"
            merged = _merged(old, new)
            if merged == old:
                return "unchanged"
            if merged["spec"] != old["spec"]:
                merged["metadata"]["generation"] += 1
            self._write(merged)
            return "configured"

    def annotate(self, name: str, key: str, value: str) -> None:
        """Raises NoSuchModelVersion."""
        self._change(name, lambda resource: resource["metadata"].setdefault("annotations", {}).update({key: value}))

    def delete(self, name: str) -> None:
        """It goes once its finalizer is off. Raises NoSuchModelVersion."""
        self._change(name, lambda resource: resource["metadata"].setdefault("deletionTimestamp", _now()))

    # What the controller does.

    def take_off(self, name: str, key: str, value: str | None) -> None:
        """An annotation, if it still says this."""

        def change(resource: Resource) -> None:
            annotations = resource["metadata"].get("annotations") or {}
            if key in annotations and annotations[key] == value:
                del annotations[key]

        with contextlib.suppress(NoSuchModelVersion):
            self._change(name, change)

    def write_status(self, name: str, status: Mapping[str, Any]) -> None:
        with contextlib.suppress(NoSuchModelVersion):
            self._change(name, lambda resource: resource.update(status=copy.deepcopy(dict(status))))

    def release(self, name: str) -> None:
        with self._turn():
            self._path(name).unlink(missing_ok=True)

    # How.

    def _change(self, name: str, change: Callable[[Resource], object]) -> None:
        with self._turn():
            old = self.get(name)
            new = copy.deepcopy(old)
            change(new)
            if new != old:
                self._write(new)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _path(self, name: str) -> Path:
        if not _is_name(name):
            raise NoSuchModelVersion(name)
        return self.folder / f"{name}.json"

    def _write(self, resource: Resource) -> None:
        path = self._path(resource["metadata"]["name"])
        temporary = path.with_name(f".{path.stem}.{os.getpid()}.part")
        temporary.write_text(json.dumps(resource, indent=2), encoding="utf-8")
        temporary.replace(path)


def _read(path: Path) -> Resource | None:
    with contextlib.suppress(FileNotFoundError):
        resource: Resource = json.loads(path.read_text(encoding="utf-8"))
        return resource
    return None


def _is_name(name: str) -> bool:
    return "/" not in name and "\0" not in name and not name.startswith(".") and bool(name)


def _created(new: Resource) -> Resource:
    given = new["metadata"]
    kept = {key: given[key] for key in ("name", "labels", "annotations") if given.get(key)}
    return {
        **new,
        "metadata": {
            **kept,
            "namespace": NAMESPACE,
            "uid": str(uuid.uuid4()),
            "generation": 1,
            "creationTimestamp": _now(),
            "finalizers": [FINALIZER],
        },
        "status": {},
    }


def _merged(old: Resource, new: Resource) -> Resource:
    """As `kubectl apply`: marks are added to, the spec is replaced, the rest is the store's."""
    metadata = dict(old["metadata"])
    for marks in ("labels", "annotations"):
        if given := new["metadata"].get(marks):
            metadata[marks] = {**metadata.get(marks, {}), **given}
    return {**old, "metadata": metadata, "spec": new["spec"]}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
