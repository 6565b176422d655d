"""Two S3 servers for tests: versitygw, which checks signatures and keeps files, and moto, which does neither."""

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from pydantic import SecretStr
from tests.env.missing import missing

from rollcast_cli.local.kafka_jars import cache_folder
from rollcast_cli.local.ports import accepts, free_ports
from rollcast_cli.local.processes import start, wait_until
from rollcast_cli.local.s3 import make_bucket, start_s3
from rollcast_common.artifacts import S3Params

VERSITYGW = "v1.8.0"
_BUILD_SECONDS = 900.0


class S3:
    """A server, and a way to a fresh bucket on it."""

    def __init__(self, params: S3Params) -> None:
        self._params = params

    @property
    def endpoint_url(self) -> str:
        return self._params.endpoint_url or ""

    def params_without_bucket(self) -> S3Params:
        """Of a bucket that does not exist."""
        return self._params.model_copy(update={"bucket": f"missing-{uuid4().hex[:12]}"})

    def params(self) -> S3Params:
        """Of a new, empty, versioned bucket: one per call."""
        params = self._params.model_copy(update={"bucket": f"test-{uuid4().hex[:12]}"})
        make_bucket(params)
        return params


@contextmanager
def versitygw(folder: Path) -> Iterator[S3]:
    """Skips where Go is missing."""
    binary = _versitygw_binary()
    port = free_ports(1)[0]
    access, secret = "test-access", uuid4().hex
    objects, versions = folder / "objects", folder / "versions"
    for directory in (objects, versions):
        directory.mkdir(parents=True)
    child = start(
        [
            str(binary),
            *("--port", f"127.0.0.1:{port}", "--quiet"),
            *("posix", "--versioning-dir", str(versions), str(objects)),
        ],
        role="versitygw",
        log=folder / "versitygw.log",
        environ={"ROOT_ACCESS_KEY": access, "ROOT_SECRET_KEY": secret},
    )
    try:
        wait_until(lambda: accepts(port), what="versitygw answers", timeout_seconds=120, children=[child])
        yield S3(
            S3Params(
                bucket="none",
                endpoint_url=f"http://127.0.0.1:{port}",
                access_key_id=access,
                secret_access_key=SecretStr(secret),
            )
        )
    finally:
        child.stop()


@contextmanager
def moto(folder: Path) -> Iterator[S3]:
    server = start_s3(log=folder / "s3.log")
    try:
        yield S3(server.params)
    finally:
        server.stop()


def _versitygw_binary() -> Path:
    """Built once (about 75 s) into the cache folder; processes that ask at the same time wait for one build."""
    binary = cache_folder() / f"versitygw-{VERSITYGW}" / "versitygw"
    if binary.exists():
        return binary
    go = shutil.which("go")
    if go is None:
        missing("needs Go to build versitygw, an S3 server: there is no go here")
    binary.parent.mkdir(parents=True, exist_ok=True)
    with (binary.parent / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if binary.exists():
            return binary
        with tempfile.TemporaryDirectory(dir=binary.parent) as temporary:
            result = subprocess.run(
                [go, "install", f"github.com/versity/versitygw/cmd/versitygw@{VERSITYGW}"],
                env={**os.environ, "GOBIN": temporary},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=_BUILD_SECONDS,
            )
            if result.returncode:
                said = re.sub(r"\s+", " ", result.stderr[-300:]).strip()
                missing(f"needs Go to build versitygw, an S3 server: go install failed: {said}")
            (Path(temporary) / "versitygw").rename(binary)
    return binary
