"""A namespace with the operator in it, as a chart would install it, and what a test does with both."""

import http.client
import json
import re
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import yaml
from tests.env.kubernetes import KubeApi, KubectlFailed
from tests.env.predictor import MODEL, World, line_of
from tests.operator.kubelet import Kubelet

from rollcast_cli.local.ports import free_ports
from rollcast_cli.local.processes import Child, NotInTime, start, wait_until
from rollcast_common.artifacts import ArtifactRef
from rollcast_common.identity import ModelIdentity

__all__ = ["CRD", "QUICK", "RBAC", "Cluster", "Operator", "patient"]

_ROOT = Path(__file__).parents[2]
RBAC = _ROOT / "operator" / "src" / "rollcast_operator" / "rbac"
CRD = _ROOT / "libs" / "rollout" / "src" / "rollcast_rollout" / "crd" / "modelversion.yaml"
_ACCOUNT = "rollcast-operator"
_SECONDS = 240.0
_ANSWER_SECONDS = 30.0

Json = dict[str, Any]
_T = TypeVar("_T")

QUICK: Json = {
    "shadow": {"forSeconds": 1},
    "steps": [
        {"weight": 20, "forSeconds": 1, "minPredictions": 20},
        {"weight": 50, "forSeconds": 1, "minPredictions": 20},
    ],
    # The models of these tests are unlike each other, and so small that a busy machine decides what they cost.
    "abort": {"costRatioAbove": 1_000_000, "predictionDriftAbove": 1_000_000},
    "progressDeadlineSeconds": 600,
}


@contextmanager
def patient(condition: Callable[[], _T]) -> Iterator[Callable[[], _T | None]]:
    """The condition, not yet fulfilled while kubectl gets no answer: a busy API server may leave a request out.

    What it got last is a note to the error with which the waiting ends.
    """
    failed: KubectlFailed | None = None

    def asked() -> _T | None:
        nonlocal failed
        try:
            found = condition()
        except KubectlFailed as error:
            failed = error
            return None
        failed = None
        return found

    try:
        yield asked
    except NotInTime as error:
        if failed is not None:
            error.add_note(f"kubectl failed: {failed}")
        raise


class Operator:
    """The process, and what it shows."""

    def __init__(self, child: Child, port: int) -> None:
        self.child = child
        self.port = port

    def _get(self, path: str) -> str:
        try:
            url = f"http://127.0.0.1:{self.port}{path}"  # loopback
            with urllib.request.urlopen(url, timeout=_ANSWER_SECONDS) as answer:
                return str(answer.read().decode())
        except (OSError, http.client.HTTPException):  # the second when it dies in the middle of its answer
            return ""

    @property
    def is_ready(self) -> bool:
        return bool(self._get("/readyz"))

    @property
    def is_alive(self) -> bool:
        return bool(self._get("/healthz"))

    def metric(self, name: str) -> dict[str, float]:
        pattern = rf"^rollcast_operator_{name}(?:{{(.*)}})? (\S+)$"
        found = re.findall(pattern, self._get("/metrics"), re.MULTILINE)
        return {labels or "": float(value) for labels, value in found}

    def lines(self) -> list[Json]:
        text = self.child.log.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def said(self, text: str) -> list[Json]:
        return [line for line in self.lines() if text in json.dumps(line)]


