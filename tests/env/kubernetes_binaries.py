"""etcd, kube-apiserver and kubectl: envtest's folder where there is one, else built once with Go from its module proxy.

`python -m tests.env.kubernetes_binaries` builds them ahead and prints the folder.
"""

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from rollcast_cli.local.kafka_jars import cache_folder
from rollcast_common.errors import RollcastError

KUBERNETES = "v1.37.1"
ETCD = "v3.6.16"

BINARIES = ("etcd", "kube-apiserver", "kubectl")
ASSETS_VARIABLE = "KUBEBUILDER_ASSETS"

_SAY_EVERY_SECONDS = 30.0
_DOWNLOAD_SECONDS = 600.0

Say = Callable[[str], None]


class BinariesUnavailable(RollcastError):
    """They are not here and cannot be built here; the text says why."""


def binaries(say: Say) -> Path:
    """The folder that holds them. `say` gets a line now and then while they are built (about 6 minutes on two cores).

    Processes that ask at the same time wait for one build. Raises BinariesUnavailable.
    """
    if named := os.environ.get(ASSETS_VARIABLE):
        folder = Path(named)
        if absent := _absent(folder):
            raise BinariesUnavailable(f"{ASSETS_VARIABLE}={named} does not hold {', '.join(absent)}")
        return folder
    folder = cache_folder() / f"kubernetes-{KUBERNETES}-etcd-{ETCD}"
    if not _absent(folder):
        return folder
    go = shutil.which("go")
    if go is None:
        raise BinariesUnavailable(f"there is no go here, and {ASSETS_VARIABLE} names no folder that holds them")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        say(f"{', '.join(_absent(folder))}: not in {folder} yet; built once, with Go")
        fcntl.flock(lock, fcntl.LOCK_EX)
        if "etcd" in _absent(folder):
            _build_etcd(go, folder, say)
        if _absent(folder):
            _build_kubernetes(go, folder, say)
    return folder


def _absent(folder: Path) -> list[str]:
    return [name for name in BINARIES if not os.access(folder / name, os.X_OK)]


def _build_etcd(go: str, into: Path, say: Say) -> None:
    """Through a wrapper: its own go.mod has replacements by relative paths, which Go refuses in what it installs."""
    wrapper = ["go 1.26.0", f"require go.etcd.io/etcd/server/v3 {ETCD}"]
    _build(go, f"etcd {ETCD}", wrapper, {"etcd": "go.etcd.io/etcd/server/v3"}, ["-s", "-w"], into, say)


def _build_kubernetes(go: str, into: Path, say: Say) -> None:
    """Kubernetes replaces its published modules by folders of its own tree: the wrapper takes the published ones."""
    go_mod = _go_mod(go, f"k8s.io/kubernetes@{KUBERNETES}")
    staged = re.findall(r"^\s*(k8s\.io/[a-z0-9-]+) => \./staging/", go_mod, re.MULTILINE)
    published = KUBERNETES.replace("v1.", "v0.", 1)
    wrapper = [
        *re.findall(r"^(?:go [0-9.]+|godebug .*)$", go_mod, re.MULTILINE),
        f"require k8s.io/kubernetes {KUBERNETES}",
        *(f"replace {module} => {module} {published}" for module in staged),
    ]
    minor = KUBERNETES.split(".")[1]
    link = ["-s", "-w"]
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
        for name, value in (("gitVersion", KUBERNETES), ("gitMajor", "1"), ("gitMinor", minor)):
            link += ["-X", f"{package}.{name}={value}"]
    commands = {name: f"k8s.io/kubernetes/cmd/{name}" for name in ("kube-apiserver", "kubectl")}
    _build(go, f"Kubernetes {KUBERNETES}", wrapper, commands, link, into, say)


def _build(
    go: str, what: str, go_mod: Sequence[str], commands: dict[str, str], link: list[str], into: Path, say: Say
) -> None:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=into) as temporary:
        module = Path(temporary)
        (module / "go.mod").write_text("\n".join(["module rollcast/built", *go_mod, ""]), encoding="utf-8")
        for number, (name, package) in enumerate(commands.items()):
            # One after the other: linking two of these at once takes more memory than CI's machines like to give.
            command = [go, "build", "-v", "-trimpath", "-ldflags", " ".join(link), "-o", name, package]
            _run(command, module, f"{what} ({number + 1} of {len(commands)}: {name})", say)
        for name in commands:
            (module / name).rename(into / name)
    say(f"{what}: built in {time.monotonic() - began:.0f} s")


def _run(command: Sequence[str], folder: Path, what: str, say: Say) -> None:
    """Go names every package that it has downloaded or compiled on stderr; every now and then we say how many."""
    process = subprocess.Popen(
        command, cwd=folder, env=_environment(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    last, lines, end = time.monotonic(), 0, deque[str](maxlen=5)
    with process:
        for line in process.stderr:
            lines += 1
            end.append(line.strip())
            if time.monotonic() - last >= _SAY_EVERY_SECONDS:
                last = time.monotonic()
                say(f"{what}: {lines} packages, now {end[-1]}")
    if process.returncode:
        raise BinariesUnavailable(f"{what}: go build failed: {' '.join(end)}")


def _go_mod(go: str, module: str) -> str:
    result = subprocess.run(
        [go, "mod", "download", "-json", module],
        env=_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_DOWNLOAD_SECONDS,
    )
    try:
        return Path(json.loads(result.stdout)["GoMod"]).read_text(encoding="utf-8")
    except (ValueError, KeyError):
        raise BinariesUnavailable(f"{module}: go mod download failed: {result.stderr[-300:].strip()}") from None


def _environment() -> dict[str, str]:
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod -buildvcs=false", "GOWORK": "off"}


def main() -> None:
    try:
        folder = binaries(lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201  # a command
    except BinariesUnavailable as error:
        raise SystemExit(str(error)) from None
    print(folder)  # noqa: T201  # the command's result


if __name__ == "__main__":
    main()
