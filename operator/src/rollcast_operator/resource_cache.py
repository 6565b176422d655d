"""What the watches have told, and what our own writes were answered: a reconcile asks nobody else."""

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from rollcast_operator.kinds import APPLIED_ANNOTATION, MODEL_LABEL
from rollcast_rollout.model_version import ModelVersion

__all__ = ["CachedSet", "CachedVersion", "ResourceCache"]

_log = structlog.get_logger()

_REMEMBERED = 10_000

Place = tuple[str, str]
"""Namespace and model."""


@dataclass(frozen=True, slots=True)
class CachedVersion:
    version: ModelVersion
    revision: int
    finalizers: tuple[str, ...]
    labels: Mapping[str, str]

    @property
    def place(self) -> Place:
        return self.version.namespace, self.version.model


@dataclass(frozen=True, slots=True)
class CachedSet:
    replicas: int
    revision: int
    digest: str | None


class ResourceCache:
    """For several threads. Of two states of an object the one with the higher resourceVersion counts, whoever brings
    it: a watch is behind what a write was answered, and a list behind both.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._versions: dict[str, CachedVersion] = {}
        self._by_place: dict[Place, set[str]] = defaultdict(set)
        self._gone: OrderedDict[str, int] = OrderedDict()
        self._sets: dict[Place, CachedSet] = {}
        self._gone_sets: dict[Place, int] = {}

    # ModelVersions.

    def versions(self, place: Place) -> list[CachedVersion]:
        with self._lock:
            return [self._versions[uid] for uid in self._by_place.get(place, ())]

    def get(self, uid: str) -> CachedVersion | None:
        with self._lock:
            return self._versions.get(uid)

    def places(self) -> set[Place]:
        """Of every model that has a ModelVersion or slots."""
        with self._lock:
            return {place for place, uids in self._by_place.items() if uids} | set(self._sets)

    def knows(self, place: Place) -> bool:
        with self._lock:
            return bool(self._by_place.get(place)) or place in self._sets

    def all_versions(self) -> list[ModelVersion]:
        with self._lock:
            return [cached.version for cached in self._versions.values()]

    def put(self, resource: Mapping[str, Any]) -> set[Place]:
        """The models for which this is news."""
        found = _parsed(resource)
        if found is None:
            return set()
        uid = found.version.uid
        with self._lock:
            before = self._versions.get(uid)
            if self._gone.get(uid, -1) >= found.revision or (before and before.revision >= found.revision):
                return set()
            self._versions[uid] = found
            self._by_place[found.place].add(uid)
        return {found.place}

    def remove(self, uid: str, revision: int | None = None) -> set[Place]:
        """It is gone; of a revision that is known to be older than `revision` nothing is taken any more."""
        with self._lock:
            before = self._versions.pop(uid, None)
            last = max(revision or 0, before.revision if before is not None else 0)
            self._gone[uid] = max(last, self._gone.get(uid, -1))
            while len(self._gone) > _REMEMBERED:
                self._gone.popitem(last=False)
            if before is None:
                return set()
            self._by_place[before.place].discard(uid)
            return {before.place}

    def keep_only(self, uids: Iterable[str], namespaces: Iterable[str] | None, *, since: Iterable[str]) -> set[Place]:
        """After a list: what was known before it began (`since`) and is not in it has gone without a word."""
        wanted = set(since) - set(uids)
        places: set[Place] = set()
        for uid in wanted:
            found = self.get(uid)
            if found is not None and (namespaces is None or found.version.namespace in namespaces):
                places |= self.remove(uid)
        return places

    def uids(self) -> set[str]:
        with self._lock:
            return set(self._versions)

    # StatefulSets.

    def stateful_set(self, place: Place) -> CachedSet | None:
        with self._lock:
            return self._sets.get(place)

    def put_set(self, resource: Mapping[str, Any]) -> set[Place]:
        place = _place_of_set(resource)
        if place is None:
            return set()
        meta = resource["metadata"]
        found = CachedSet(
            replicas=int(resource["spec"].get("replicas", 1)),
            revision=int(meta["resourceVersion"]),
            digest=None if "deletionTimestamp" in meta else (meta.get("annotations") or {}).get(APPLIED_ANNOTATION),
        )
        with self._lock:
            before = self._sets.get(place)
            if self._gone_sets.get(place, -1) >= found.revision or (before and before.revision >= found.revision):
                return set()
            self._sets[place] = found
        # Its status changes with every pod.
        same = before is not None and (before.replicas, before.digest) == (found.replicas, found.digest)
        return set() if same else {place}

    def remove_set(self, resource: Mapping[str, Any]) -> set[Place]:
        place = _place_of_set(resource)
        if place is None:
            return set()
        revision = int(resource["metadata"]["resourceVersion"])
        with self._lock:
            self._gone_sets[place] = max(revision, self._gone_sets.get(place, -1))
            before = self._sets.get(place)
            if before is not None and before.revision <= revision:
                del self._sets[place]
        return {place} if before is not None else set()

    def forget_set(self, place: Place) -> None:
        """We have just seen that there is none, or removed it."""
        with self._lock:
            self._sets.pop(place, None)

    def set_places(self) -> set[Place]:
        with self._lock:
            return set(self._sets)


def _parsed(resource: Mapping[str, Any]) -> CachedVersion | None:
    meta = resource["metadata"]
    try:
        return CachedVersion(
            version=ModelVersion.from_resource(resource),
            revision=int(meta["resourceVersion"]),
            finalizers=tuple(meta.get("finalizers") or ()),
            labels=dict(meta.get("labels") or {}),
        )
    except (KeyError, TypeError, ValueError) as error:  # kept under another definition than ours
        _log.warning(
            "a ModelVersion cannot be read", namespace=meta.get("namespace"), name=meta.get("name"), problem=repr(error)
        )
        return None


def _place_of_set(resource: Mapping[str, Any]) -> Place | None:
    meta = resource["metadata"]
    model = (meta.get("labels") or {}).get(MODEL_LABEL)
    return (meta["namespace"], model) if model else None
