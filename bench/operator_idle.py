"""What an operator costs that has nothing to do, and how soon it begins: `make bench-operator`.

A real API server and a real Kafka; slots are played by a thread that follows assignments and reports, because what is
measured is the operator. Every model has `--per-model` ModelVersions, of which the newest is live.
"""

import argparse
import json
import os
import re
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import yaml
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LinearRegression
from tests.env.kafka import real_kafka
from tests.env.kubernetes import KubeApi, kube_api
from tests.env.s3 import S3, versitygw

from rollcast_cli.local.ports import free_ports
from rollcast_cli.local.processes import Child, start, wait_until
from rollcast_common.artifacts import ArtifactStore, S3Params
from rollcast_common.contracts import PredictorStatus
from rollcast_common.contracts.assignment import decode_assignment
from rollcast_common.contracts.predictor_status import VersionReport, encode_predictor_status
from rollcast_common.kafka import ErrorWatch, KafkaParams, TableFollower, TopicNames, make_producer
from rollcast_common.models.files import save_model

_ROOT = Path(__file__).resolve().parents[1]
_CRD = _ROOT / "libs" / "rollout" / "src" / "rollcast_rollout" / "crd" / "modelversion.yaml"
_INSTALLATION = "bench"
_REPORT_SECONDS = 1.0
_APPLIED_AT_ONCE = 100


class _Slots:
    """One slot of every model that is assigned: it has all that it is told to have."""

    def __init__(self, kafka: KafkaParams) -> None:
        self._topic = kafka.topics.full("predictor_status")
        self._assignments = TableFollower(kafka, "assignments", client_id="bench-slots")
        self._producer = make_producer(kafka, ErrorWatch(kafka.broker.servers), client_id="bench-slots")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._instance = str(uuid4())

    def start(self) -> None:
        self._assignments.start()
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        self._assignments.stop()

    def _run(self) -> None:
        while not self._stopping.is_set():
            for key, row in self._assignments.rows().items():
                if row.value is not None:
                    self._producer.produce(self._topic, self._status(key, row.value), f"{key}/0")
            self._producer.flush(5)
            self._assignments.wait(_REPORT_SECONDS)

    def _status(self, key: str, value: bytes) -> bytes:
        assigned = decode_assignment(value)
        stable = VersionReport(version=assigned.stable.version, sha256=assigned.stable.sha256, state="ready")
        return encode_predictor_status(
            PredictorStatus(
                slot=f"rollcast.{key.replace('/', '.')}-0",
                ordinal=0,
                instance=self._instance,
                time=time.time_ns() // 1_000_000,
                generation=assigned.generation,
                partitions=1,
                stable=stable,
                serving=assigned.stable.sha256,
                rollout=assigned.rollout,
            )
        )


