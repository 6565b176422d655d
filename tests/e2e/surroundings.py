"""What these tests are told about the cluster that they run on: all of it by environment variables."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from rollcast_common.artifacts import S3Params
from rollcast_common.kafka import KafkaBrokerParams, KafkaParams

__all__ = ["Surroundings", "Unfit", "surroundings"]

_ASK_SECONDS = 30.0


class Unfit(Exception):
    """These tests cannot run here; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    load_image: str
    """A command that brings an image, whose name is put after it, from where it was built to the cluster's nodes."""

    kafka_inside: str
    kafka_outside: str
    """The same brokers from where the tests run."""

    s3_inside: str
    s3_outside: str
    access_key_id: str
    secret_access_key: str
    values: tuple[str, ...] = ()
    """More of the chart's values files."""

    full: bool = False
    """With KEDA and Prometheus, which the cluster must have."""

    policies: bool = True
    """The cluster enforces NetworkPolicies."""

    @property
    def kafka(self) -> KafkaParams:
        """From where the tests run."""
        return KafkaParams(broker=KafkaBrokerParams(servers=self.kafka_outside))

    def s3(self, bucket: str) -> S3Params:
        """From where the tests run."""
        return S3Params(
            bucket=bucket,
            endpoint_url=self.s3_outside,
            access_key_id=self.access_key_id,
            secret_access_key=SecretStr(self.secret_access_key),
        )


def surroundings(environ: Mapping[str, str] = os.environ) -> Surroundings:
    """Raises Unfit."""
    for command in ("helm", "kubectl"):
        if shutil.which(command) is None:
            raise Unfit(f"needs {command} on the path")
    if not environ.get("KUBECONFIG"):
        raise Unfit("needs a cluster: set KUBECONFIG")
    answer = subprocess.run(
        ["kubectl", "get", "--raw", "/readyz"],
        env=dict(environ),
        capture_output=True,
        text=True,
        check=False,
        timeout=_ASK_SECONDS,
    )
    if answer.returncode:
        raise Unfit(f"the cluster of KUBECONFIG={environ['KUBECONFIG']} does not answer: {answer.stderr.strip()}")
    node = environ.get("E2E_NODE_ADDRESS") or _node_address(environ)
    return Surroundings(
        load_image=environ.get("E2E_LOAD_IMAGE", "kind load docker-image"),
        kafka_inside=environ.get("E2E_KAFKA_INSIDE", "kafka.kafka.svc.cluster.local:9092"),
        kafka_outside=environ.get("E2E_KAFKA_OUTSIDE", f"{node}:31092"),
        s3_inside=environ.get("E2E_S3_INSIDE", "http://s3.s3.svc.cluster.local:7070"),
        s3_outside=environ.get("E2E_S3_OUTSIDE", f"http://{node}:31070"),
        access_key_id=environ.get("E2E_S3_ACCESS_KEY_ID", "testadmin"),
        secret_access_key=environ.get("E2E_S3_SECRET_ACCESS_KEY", "testadmin-secret"),
        values=tuple(environ.get("E2E_VALUES", "").split()),
        full=environ.get("E2E_FULL") == "1",
        policies=environ.get("E2E_NETWORK_POLICIES", "1") == "1",
    )


def _node_address(environ: Mapping[str, str]) -> str:
    """Where NodePorts of the cluster's first node are reached."""
    found = subprocess.run(
        [
            *("kubectl", "get", "nodes", "--output"),
            'jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}',
        ],
        env=dict(environ),
        capture_output=True,
        text=True,
        check=True,
        timeout=_ASK_SECONDS,
    )
    return found.stdout.strip()
