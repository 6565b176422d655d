"""The embedded S3: moto's server in a process of its own. It keeps everything in memory."""

import sys
from dataclasses import dataclass
from pathlib import Path

import boto3
from botocore.config import Config
from pydantic import SecretStr

from rollcast_cli.local.ports import accepts, check_free, free_ports
from rollcast_cli.local.processes import Child, start, wait_until
from rollcast_common.artifacts import S3Params

__all__ = ["DEFAULT_BUCKET", "S3Server", "make_bucket", "start_s3"]

DEFAULT_BUCKET = "rollcast-models"
_START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class S3Server:
    params: S3Params
    child: Child

    def stop(self) -> None:
        self.child.stop(grace_seconds=3)


def start_s3(*, log: Path, bucket: str = DEFAULT_BUCKET, port: int | None = None) -> S3Server:
    """Start it on 127.0.0.1 and create the bucket, versioned. Raises ChildDied, NotInTime (60 s), or
    ConfigError when the port is taken.
    """
    port = port or free_ports(1)[0]
    check_free(port)
    child = start(
        [sys.executable, "-m", "rollcast_cli.local.embedded_s3", "--port", str(port)],
        role="S3",
        log=log,
    )
    params = S3Params(
        bucket=bucket,
        endpoint_url=f"http://127.0.0.1:{port}",
        access_key_id="rollcast",
        secret_access_key=SecretStr("rollcast-local"),  # moto checks no keys
    )
    try:
        wait_until(lambda: accepts(port), what="S3 answers", timeout_seconds=_START_SECONDS, children=[child])
        make_bucket(params)
    except BaseException:
        child.kill()
        raise
    return S3Server(params, child)


def make_bucket(params: S3Params) -> None:
    """Create `params.bucket` with versioning: what a person does once on a real S3."""
    secret = params.secret_access_key
    client = boto3.client(
        "s3",
        endpoint_url=params.endpoint_url,
        region_name=params.region,
        aws_access_key_id=params.access_key_id,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
        config=Config(s3={"addressing_style": "path"}),
    )
    try:
        client.create_bucket(Bucket=params.bucket)
        client.put_bucket_versioning(Bucket=params.bucket, VersioningConfiguration={"Status": "Enabled"})
    finally:
        client.close()