class _Bench:
    def __init__(self, api: KubeApi, kafka: KafkaParams, s3: S3Params, folder: Path) -> None:
        self._api = api
        self._kafka = kafka
        self._s3 = s3
        self._folder = folder
        self._port = free_ports(1)[0]
        self.namespace = api.namespace()
        self._uri = self._upload()
        self.child = self._start()

    def _upload(self) -> str:
        path = self._folder / "model.skops"
        save_model(LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]), path)
        return ArtifactStore(self._s3).put_once("models/model.skops", path).uri

    def _start(self) -> Child:
        secret = self._s3.secret_access_key
        assert secret is not None  # noqa: S101  # a test server's
        return start(
            [
                *(sys.executable, "-m", "rollcast_operator", "run"),
                *("--watch-namespace", self.namespace, "--predictor-image", "none", "--metrics-port", str(self._port)),
            ],
            role="operator",
            log=self._folder / "operator.log",
            environ={
                **self._api.environ,
                "ROLLCAST_INSTALLATION": _INSTALLATION,
                "ROLLCAST_KAFKA_SERVERS": self._kafka.broker.servers,
                "ROLLCAST_TOPIC_PREFIX": self._kafka.topics.prefix,
                "ROLLCAST_S3_ENDPOINT_URL": self._s3.endpoint_url or "",
                "ROLLCAST_S3_BUCKET": self._s3.bucket,
                "ROLLCAST_S3_ACCESS_KEY_ID": self._s3.access_key_id or "",
                "ROLLCAST_S3_SECRET_ACCESS_KEY": secret.get_secret_value(),
            },
        )

    def apply(self, model: str, version: str) -> str:
        return self.apply_all([(model, version)])[0]

    def apply_all(self, wanted: list[tuple[str, str]]) -> list[str]:
        manifests = [
            {
                "apiVersion": "rollcast.dev/v1alpha1",
                "kind": "ModelVersion",
                "metadata": {"name": f"{model}-{version}", "namespace": self.namespace},
                "spec": {
                    "model": model,
                    "version": version,
                    "artifact": {"uri": self._uri},
                    "rollout": {"shadow": {"forSeconds": 0}, "steps": []},
                },
            }
            for model, version in wanted
        ]
        for begin in range(0, len(manifests), _APPLIED_AT_ONCE):
            text = yaml.safe_dump_all(manifests[begin : begin + _APPLIED_AT_ONCE])
            self._api.kubectl("apply", "--server-side", "--filename", "-", stdin=text)
        return [f"{model}-{version}" for model, version in wanted]

    def phases(self) -> list[str]:
        found = self._api.get("modelversions", "--namespace", self.namespace)["items"]
        return [str(each.get("status", {}).get("phase")) for each in found]

    def phase(self, name: str) -> str | None:
        found: dict[str, Any] = self._api.get("modelversion", name, "--namespace", self.namespace)
        phase: str | None = found.get("status", {}).get("phase")
        return phase

    def verifying_at(self, name: str) -> float:
        """When the first status said that its bytes are looked for, by the operator's own log."""
        pattern = f'"message": "{name.rpartition("-")[2]}: its bytes are looked for"'
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for line in self.child.log.read_text(encoding="utf-8").splitlines():
                if pattern in line:
                    return time.time()
            time.sleep(0.005)
        raise TimeoutError(name)

    def writes(self) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        return sum(
            float(value)
            for value in re.findall(r"^rollcast_operator_api_writes_total\{.*\} (\S+)$", text, re.MULTILINE)
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.operator_idle", description=__doc__)
    parser.add_argument("--versions", type=int, nargs="+", default=[50, 1000])
    parser.add_argument("--per-model", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long it is watched doing nothing")
    options = parser.parse_args()
    os.environ["ROLLCAST_REQUIRE_ENV"] = "1"
    console = Console(highlight=False)
    table = Table("ModelVersions", "models", "API writes", "CPU %", "MiB", "apply to Verifying, ms (median, worst)")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rollcast-bench-")))
        api = stack.enter_context(kube_api(folder / "kubernetes", console.print))
        api.install_crd(_CRD)
        kafka = stack.enter_context(real_kafka(folder / "kafka"))
        s3: S3 = stack.enter_context(versitygw(folder / "s3"))
        for number in options.versions:
            names: TopicNames = kafka.create_topics(f"idle-{number}.", partitions=1)
            params = kafka.params.model_copy(update={"topics": names})
            place = folder / str(number)
            place.mkdir()
            table.add_row(*_measured(api, params, s3.params(), place, number, options, console))
    console.print(table)


def _measured(
    api: KubeApi,
    kafka: KafkaParams,
    s3: S3Params,
    folder: Path,
    number: int,
    options: argparse.Namespace,
    console: Console,
) -> tuple[str, ...]:
    bench, slots = _Bench(api, kafka, s3, folder), _Slots(kafka)
    slots.start()
    try:
        models = max(number // options.per_model, 1)
        # All first versions, then all second ones: each is rolled out over the one before.
        bench.apply_all([(f"m{index % models}", f"v{index // models:04d}") for index in range(number)])
        wait_until(
            lambda: json.dumps(sorted(set(bench.phases()))) in ('["Live", "Superseded"]', '["Live"]'),
            what="all is rolled out",
            timeout_seconds=1200,
            children=[bench.child],
            interval_seconds=2,
        )
        time.sleep(20)  # the last display has settled
        process = psutil.Process(bench.child.pid)
        writes, spent, began = bench.writes(), sum(process.cpu_times()[:2]), time.monotonic()
        time.sleep(options.seconds)
        idle_writes = bench.writes() - writes
        cpu = (sum(process.cpu_times()[:2]) - spent) / (time.monotonic() - began) * 100
        memory = process.memory_info().rss / 2**20
        latencies = []
        for index in range(10):
            name = bench.apply("m0", f"w{index:04d}")
            created = time.time()  # kubectl has its answer
            latencies.append(max(bench.verifying_at(name) - created, 0.0) * 1000)
            wait_until(lambda: bench.phase(name) == "Live", what="it is live", timeout_seconds=60)  # noqa: B023  # at once
        shown = f"{statistics.median(latencies):.0f}, {max(latencies):.0f}"
        console.print(f"{number}: {idle_writes:g} writes in {options.seconds:g} s")
        return str(number), str(models), f"{idle_writes:g}", f"{cpu:.1f}", f"{memory:.0f}", shown
    finally:
        slots.stop()
        bench.child.stop()


if __name__ == "__main__":
    main()
