"""Which ModelVersions there are, remembered: new ones get their sequence, edited ones another, lost ones go."""

from msgspec.structs import replace

from rollcast_rollout.artifact_identity import digest_of, fingerprint_of, was_edited
from rollcast_rollout.changes import taken_off
from rollcast_rollout.model_version import ModelVersion
from rollcast_rollout.record import Entry, Record
from rollcast_rollout.view import View

__all__ = ["bounded", "noted"]

_PINS = 50
_LONG_MESSAGES = 100
_SHORT_MESSAGE = 80
_VERSIONS = 1_000


def noted(view: View, record: Record) -> Record:
    """Stamps what is new and what was edited, in the order of creation (then of names), and forgets what is gone."""
    gone = record.entries.keys() - view.versions.keys()
    if gone:
        record = replace(
            record,
            entries={uid: entry for uid, entry in record.entries.items() if uid not in gone},
            stable=None if record.stable in gone else record.stable,
            fast=None if record.fast in gone else record.fast,
        )
    for version in sorted(view.versions.values(), key=lambda version: (version.created, version.name)):
        if not version.deleting:
            record = _noted(record, version)
    return record


def _noted(record: Record, version: ModelVersion) -> Record:
    entry = record.entries.get(version.uid)
    if entry is not None and not was_edited(entry, version):
        if entry.digest is None and (digest := digest_of(version)) is not None:
            return replace(record, entries={**record.entries, version.uid: replace(entry, digest=digest)})
        return record
    if entry is not None:
        record = _disowned(record, version.uid)
    fresh = Entry(
        sequence=record.next_sequence,
        fingerprint=fingerprint_of(version),
        digest=digest_of(version),
        handled=entry.handled if entry is not None else None,
        paused=entry is not None and entry.paused,
    )
    return replace(record, entries={**record.entries, version.uid: fresh}, next_sequence=record.next_sequence + 1)


def _disowned(record: Record, uid: str) -> Record:
    """What served or rolled under this uid is another artifact than what it names now."""
    if record.stable == uid:
        record = replace(record, stable=None)
    if record.fast == uid:
        record = replace(record, fast=None)
    rollout = record.rollout
    if rollout is None or rollout.uid != uid:
        return record
    if rollout.stage == "promoting":
        return replace(record, rollout=replace(rollout, uid=""))
    return taken_off(record)


def bounded(record: Record, target: str | None) -> Record:
    """What need not be remembered is dropped, so that a thousand ModelVersions fit."""
    keep = {record.stable, target, record.rollout.uid if record.rollout is not None else None}
    latest = sorted(record.entries, key=lambda uid: -record.entries[uid].sequence)
    failures = [uid for uid in latest if record.entries[uid].failure is not None]
    entries = dict(record.entries)
    for uid in latest[_PINS:]:
        if uid not in keep and entries[uid].pin is not None:
            entries[uid] = replace(entries[uid], pin=None, bins=None)
    for uid in failures[_LONG_MESSAGES:]:
        failure = entries[uid].failure
        if failure is not None and len(failure.message) > _SHORT_MESSAGE:
            entries[uid] = replace(
                entries[uid], failure=replace(failure, message=failure.message[: _SHORT_MESSAGE - 1] + "…")
            )
    versions = record.versions
    if len(versions) > _VERSIONS:
        versions = dict(list(versions.items())[-_VERSIONS:])
    return replace(record, entries=entries, versions=versions)
