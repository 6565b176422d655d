"""All that one plan is made from."""

from collections.abc import Mapping
from dataclasses import dataclass

from rollcast_rollout.model_version import ModelVersion
from rollcast_rollout.observed import Observed
from rollcast_rollout.record import Record

__all__ = ["View"]


@dataclass(frozen=True, slots=True)
class View:
    """`versions` are by uid. `now` is in seconds since the epoch."""

    versions: Mapping[str, ModelVersion]
    observed: Observed
    now: float

    def wanted(self, uid: str | None) -> ModelVersion | None:
        """The ModelVersion, unless it is gone or under deletion."""
        found = self.versions.get(uid) if uid is not None else None
        return None if found is None or found.deleting else found

    def paused(self, record: Record, uid: str) -> bool:
        """Held, by its spec or by hand. A way back and a promotion by hand are not."""
        version = self.wanted(uid)
        if version is None or record.fast == uid:
            return False
        rollout = record.rollout
        if rollout is not None and rollout.uid == uid and rollout.fast:
            return False
        return version.rollout.paused or record.entries[uid].paused
