"""A skops file from outside: a zip of plainly named members that unpacks to a size one may expect.

skops reads every member into memory before it looks at a type, so this is asked first, of the zip's directory.
"""

import re
import stat
import zipfile
from pathlib import Path
from typing import IO

from rollcast_common.errors import UntrustedArtifact, UnusableModel

__all__ = ["check_archive"]

_MAX_BYTES = 8 << 30
_MAX_RATIO = 200
"""Forests shrink to a tenth or so; deflate can make a thousandth of zeros."""
_FLOOR_BYTES = 256 << 20
"""Whatever its ratio, this much fits into any host that holds a model."""

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}")
_ENCRYPTED = 0x1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ZIP_MAGIC = b"PK\x03\x04"  # how numpy.load tells an npz from an npy


def check_archive(path: Path, *, max_unpacked_bytes: int | None = None) -> None:
    """Look at what the zip's directory says, and at that of each npz in it. Nothing is unpacked but these.

    None is 200 times the file's size, at least 256 MiB and at most 8 GiB. A member that inflates to more than
    it declares is cut off there by zipfile, and then fails its checksum.
    Raises UnusableModel when it is no zip, UntrustedArtifact when no skops file looks like this.
    """
    if not zipfile.is_zipfile(path):
        raise UnusableModel(
            f"{path.name}: not a skops file, or cut off; save the model with skops.io.dump and upload it again"
        )
    limit = max_unpacked_bytes
    if limit is None:
        limit = min(_MAX_BYTES, max(_FLOOR_BYTES, _MAX_RATIO * path.stat().st_size))
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = _members_bytes(archive, path.name)
            _check_size(path.name, unpacked, limit)
            for member in archive.infolist():
                with archive.open(member) as file:
                    if file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC:
                        file.seek(0)
                        unpacked += _nested_bytes(file, f"{path.name}: {member.filename}")
                        _check_size(path.name, unpacked, limit)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError, ValueError) as error:
        raise UnusableModel(f"{path.name}: cannot be read: {type(error).__name__}: {error}; upload it again") from None


def _nested_bytes(file: IO[bytes], what: str) -> int:
    """A sparse matrix is an npz, a zip of its own, which could be a bomb inside a harmless file."""
    with zipfile.ZipFile(file) as archive:
        return _members_bytes(archive, what)


def _members_bytes(archive: zipfile.ZipFile, what: str) -> int:
    seen: set[str] = set()
    for member in archive.infolist():
        name = member.orig_filename  # as it is in the file, before zipfile makes it a path of this system
        if not _NAME.fullmatch(name):
            raise UntrustedArtifact(f"{what}: holds an entry named {name[:80]!r}, which no skops file does")
        if name in seen:
            raise UntrustedArtifact(f"{what}: holds entry {name} twice: what it says depends on who reads it")
        seen.add(name)
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
            raise UntrustedArtifact(f"{what}: entry {name} is a link or a device, which no skops file holds")
        if member.flag_bits & _ENCRYPTED:
            raise UntrustedArtifact(f"{what}: entry {name} is encrypted; nobody can tell here what it holds")
        if member.compress_type not in _METHODS:
            raise UntrustedArtifact(
                f"{what}: entry {name} is compressed by method {member.compress_type}, whose size nobody can bound; "
                "save it with compression=zipfile.ZIP_DEFLATED"
            )
    return sum(member.file_size for member in archive.infolist())


def _check_size(what: str, unpacked: int, limit: int) -> None:
    if unpacked > limit:
        raise UntrustedArtifact(
            f"{what}: unpacks to {unpacked} bytes, and at most {limit} are expected here; "
            "if that is right, allow it with --max-model-bytes"
        )
