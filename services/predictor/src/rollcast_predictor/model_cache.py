"""Model files on the slot's own disk, named by what they hold: a restart needs no S3 for what it served."""

import contextlib
import os
import re
import threading
import time
from pathlib import Path

import structlog

from rollcast_common.artifacts import ArtifactRef, ArtifactStore, sha256_of
from rollcast_common.errors import ArtifactNotFound, CacheProblem

__all__ = ["CachedModel", "ModelCache"]

_log = structlog.get_logger()

_DIGEST = re.compile(r"[0-9a-f]{64}")
_INCOMING = re.compile(r"\.?incoming-\d+-\d+(\.\d+\.part)?")
_ABANDONED_SECONDS = 3600.0
"""Nothing takes so long to fetch: whoever began it was killed."""


class ModelCache:
    """Files `<sha256>` under one folder; the most recently used ones are kept."""

    def __init__(self, folder: Path, store: ArtifactStore, *, keep: int, files_per_model: int = 2) -> None:
        """A model and its card are two files; with a signature they are three."""
        self._folder = folder
        self._store = store
        self._keep = keep
        self._files_per_model = files_per_model

    def get(self, ref: ArtifactRef) -> "CachedModel":
        """The object's bytes as a local file, its digest verified now.

        Raises ArtifactNotFound, DigestMismatch, StoreProblem, or CacheProblem when the disk refuses.
        """
        try:
            # A digest names a file here only if it is one: it comes from a topic that others write.
            if ref.sha256 is not None and _DIGEST.fullmatch(ref.sha256):
                kept = self._folder / ref.sha256
                if kept.is_file():
                    if sha256_of(kept) == ref.sha256:
                        kept.touch()
                        return CachedModel(kept, ref.sha256)
                    _log.warning("cached file is damaged and fetched again", file=kept.name)
                    kept.unlink(missing_ok=True)
            # Slots on one machine may share the folder, and a slot fetches in two threads: each into a name of its own.
            incoming = self._folder / f"incoming-{os.getpid()}-{threading.get_native_id()}"
            resolved = self._store.fetch(ref, incoming)
            assert resolved.sha256 is not None  # noqa: S101  # fetch always says it
            target = self._folder / resolved.sha256
            incoming.replace(target)
            self._forget_old()
        except OSError as error:
            raise CacheProblem(
                f"{self._folder}: cannot hold {ref.uri}: {error.strerror or error}; "
                "free space or choose another folder with --cache-dir"
            ) from None
        return CachedModel(target, resolved.sha256)

    def get_if_exists(self, ref: ArtifactRef) -> "CachedModel | None":
        with contextlib.suppress(ArtifactNotFound):
            return self.get(ref)
        return None

    def _forget_old(self) -> None:
        kept: list[tuple[float, Path]] = []
        for file in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another slot forgets too
                used = file.stat().st_mtime
                if _DIGEST.fullmatch(file.name):
                    kept.append((used, file))
                elif _INCOMING.fullmatch(file.name) and time.time() - used > _ABANDONED_SECONDS:
                    file.unlink()
        for _, file in sorted(kept, reverse=True)[self._files_per_model * self._keep :]:
            file.unlink(missing_ok=True)


class CachedModel:
    __slots__ = ("path", "sha256")

    def __init__(self, path: Path, sha256: str) -> None:
        self.path = path
        self.sha256 = sha256
