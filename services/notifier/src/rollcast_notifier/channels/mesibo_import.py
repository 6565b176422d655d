"""Import mesibo's SDK, also where its folder cannot be written.

At its import the SDK copies its library for this Python from `clib/` into its own package folder, and ends the process
when it cannot. An image that imported it once while it was built has that copy already.
"""

import importlib
import importlib.util
import os
import shutil
import sys
from pathlib import Path
from typing import Any

__all__ = ["import_mesibo", "is_installed"]


def is_installed() -> bool:
    return importlib.util.find_spec("mesibo") is not None


def import_mesibo(scratch: Path) -> Any:
    """The module; `scratch` is a folder for a writable package where its own is not. Raises ImportError.

    It prints a banner, and raises SystemExit, with a text, on a platform that it does not support.
    """
    spec = importlib.util.find_spec("mesibo")
    if spec is not None and spec.submodule_search_locations:
        package = Path(next(iter(spec.submodule_search_locations)))
        if not _is_usable(package):
            sys.path.insert(0, str(_writable(package, scratch)))
            importlib.invalidate_caches()
    return importlib.import_module("mesibo")


def _is_usable(package: Path) -> bool:
    return os.access(package, os.W_OK) or any(package.glob("_mesibo.*"))


def _writable(package: Path, scratch: Path) -> Path:
    """A folder with a package of the same content: files copied, folders (60 MB of libraries) linked."""
    shutil.rmtree(scratch, ignore_errors=True)
    copy = scratch / "mesibo"
    copy.mkdir(parents=True)
    for entry in package.iterdir():
        if entry.is_dir():
            (copy / entry.name).symlink_to(entry, target_is_directory=True)
        else:
            # Without the mode: a read-only file could not be replaced there.
            shutil.copyfile(entry, copy / entry.name)
    return scratch
