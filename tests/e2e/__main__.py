"""`make e2e`: these tests on the cluster of KUBECONFIG, else on one that kind makes and that is deleted afterwards."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HERE = Path(__file__).parent
_NAME = "rollcast-e2e"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e", description=__doc__)
    parser.add_argument(
        "--full", action="store_true", help="KEDA, Prometheus and metrics-server are in the cluster, too"
    )
    arguments = parser.parse_args()
    # Whoever asks for these tests wants them to run, not to be skipped.
    environ = {**os.environ, "E2E": "1", "ROLLCAST_REQUIRE_ENV": "1"}
    if arguments.full:
        environ["E2E_FULL"] = "1"
    if environ.get("KUBECONFIG"):
        return _tests(environ)
    if arguments.full:
        sys.exit("e2e-full needs a cluster with KEDA, Prometheus and metrics-server: set KUBECONFIG")
    if not _kind_works():
        sys.exit("e2e needs a cluster: set KUBECONFIG, or install kind and docker, podman or nerdctl")
    with tempfile.TemporaryDirectory() as folder, _kind(Path(folder) / "kubeconfig") as kubeconfig:
        return _tests({**environ, "KUBECONFIG": str(kubeconfig), "KIND_CLUSTER_NAME": _NAME})


def _tests(environ: dict[str, str]) -> int:
    return subprocess.run([sys.executable, "-m", "pytest", str(_HERE), "-x"], env=environ, check=False).returncode


def _kind_works() -> bool:
    return (
        shutil.which("kind") is not None
        and not subprocess.run(["kind", "get", "clusters"], capture_output=True, check=False).returncode
    )


@contextmanager
def _kind(kubeconfig: Path) -> Iterator[Path]:
    """With a Kafka and an S3 in it."""
    config = ("--config", str(_HERE / "kind" / "cluster.yaml"))
    create = ["kind", "create", "cluster", "--name", _NAME, *config, "--kubeconfig", str(kubeconfig), "--wait", "120s"]
    subprocess.run(create, check=True)
    try:
        kubectl = ["kubectl", "--kubeconfig", str(kubeconfig)]
        subprocess.run([*kubectl, "apply", "--filename", str(_HERE / "kind" / "servers.yaml")], check=True)
        for namespace in ("kafka", "s3"):
            wait = ["rollout", "status", "deployment", "--namespace", namespace, "--timeout", "300s"]
            subprocess.run([*kubectl, *wait], check=True)
        yield kubeconfig
    finally:
        subprocess.run(["kind", "delete", "cluster", "--name", _NAME], check=False)


if __name__ == "__main__":
    sys.exit(main())
