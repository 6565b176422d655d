"""Whether an artifact was edited: what a ModelVersion names, small enough to be remembered a thousand times."""

from hashlib import sha256

from rollcast_rollout.model_version import ModelVersion
from rollcast_rollout.record import Entry

__all__ = ["digest_of", "fingerprint_of", "was_edited"]

_LENGTH = 16
"""Hexadecimal digits: 64 bits tell one edit from another; that bytes are right is not decided by this."""


def fingerprint_of(version: ModelVersion) -> str:
    """Of all that names the bytes but their digest, which may be added later."""
    artifact = version.artifact
    return sha256(f"{artifact.uri}\n{artifact.format}\n{version.version}".encode()).hexdigest()[:_LENGTH]


def digest_of(version: ModelVersion) -> str | None:
    named = version.artifact.sha256
    return named[:_LENGTH] if named is not None else None


def was_edited(entry: Entry, version: ModelVersion) -> bool:
    """Adding the digest is no edit, unless it is another one than that of the bytes that were pinned."""
    if entry.fingerprint != fingerprint_of(version):
        return True
    named = digest_of(version)
    if named is None or named == entry.digest:
        return False
    if entry.digest is not None:
        return True
    return entry.pin is not None and entry.pin.sha256 != version.artifact.sha256
