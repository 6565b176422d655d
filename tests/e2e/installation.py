"""Rollcast as its chart installs it for these tests, and the objects in it that they look for."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.e2e.cluster import Cluster, Json
from tests.e2e.images import IMAGES, TAG
from tests.e2e.notifications import NOTIFICATIONS
from tests.e2e.play import Play
from tests.e2e.surroundings import Surroundings

from rollcast_common.artifacts import ArtifactStore
from rollcast_common.identity import ModelIdentity
from rollcast_common.models.files import save_model
from rollcast_rollout.schema import API_VERSION, KIND

__all__ = ["MODEL", "NOTIFIER", "OPERATOR", "RELEASE", "SLOTS", "Installation", "is_ready", "merged"]

RELEASE = "rollcast"
MODEL = "line"
SLOTS = f"app.kubernetes.io/component=predictor,rollcast.dev/model={MODEL}"
OPERATOR = "app.kubernetes.io/component=operator,app.kubernetes.io/part-of=rollcast"
NOTIFIER = "app.kubernetes.io/component=notifier,app.kubernetes.io/part-of=rollcast"
_CHART = Path(__file__).parents[2] / "charts" / "rollcast"
_DATA = "lines"
MAX_REQUEST_BYTES = 20_000

_ROLLOUT: Json = {
    "shadow": {"forSeconds": 5},
    "steps": [
        {"weight": 20, "forSeconds": 8, "minPredictions": 50},
        {"weight": 50, "forSeconds": 8, "minPredictions": 50},
    ],
    # The models are unlike each other, so that an answer tells whose it is, and so small that they cost nothing.
    "abort": {"costRatioAbove": 1_000_000, "predictionDriftAbove": 1_000_000},
    "progressDeadlineSeconds": 300,
}


class Installation:
    def __init__(self, cluster: Cluster, around: Surroundings, run: str, folder: Path) -> None:
        """`run` sets what outlives a namespace apart: topics, groups, the bucket."""
        self.cluster = cluster
        self.around = around
        self.folder = folder
        self.prefix = f"e2e-{run}."
        self.installation = f"e2e-{run}"
        self.bucket = f"e2e-{run}"
        self.identity = ModelIdentity(self.installation, cluster.namespace, MODEL)
        self.changed: Json = {}
        """Of the values, by the upgrades so far."""

    @property
    def values(self) -> Json:
        around = self.around
        return {
            "installation": self.installation,
            "crds": {"enabled": self._brings_crd()},
            "image": {"tag": TAG, "pullPolicy": "Never"},
            "kafka": {
                "servers": around.kafka_inside,
                "topics": {"prefix": self.prefix, "create": {"partitions": 4, "replication": 1}},
            },
            "s3": {
                "bucket": self.bucket,
                "endpointUrl": around.s3_inside,
                "accessKeyId": around.access_key_id,
                "secretAccessKey": around.secret_access_key,
            },
            "predictor": {
                "env": {"ROLLCAST_MAX_REQUEST_BYTES": str(MAX_REQUEST_BYTES)},
                "resources": {"requests": {"cpu": "100m", "memory": "384Mi"}, "limits": {"memory": "1Gi"}},
            },
            "trainer": {
                "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
            },
            "notifier": {"enabled": "rollcast-notifier" in IMAGES, "notifications": NOTIFICATIONS},
            "bridge": {"template": {"serving": {"replicas": 2}, "rollout": _ROLLOUT}},
            "trainers": {
                MODEL: {
                    "config": {
                        "model": MODEL,
                        "task": "regression",
                        "target": "y",
                        "features": {"numbers": ["x"]},
                        "estimator": {"type": "LinearRegression"},
                    },
                    "data": {"volume": {"configMap": {"name": _DATA}}, "file": "line.csv"},
                }
            },
        }

    def _brings_crd(self) -> bool:
        """Where the kind is defined already, another release, or somebody, looks after it."""
        found = self.cluster.find("crd", "modelversions.rollcast.dev")
        owner = (found or {}).get("metadata", {}).get("annotations", {}).get("meta.helm.sh/release-namespace")
        return found is None or owner == self.cluster.namespace

    # The release.

    def install(self) -> None:
        self._deploy("install")

    def upgrade(self, changes: Json) -> None:
        """These values over those so far."""
        self.changed = merged(self.changed, changes)
        self._deploy("upgrade")

    def _deploy(self, verb: str) -> None:
        path = self.folder / "values.json"  # to helm a bare y of YAML is true
        path.write_text(json.dumps(merged(self.values, self.changed)), encoding="utf-8")
        files = [argument for file in (*self.around.values, str(path)) for argument in ("--values", file)]
        self.cluster.helm(verb, RELEASE, str(_CHART), *files, "--wait", "--timeout", "5m")

    def test(self) -> str:
        """`helm test`."""
        return self.cluster.helm("test", RELEASE, "--timeout", "2m")

    def uninstall(self) -> None:
        """What served models goes first: while there is a ModelVersion, slots stay."""
        self.cluster.kubectl("delete", "modelversions", "--all", "--timeout", "120s")
        self.cluster.wait(lambda: not self.cluster.items("pods", SLOTS), "no slot is left")
        self.cluster.helm("uninstall", RELEASE, "--wait", "--timeout", "3m")

    # Models.

    def train(self, slope: float, version: str) -> Json:
        """A Job of the chart's trainer, on data that lie on a line; the ModelVersion that came of it."""
        rows = "\n".join(f"{x},{slope * x}" for x in range(1, 201))
        self.cluster.apply(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": _DATA},
                "data": {"line.csv": f"x,y\n{rows}\n"},
            }
        )
        job = json.loads(
            self.cluster.kubectl(
                *("create", "job", f"train-{version}", f"--from=cronjob/{RELEASE}-trainer-{MODEL}"),
                *("--dry-run=client", "--output", "json"),
            )
        )
        job["spec"]["template"]["spec"]["containers"][0]["args"] += ["--version", version]
        self.cluster.apply(job)
        self.cluster.wait(
            lambda: _is_done(self.cluster.get("job", f"train-{version}")), f"training of {version}", seconds=300
        )
        return self.cluster.wait(lambda: self.model_version(version), f"a ModelVersion of {version}", seconds=60)

    def serve(self, play: Play, slope: float, version: str, *, seconds: float = 240) -> None:
        """Train it, and wait until it is live."""
        began = time.monotonic()
        made = self.train(slope, version)
        play.knows(version, made["spec"]["artifact"]["sha256"], slope, since=began)
        self.wait_for_phase(version, "Live", seconds=seconds)

    def apply_by_hand(self, model: Any, version: str, rollout: Json) -> None:
        """A model of somebody's own, uploaded without a card, and its ModelVersion."""
        path = self.folder / f"{version}.skops"
        save_model(model, path)
        ref = ArtifactStore(self.around.s3(self.bucket)).put_once(f"by-hand/{version}.skops", path)
        self.cluster.apply(
            {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "metadata": {"name": f"{MODEL}-{version}"},
                "spec": {
                    "model": MODEL,
                    "version": version,
                    "artifact": {"uri": ref.uri},
                    "serving": {"replicas": 2},
                    "rollout": merged(_ROLLOUT, rollout),
                },
            }
        )

    def remove_own(self) -> None:
        """What these tests have made beside the release."""
        self.cluster.kubectl("delete", "jobs", "--all")
        self.cluster.kubectl("delete", "configmap", _DATA)

    def model_version(self, version: str) -> Json | None:
        return self.cluster.find("modelversion", f"{MODEL}-{version}")

    def wait_for_phase(self, version: str, phase: str, *, seconds: float = 240) -> Json:
        """Fails at once in a phase that nothing follows."""

        def reached() -> Json | None:
            found = self.model_version(version)
            is_now = (found or {}).get("status", {}).get("phase")
            ends = {"RolledBack", "Failed"} - {phase}
            assert is_now not in ends, f"{version} is {is_now}: {json.dumps((found or {})['status'])}"
            return found if is_now == phase else None

        return self.cluster.wait(reached, f"{version} {phase}", seconds=seconds)

    # Slots.

    def slots(self) -> list[Json]:
        return self.cluster.pods(SLOTS)

    def wait_until_ready(
        self, selector: str, count: int, *, not_these: Sequence[str] = (), seconds: float = 180
    ) -> None:
        """`not_these` are the uids of pods that must have gone."""

        def ready() -> bool:
            pods = self.cluster.pods(selector)
            return (
                len(pods) == count
                and all(map(is_ready, pods))
                and not {pod["metadata"]["uid"] for pod in pods} & set(not_these)
            )

        self.cluster.wait(ready, f"{count} ready pods of {selector}", seconds=seconds)


def is_ready(pod: Json) -> bool:
    return any(found["type"] == "Ready" and found["status"] == "True" for found in pod["status"].get("conditions", ()))


def _is_done(job: Json) -> bool:
    conditions = {found["type"] for found in job["status"].get("conditions", ()) if found["status"] == "True"}
    assert "Failed" not in conditions, job["status"]
    return "Complete" in conditions


def merged(below: Json, above: Json) -> Json:
    """As helm lays values over each other."""
    result: dict[str, Any] = dict(below)
    for name, value in above.items():
        old = result.get(name)
        result[name] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result
