"""A namespace on the cluster, as kubectl and helm see it."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tests.env.kubernetes import KubectlFailed

__all__ = ["Cluster", "HelmFailed", "Json", "names_of"]

Json = dict[str, Any]
_T = TypeVar("_T")

_API_SLICE = "kubernetes.io/service-name=kubernetes"
_KUBECTL_SECONDS = 120.0
_HELM_SECONDS = 900.0


class HelmFailed(Exception):
    pass


class Cluster:
    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    # kubectl.

    def kubectl(self, *arguments: str, stdin: str | None = None, seconds: float = _KUBECTL_SECONDS) -> str:
        """In our namespace. What it printed. Raises KubectlFailed."""
        result = subprocess.run(
            ["kubectl", "--namespace", self.namespace, *arguments],
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        if result.returncode:
            raise KubectlFailed(arguments, result.stderr.strip())
        return result.stdout

    def apply(self, *objects: Json) -> None:
        self.kubectl("apply", "--server-side", "--filename", "-", stdin="\n---\n".join(map(json.dumps, objects)))

    def get(self, *arguments: str) -> Json:
        """Raises KubectlFailed, also when there is no such object."""
        found: Json = json.loads(self.kubectl("get", *arguments, "--output", "json"))
        return found

    def find(self, *arguments: str) -> Json | None:
        """None when there is no such object."""
        try:
            return self.get(*arguments)
        except KubectlFailed as error:
            if "NotFound" in error.said:
                return None
            raise

    def items(self, kind: str, selector: str | None = None) -> list[Json]:
        arguments = ("--selector", selector) if selector else ()
        found: list[Json] = self.get(kind, *arguments)["items"]
        return found

    def pods(self, selector: str) -> list[Json]:
        """Those that are not on their way out, by name."""
        pods = [pod for pod in self.items("pods", selector) if "deletionTimestamp" not in pod["metadata"]]
        return sorted(pods, key=lambda pod: str(pod["metadata"]["name"]))

    def nodes(self) -> list[str]:
        """Those that take pods."""
        return names_of(
            node
            for node in self.items("nodes")
            if not node["spec"].get("taints") and not node["spec"].get("unschedulable")
        )

    def evict(self, pod: str) -> None:
        """As `kubectl drain` does. Raises KubectlFailed when a PodDisruptionBudget is against it."""
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": self.namespace},
        }
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/eviction"
        self.kubectl("create", "--raw", path, "--filename", "-", stdin=json.dumps(body))

    def everything(self) -> list[str]:
        """All that is in the namespace, as kind/name, but what Kubernetes itself puts into every one, and events."""
        kinds = self.kubectl("api-resources", "--verbs", "list", "--namespaced", "--output", "name").split()
        wanted = [kind for kind in kinds if not kind.startswith("events") and kind != "pods.metrics.k8s.io"]
        found = self.kubectl("get", ",".join(wanted), "--output", "name", "--ignore-not-found").split()
        return sorted(set(found) - {"configmap/kube-root-ca.crt", "serviceaccount/default"})

    def api_server(self) -> tuple[str, int]:
        """Where pods reach it in the end, behind its Service."""
        (found,) = self.get("endpointslices", "--namespace", "default", "--selector", _API_SLICE)["items"]
        return str(found["endpoints"][0]["addresses"][0]), int(found["ports"][0]["port"])

    # Waiting.

    def wait(self, condition: Callable[[], _T | None], what: str, seconds: float = 120.0, pause: float = 0.5) -> _T:
        """The first true answer. What the namespace looks like is told when there is none in time."""
        deadline = time.monotonic() + seconds
        while True:
            # While an API server is busy, or what is asked for is not there yet, there is no answer.
            with contextlib.suppress(KubectlFailed, subprocess.TimeoutExpired):
                if answer := condition():
                    return answer
            if time.monotonic() > deadline:
                raise AssertionError(f"{what}: not within {seconds:g} s\n{self.picture()}")
            time.sleep(pause)

    def picture(self) -> str:
        """For whoever has to find out why."""
        told = []
        for arguments in (
            ("get", "modelversions,pods,jobs,statefulsets,deployments", "--output", "wide"),
            ("get", "events", "--sort-by", ".lastTimestamp"),
        ):
            try:
                told.append(self.kubectl(*arguments)[-4000:])
            except (KubectlFailed, subprocess.TimeoutExpired) as error:
                told.append(str(error))
        return "\n".join(told)

    def keep(self, folder: Path) -> None:
        """What the cluster looked like and what its pods said, for a look after the run."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "picture.txt").write_text(self.picture(), encoding="utf-8")
        for name, arguments in {
            "objects.yaml": ("get", "all,modelversions,configmaps,networkpolicies", "--output", "yaml"),
            "described.txt": ("describe", "pods,nodes,modelversions"),
        }.items():
            with contextlib.suppress(KubectlFailed, subprocess.TimeoutExpired):
                (folder / name).write_text(self.kubectl(*arguments), encoding="utf-8")
        for pod in names_of(self.items("pods")):
            for suffix, options in (("", ()), (".previous", ("--previous",))):
                with contextlib.suppress(KubectlFailed, subprocess.TimeoutExpired):
                    said = self.kubectl("logs", pod, "--all-containers", *options)
                    (folder / f"{pod}{suffix}.log").write_text(said, encoding="utf-8")

    # helm.

    def helm(self, *arguments: str) -> str:
        result = subprocess.run(
            ["helm", "--namespace", self.namespace, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_HELM_SECONDS,
            env={**os.environ, "HELM_DEBUG": "0"},
        )
        if result.returncode:
            raise HelmFailed(f"helm {' '.join(arguments)}: {result.stderr.strip()}\n{self.picture()}")
        return result.stdout

    # The namespace.

    def make(self, labels: Mapping[str, str]) -> None:
        """A new one, whatever was left there."""
        self.remove()
        metadata = {"name": self.namespace, "labels": dict(labels)}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})

    def remove(self) -> None:
        """Also one whose operator is gone and whose ModelVersions wait for it."""
        if self.find("namespace", self.namespace) is None:
            return
        with contextlib.suppress(KubectlFailed):  # no such kind yet
            for found in self.items("modelversions"):
                self.without_finalizers("modelversion", found["metadata"]["name"])
        self.kubectl("delete", "namespace", self.namespace, "--wait", "--timeout", "180s", seconds=200)

    def without_finalizers(self, kind: str, name: str) -> None:
        with contextlib.suppress(KubectlFailed):
            patch = json.dumps({"metadata": {"finalizers": None}})
            self.kubectl("patch", kind, name, "--type", "merge", "--patch", patch)


def names_of(objects: Iterable[Json]) -> list[str]:
    return [found["metadata"]["name"] for found in objects]
