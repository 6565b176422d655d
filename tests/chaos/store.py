"""An S3 server that can be stopped and started again on the same port and data, and whose data can be damaged."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from pydantic import SecretStr
from tests.env.s3 import _versitygw_binary

from rollcast_cli.local.ports import accepts, free_ports
from rollcast_cli.local.processes import Child, start, wait_until
from rollcast_cli.local.s3 import make_bucket
from rollcast_common.artifacts import S3Params

__all__ = ["Store"]


class Store:
    """versitygw; skips where Go is missing."""

    def __init__(self, folder: Path) -> None:
        self._binary = _versitygw_binary()
        self._folder = folder
        self._port = free_ports(1)[0]
        self._secret = uuid4().hex
        self._child: Child | None = None
        self.params = S3Params(
            bucket="chaos",
            endpoint_url=f"http://127.0.0.1:{self._port}",
            access_key_id="chaos",
            secret_access_key=SecretStr(self._secret),
        )

    def start(self) -> None:
        objects, versions = self._folder / "objects", self._folder / "versions"
        is_new = not objects.exists()
        for directory in (objects, versions):
            directory.mkdir(parents=True, exist_ok=True)
        self._child = start(
            [
                str(self._binary),
                *("--port", f"127.0.0.1:{self._port}", "--quiet"),
                *("posix", "--versioning-dir", str(versions), str(objects)),
            ],
            role="versitygw",
            log=self._folder / "versitygw.log",
            environ={"ROOT_ACCESS_KEY": "chaos", "ROOT_SECRET_KEY": self._secret},
        )
        wait_until(lambda: accepts(self._port), what="S3 answers", timeout_seconds=30, children=[self._child])
        if is_new:
            make_bucket(self.params)

    def stop(self) -> None:
        if self._child is not None:
            self._child.kill()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """It takes connections, and says nothing."""
        assert self._child is not None
        os.kill(self._child.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._child.pid, signal.SIGCONT)

    def damage(self, key: str, change: Callable[[bytes], bytes]) -> None:
        """As a disk would: S3 itself does not notice."""
        path = self._folder / "objects" / self.params.bucket / key
        path.write_bytes(change(path.read_bytes()))
