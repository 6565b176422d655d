"""mesibo's own SDK, installed beside the project and not into it: it is proprietary, and only an extra here."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.env.missing import missing

__all__ = ["WHEEL", "install_wheel", "under_permissions"]

WHEEL = "mesibo==2.7.1"

_ROOT = Path(__file__).resolve().parents[2]
_INSTALL_SECONDS = 300


def install_wheel(folder: Path) -> Path:
    """`folder`, with the package in it, to put on a PYTHONPATH. Skips where it cannot be had."""
    uv = next(iter(sorted(_ROOT.glob(".tools/uv-*/bin/uv"))), None) or shutil.which("uv")
    if uv is None:
        missing(f"{WHEEL} cannot be installed: there is no uv; run `make setup`")
    into = ["--python", sys.executable, "--target", str(folder)]
    command = [str(uv), "pip", "install", "--quiet", "--no-deps", *into, WHEEL]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False)
    if done.returncode != 0:
        missing(f"{WHEEL} cannot be had: {done.stderr.strip().splitlines()[-1:]}")
    return folder


def under_permissions() -> list[str]:
    """What a command begins with so that a folder without write permission is one: root writes everywhere else."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        missing("root writes into read-only folders, too, and there is no setpriv to give that up")
    rights = "-dac_override,-dac_read_search"
    return [setpriv, f"--bounding-set={rights}", f"--inh-caps={rights}"]
