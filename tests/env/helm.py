"""helm: the one that HELM names or that is in PATH, else built once with Go from its module proxy.

`python -m tests.env.helm` builds it ahead and prints its path.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from tests.env import kubernetes_binaries as built
from tests.env.kubernetes_binaries import BinariesUnavailable, Say

from rollcast_cli.local.kafka_jars import cache_folder

HELM = "v4.3.1"
HELM_VARIABLE = "HELM"

_SECONDS = 120.0

Json = dict[str, Any]


class HelmFailed(Exception):
    """`said` is what helm wrote on stderr."""

    def __init__(self, arguments: Sequence[str], said: str) -> None:
        super().__init__(f"helm {' '.join(arguments)}: {said}")
        self.said = said


class Helm:
    """Runs helm, away from the configuration and the caches of whoever runs the tests."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self._binary = binary
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("HELM_", "KUBE"))},
            "HELM_CONFIG_HOME": str(folder / "config"),
            "HELM_CACHE_HOME": str(folder / "cache"),
            "HELM_DATA_HOME": str(folder / "data"),
        }

    def run(self, *arguments: str, environ: Mapping[str, str] | None = None) -> str:
        """What helm printed. Raises HelmFailed."""
        result = subprocess.run(
            [str(self._binary), *arguments],
            env={**self._environment, **(environ or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
        if result.returncode:
            raise HelmFailed(arguments, result.stderr.strip() + result.stdout.strip())
        return result.stdout

    def template(
        self,
        chart: Path,
        *arguments: str,
        values: Sequence[Path] = (),
        settings: Mapping[str, Any] | None = None,
        release: str = "rollcast",
        namespace: str = "ml",
    ) -> list[Json]:
        """The objects that would be installed. `settings` are values by their path: {"kafka.servers": "k:9092"}."""
        files = [argument for path in values for argument in ("--values", str(path))]
        given = [
            argument for name, value in (settings or {}).items() for argument in ("--set-json", _setting(name, value))
        ]
        text = self.run("template", release, str(chart), "--namespace", namespace, *files, *given, *arguments)
        return [found for found in yaml.safe_load_all(text) if found]


def _setting(name: str, value: Any) -> str:
    return f"{name}={json.dumps(value)}"


def helm_binary(say: Say) -> Path:
    """Raises BinariesUnavailable."""
    if named := os.environ.get(HELM_VARIABLE):
        if not os.access(named, os.X_OK):
            raise BinariesUnavailable(f"{HELM_VARIABLE}={named} is no program")
        return Path(named)
    if found := shutil.which("helm"):
        return Path(found)
    folder = cache_folder() / f"helm-{HELM}"
    binary = folder / "helm"
    if os.access(binary, os.X_OK):
        return binary
    go = shutil.which("go")
    if go is None:
        raise BinariesUnavailable(f"there is no helm in PATH, no go to build it with, and {HELM_VARIABLE} names none")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        say(f"helm: not in {folder} yet; built once, with Go")
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.access(binary, os.X_OK):
            wrapper = ["go 1.26.0", f"require helm.sh/helm/v4 {HELM}"]
            link = ["-s", "-w", "-X", f"helm.sh/helm/v4/internal/version.version={HELM}"]
            built._build(go, f"helm {HELM}", wrapper, {"helm": "helm.sh/helm/v4/cmd/helm"}, link, folder, say)
    return binary


def main() -> None:
    try:
        binary = helm_binary(lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201  # a command
    except BinariesUnavailable as error:
        raise SystemExit(str(error)) from None
    print(binary)  # noqa: T201  # the command's result


if __name__ == "__main__":
    main()
