"""Prometheus and promtool as Debian's package `prometheus` installs them."""

import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from tests.env.missing import missing

from rollcast_cli.local.ports import free_ports
from rollcast_cli.local.processes import Child, start, wait_until

__all__ = ["Prometheus", "prometheus", "promtool"]

_SECONDS = 120.0

Json = dict[str, Any]


def _binary(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        missing(f"needs {name}: install Debian's package prometheus")
    return path


def promtool(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([_binary("promtool"), *arguments], capture_output=True, text=True, check=False, timeout=120)


class QueryRefused(Exception):
    """Prometheus does not accept an expression; the text is what it says."""


class Prometheus:
    def __init__(self, child: Child, port: int) -> None:
        self.child = child
        self.port = port

    def query(self, expression: str) -> list[Json]:
        """The samples of an expression now. Raises QueryRefused."""
        found: list[Json] = self._get("query", query=expression)["result"]
        return found

    def values(self, expression: str) -> list[float]:
        return [float(sample["value"][1]) for sample in self.query(expression)]

    def targets(self) -> dict[str, list[str]]:
        """The health of each target, by job."""
        found: dict[str, list[str]] = {}
        for target in self._get("targets", state="active")["activeTargets"]:
            found.setdefault(target["labels"]["job"], []).append(target["health"])
        return found

    def rules(self) -> list[Json]:
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def _get(self, what: str, **parameters: str) -> Any:
        rest = f"api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{rest}", timeout=60) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise QueryRefused(json.load(error)["error"]) from None

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5):
                return True
        except OSError:
            return False


@contextmanager
def prometheus(folder: Path, jobs: Mapping[str, Sequence[int]], rules: Sequence[Path]) -> Iterator[Prometheus]:
    """Scrapes the ports of each job every second, and evaluates the rules as often."""
    binary = _binary("prometheus")
    copies = []
    for path in rules:  # they say how often they want to be evaluated; nobody here has the time
        groups = yaml.safe_load(path.read_text(encoding="utf-8"))
        for group in groups["groups"]:
            group.pop("interval", None)
        copy = folder / path.name
        copy.write_text(yaml.safe_dump(groups), encoding="utf-8")
        copies.append(str(copy))
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": copies,
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports]}]}
            for job, ports in jobs.items()
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (port,) = free_ports(1)
    child = start(
        [
            binary,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        role="prometheus",
        log=folder / "prometheus.log",
    )
    running = Prometheus(child, port)
    try:
        wait_until(running.is_ready, what="Prometheus is ready", timeout_seconds=_SECONDS, children=[child])
        yield running
    finally:
        child.stop()
