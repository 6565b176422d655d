"""The images under test: built from this tree, and brought to the cluster's nodes."""

import os
import shlex
import subprocess
from pathlib import Path

__all__ = ["IMAGES", "TAG", "build", "load"]

_ROOT = Path(__file__).parents[2]
_BUILD_SECONDS = 1800.0
_LOAD_SECONDS = 300.0

IMAGES = tuple(
    f"rollcast-{path.parent.name}"
    for path in sorted([*_ROOT.glob("services/*/Dockerfile"), _ROOT / "operator" / "Dockerfile"])
)
TAG = "e2e"


def build() -> None:
    """As `make images` does, with what it is told by ENGINE, IMAGE_BUILD and IMAGE_ARGS."""
    _run(["make", "--no-print-directory", "images", f"TAG={TAG}", "REGISTRY="], _BUILD_SECONDS)


def load(command: str) -> None:
    for image in IMAGES:
        _run([*shlex.split(command), f"{image}:{TAG}"], _LOAD_SECONDS)


def _run(command: list[str], seconds: float) -> None:
    result = subprocess.run(
        command,
        cwd=_ROOT,
        env=dict(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=seconds,
    )
    assert result.returncode == 0, f"{shlex.join(command)}:\n{result.stdout[-5000:]}"