class Cluster:
    def __init__(self, api: KubeApi, world: World, *, namespace: str | None = None, installation: str = "") -> None:
        self.api = api
        self.world = world
        self.namespace = namespace or api.namespace()
        self.installation = installation or f"i{uuid4().hex[:8]}"
        self.identity = ModelIdentity(self.installation, self.namespace, MODEL)
        world.identity = self.identity
        world.group = self.identity.consumer_group
        self.folder = world.folder
        self.kubelet = Kubelet(api, self.namespace, self.folder)
        self.operator: Operator | None = None
        self.operators = 0
        self.watches = 0
        self.config: Json = {
            "slots": {
                "image": "rollcast-predictor:test",
                "env_from_secrets": ["rollcast-test"],
                # A good model's host that the machine keeps from running for a while is no model that hangs.
                "env": {
                    "ROLLCAST_STANDBY": "false",
                    "ROLLCAST_BATCH_DEADLINE_SECONDS": "30",
                    "ROLLCAST_CANDIDATE_DEADLINE_SECONDS": "5",
                },
            }
        }
        self.slopes: dict[str, float] = {}
        self.expected_errors: set[str] = set()
        self.may_be_forbidden = False
        self.prepare(self.namespace)

    def prepare(self, namespace: str) -> None:
        """What the chart puts into a namespace that is looked after."""
        secret = self.world.environment()
        for name in ("ROLLCAST_MODEL", "ROLLCAST_INSTALLATION", "ROLLCAST_KAFKA_GROUP_ID", "ROLLCAST_CACHE_DIR"):
            del secret[name]
        self.api.apply(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "rollcast-test", "namespace": namespace},
                "stringData": secret,
            }
        )
        for path in (RBAC / "role.yaml", RBAC / "bridge-role.yaml"):
            role = yaml.safe_load(path.read_text(encoding="utf-8"))
            role["metadata"]["namespace"] = namespace
            binding = {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": role["metadata"]["name"], "namespace": namespace},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role["metadata"]["name"]},
                "subjects": [{"kind": "ServiceAccount", "name": _ACCOUNT, "namespace": self.namespace}],
            }
            self.api.apply(role, binding)
        # One verb of each Role.
        self.wait_may("patch", "statefulsets.apps", namespace)
        self.wait_may("create", "modelversions.rollcast.dev", namespace)

    def wait_may(self, verb: str, resource: str, namespace: str, *, may: bool = True) -> None:
        """Until the API server, which hears of a Role a moment after it took it, lets the operator do this, or not."""
        account = f"system:serviceaccount:{self.namespace}:{_ACCOUNT}"

        def answer() -> bool:
            try:
                said = self.api.kubectl("auth", "can-i", verb, resource, "--as", account, "--namespace", namespace)
            except KubectlFailed as error:
                return not may and not error.said  # `no` is an exit code without a complaint
            return may and said.strip() == "yes"

        wait_until(answer, what=f"{account} may {verb} {resource}: {may}", timeout_seconds=_SECONDS)

    # The operator.

    def start_operator(
        self,
        *arguments: str,
        environ: Mapping[str, str] | None = None,
        command: Sequence[str] = ("-m", "rollcast_operator"),
        namespaces: Sequence[str] = (),
        cluster_wide: bool = False,
        wait: bool = True,
    ) -> Operator:
        kubeconfig = self.api.service_account(self.namespace, _ACCOUNT)
        config = self.folder / "operator_config.yaml"
        config.write_text(yaml.safe_dump(self.config), encoding="utf-8")
        port = free_ports(1)[0]
        variables = self.world.environment()
        del variables["ROLLCAST_KAFKA_GROUP_ID"]
        places = [argument for name in namespaces or (self.namespace,) for argument in ("--watch-namespace", name)]
        if cluster_wide:
            places = ["--cluster-wide"]
        self.operators += 1
        child = start(
            [sys.executable, *command, "run", *places, "--config", str(config), *arguments],
            role="operator",
            log=self.folder / f"operator-{self.operators}.log",
            environ={
                **variables,
                "KUBECONFIG": str(kubeconfig),
                "ROLLCAST_INSTALLATION": self.installation,
                "ROLLCAST_METRICS_PORT": str(port),
                "PYTHONPATH": str(_ROOT),
                **(environ or {}),
            },
            cwd=_ROOT,
        )
        self.operator = Operator(child, port)
        if wait:
            operator = self.operator
            wait_until(
                lambda: operator.is_ready, what="the operator is ready", timeout_seconds=_SECONDS, children=[child]
            )
        return self.operator

    def begin(self, *arguments: str, **options: Any) -> Operator:
        operator = self.start_operator(*arguments, **options)
        self.kubelet.start()
        return operator

    def said(self) -> list[Json]:
        """The log of every operator that ran here."""
        texts = [path.read_text(encoding="utf-8") for path in sorted(self.folder.glob("operator-*.log"))]
        return [json.loads(line) for text in texts for line in text.splitlines() if line.startswith("{")]

    def stop(self) -> None:
        if self.operator is not None:
            self.operator.child.stop()
        self.kubelet.stop()

    # ModelVersions.

    def upload(self, version: str, slope: float) -> ArtifactRef:
        self.slopes[version] = slope
        return self.world.upload(line_of(slope), version)

    def manifest(
        self,
        version: str,
        *,
        uri: str | None = None,
        name: str | None = None,
        namespace: str | None = None,
        model: str = MODEL,
        artifact: Mapping[str, Any] | None = None,
        rollout: Mapping[str, Any] | None = None,
        serving: Mapping[str, Any] | None = None,
    ) -> Json:
        uri = uri or f"s3://{self.world.s3.bucket}/models/{version}.skops"
        return {
            "apiVersion": "rollcast.dev/v1alpha1",
            "kind": "ModelVersion",
            "metadata": {"name": name or f"{model}-{version}", "namespace": namespace or self.namespace},
            "spec": {
                "model": model,
                "version": version,
                "artifact": {"uri": uri, **(artifact or {})},
                "serving": {"replicas": 1, **(serving or {})},
                "rollout": {**QUICK, **(rollout or {})},
            },
        }

    def apply(self, version: str, slope: float | None = None, **options: Any) -> str:
        """`kubectl apply`, of a model that is uploaded where a slope is given; the object's name."""
        if slope is not None:
            self.upload(version, slope)
        manifest = self.manifest(version, **options)
        self.api.apply(manifest)
        name: str = manifest["metadata"]["name"]
        return name

    def get(self, name: str, *, namespace: str | None = None) -> Json | None:
        try:
            found: Json = self.api.get("modelversion", name, "--namespace", namespace or self.namespace)
        except KubectlFailed as error:
            if "not found" in error.said:
                return None
            raise
        return found

    def status(self, name: str, **options: Any) -> Json:
        found: Json = (self.get(name, **options) or {}).get("status", {})
        return found

    def phase(self, name: str, **options: Any) -> str | None:
        return self.status(name, **options).get("phase")

    def condition(self, name: str, kind: str, **options: Any) -> Json:
        found = self.status(name, **options).get("conditions", [])
        return next((condition for condition in found if condition["type"] == kind), {})

    def delete(self, name: str, *, namespace: str | None = None, wait: bool = False) -> None:
        self.api.kubectl(
            "delete", "modelversion", name, "--namespace", namespace or self.namespace, f"--wait={str(wait).lower()}"
        )

    def act(self, name: str, action: str) -> None:
        """As the annotation that a person puts on."""
        self.api.kubectl(
            *("annotate", "modelversion", name, "--namespace", self.namespace, "--overwrite"),
            f"rollcast.dev/action={action}",
        )

    def action(self, name: str) -> str | None:
        found = self.get(name) or {}
        action: str | None = found["metadata"].get("annotations", {}).get("rollcast.dev/action")
        return action

    def patch(self, name: str, spec: Mapping[str, Any]) -> None:
        self.api.kubectl(
            *("patch", "modelversion", name, "--namespace", self.namespace, "--type", "merge"),
            *("--patch", json.dumps({"spec": spec})),
        )

    def events(self, name: str) -> list[str]:
        """Reasons, in the order in which they were posted."""
        found = self.api.get("events", "--namespace", self.namespace)["items"]
        mine = [event for event in found if event["involvedObject"]["name"] == name]
        mine.sort(key=lambda event: int(event["metadata"]["resourceVersion"]))
        return [event["reason"] for event in mine]

    # Waiting.

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = _SECONDS) -> Any:
        children = [self.operator.child] if self.operator is not None else []
        assert self.kubelet.problem is None, self.kubelet.problem
        with patient(condition) as asked:
            return wait_until(asked, what=what, timeout_seconds=seconds, children=children, interval_seconds=0.2)

    def wait_phase(self, name: str, phase: str, *, seconds: float = _SECONDS, **options: Any) -> Json:
        last: list[Json] = [{}]

        def there() -> bool:
            last[0] = self.status(name, **options)
            return last[0].get("phase") == phase

        try:
            self.wait(there, f"{name} is {phase}", seconds)
        except Exception as error:
            error.add_note(f"its status: {json.dumps(last[0])}")
            for ordinal, slot in self.kubelet.slots().items():
                error.add_note(f"slot {ordinal}: {slot.child.log_tail(8)}")
            raise
        return last[0]

    @contextmanager
    def watching(self, seen_first: tuple[str, str]) -> Iterator[Callable[[str], list[str]]]:
        """The phases of a ModelVersion by its name, in their order: however late a watch is read, it misses none.

        `seen_first` is a ModelVersion and a phase that it is in already: with these the watch has begun.
        """
        self.watches += 1
        log = self.folder / f"watch-{self.watches}.log"
        line = 'jsonpath={.metadata.name} {.status.phase}{"\\n"}'
        command = ("get", "modelversions", "--namespace", self.namespace, "--watch", "--output", line)
        child = self.api.start_kubectl(*command, log=log)

        def phases(name: str) -> list[str]:
            whole, _, _ = log.read_text(encoding="utf-8").rpartition("\n")  # the last line may be half written
            pairs = [line.split() for line in whole.splitlines()]
            found = [pair[1] for pair in pairs if len(pair) == 2 and pair[0] == name]
            return [phase for phase, _ in groupby(found)]

        try:
            name, phase = seen_first
            wait_until(lambda: phase in phases(name), what="it watches", timeout_seconds=_SECONDS, children=[child])
            yield phases
        finally:
            child.kill()
