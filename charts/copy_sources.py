# ruff: noqa: INP001  # a script beside the chart, not a package
"""Copies into the chart what the code owns: the definition of ModelVersion and the operator's rights.

A chart can only read files inside itself. A test compares the copies with what they were copied from.
"""

import shutil
from pathlib import Path

__all__ = ["COPIES", "main"]

_ROOT = Path(__file__).resolve().parents[1]
_FILES = _ROOT / "charts" / "rollcast" / "files"
_RBAC = _ROOT / "operator" / "src" / "rollcast_operator" / "rbac"

COPIES = {
    _FILES / "crd" / "modelversion.yaml": _ROOT / "libs/rollout/src/rollcast_rollout/crd/modelversion.yaml",
    **{_FILES / "rbac" / path.name: path for path in sorted(_RBAC.glob("*.yaml"))},
}
"""Each copy, and what it is copied from."""


def main() -> None:
    for copy, source in COPIES.items():
        shutil.copyfile(source, copy)


if __name__ == "__main__":
    main()
