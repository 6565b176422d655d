"""The local stack's ModelVersions: a folder beside the controller."""

import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from rollcast_cli.rolling.folder_shell import read_events
from rollcast_cli.rolling.model_store import NAMESPACE, ModelStore
from rollcast_cli.rolling.resources import Applied, Change, Resource, Said
from rollcast_common.errors import ConfigError
from rollcast_rollout.record import decode_record

__all__ = ["FolderResources"]

_LOOK_SECONDS = 0.1


class FolderResources:
    namespace = NAMESPACE

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._store = ModelStore(folder / "models")

    def all(self) -> list[Resource]:
        return self._store.all()

    def get(self, name: str) -> Resource:
        return self._store.get(name)

    def apply(self, wanted: Mapping[str, Any], *, force_conflicts: bool = False) -> Applied:  # noqa: ARG002  # nobody else owns
        metadata = wanted.get("metadata")
        namespace = metadata.get("namespace") if isinstance(metadata, dict) else None
        if isinstance(namespace, str) and namespace != NAMESPACE:
            raise ConfigError(
                f'namespace "{namespace}" of the object is not "{NAMESPACE}", the only one on one machine; leave it out'
            )
        return self._store.apply(wanted)

    def annotate(self, name: str, key: str, value: str) -> None:
        self._store.annotate(name, key, value)

    def delete(self, name: str) -> None:
        self._store.delete(name)

    def events(self) -> list[Said]:
        return [
            Said(
                time=datetime.fromisoformat(line["time"]).timestamp(),
                type=line["type"],
                reason=line["reason"],
                name=line["name"],
                message=line["message"],
                model=line["model"],
                version=line["version"],
                uid=line["uid"],
            )
            for line in read_events(self._folder)
        ]

    def digests(self, model: str) -> dict[str, str]:
        try:
            data = (self._folder / "records" / f"{model}.json").read_bytes()
        except FileNotFoundError:
            return {}
        return dict(decode_record(data).versions)

    def watch(self) -> Iterator[Change]:
        known: dict[str, Resource] = {}
        seen = -1
        while True:
            if (changed := self._store.changed_at()) != seen:
                seen = changed
                now = {resource["metadata"]["uid"]: resource for resource in self._store.all()}
                yield from (Change("DELETED", known[uid]) for uid in known.keys() - now.keys())
                for uid, resource in now.items():
                    if uid not in known:
                        yield Change("ADDED", resource)
                    elif resource != known[uid]:
                        yield Change("MODIFIED", resource)
                known = now
            time.sleep(_LOOK_SECONDS)
