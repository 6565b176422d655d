"""What every bench needs: the machine's name, other commands of the project, and where they find Kafka and S3."""

import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import psutil

from rollcast_common.artifacts import ArtifactRef, ArtifactStore, S3Params
from rollcast_common.contracts import Assignment, ServedVersion
from rollcast_common.contracts.assignment import encode_assignment
from rollcast_common.identity import ModelIdentity
from rollcast_common.kafka import ErrorWatch, KafkaParams, make_producer

__all__ = ["assign", "machine", "run_python", "service_environment"]


def assign(kafka: KafkaParams, store: ArtifactStore, identity: ModelIdentity, key: str) -> None:
    """The uploaded model is stable at once, as the first of its name."""
    ref = store.resolve(ArtifactRef(store.bucket, key))
    assert ref.sha256 is not None  # noqa: S101  # resolve always says it
    version = PurePosixPath(key).stem
    served = ServedVersion(version=version, uri=ref.uri, format="skops", sha256=ref.sha256, version_id=ref.version_id)
    value = encode_assignment(Assignment(model=identity.model, generation=1, stable=served))
    producer = make_producer(kafka, ErrorWatch(kafka.broker.servers), client_id="bench-assigner")
    producer.produce(kafka.topics.full("assignments"), value, str(identity))
    producer.flush(30)


def machine() -> str:
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB, "
        f"Python {platform.python_version()}, Apache Kafka on the same machine, acks=all"
    )


def service_environment(servers: str, s3: S3Params, cache: Path) -> dict[str, str]:
    secret = s3.secret_access_key
    return {
        "ROLLCAST_KAFKA_SERVERS": servers,
        "ROLLCAST_S3_ENDPOINT_URL": s3.endpoint_url or "",
        "ROLLCAST_S3_BUCKET": s3.bucket,
        "ROLLCAST_S3_ACCESS_KEY_ID": s3.access_key_id or "",
        "ROLLCAST_S3_SECRET_ACCESS_KEY": secret.get_secret_value() if secret else "",
        "ROLLCAST_CACHE_DIR": str(cache),
    }


def run_python(arguments: Sequence[str], environ: Mapping[str, str]) -> str:
    """What it printed. Ends the bench, with the end of what it complained about, when it fails."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **environ, "OMP_NUM_THREADS": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(arguments[:3])} failed:\n{done.stderr[-2000:]}")
    return done.stdout
