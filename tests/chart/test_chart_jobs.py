"""What the chart's short-lived pods do, done on real servers: topics are made, readiness is told."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry
from tests.chart.conftest import Render
from tests.chart.rendered import CHART, DEV, named, of_kind
from tests.env.kafka import RealKafka

from rollcast_common.endpoint import Endpoint, Health
from rollcast_common.kafka import ErrorWatch, make_admin

Json = dict[str, Any]

_READY = CHART / "files" / "ready.py"


def test_the_job_makes_the_topics_and_may_run_again(
    render: Render, kafka: RealKafka, topic_prefix: str, tmp_path: Path
) -> None:
    settings = {"kafka.servers": kafka.servers, "kafka.topics.prefix": topic_prefix}
    objects = render(DEV, settings=settings)
    config = tmp_path / "kafka_config.yaml"
    config.write_text(named(objects, "ConfigMap", "rollcast-kafka")["data"]["kafka_config.yaml"], encoding="utf-8")
    (job,) = [found for found in of_kind(objects, "Job") if "topics" in found["metadata"]["name"]]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    arguments = [text.replace("/etc/rollcast/kafka", str(tmp_path)) for text in container["args"]]

    def run() -> set[str]:
        command = [sys.executable, "-m", "rollcast_operator", *arguments]
        result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        return {json.loads(line)["event"] for line in result.stderr.splitlines() if line.startswith("{")}

    assert run() == {"topic created"}
    assert run() == {"topic exists"}
    topics = make_admin(kafka.params, ErrorWatch(kafka.servers), client_id="test").list_topics(timeout=30).topics
    wanted = yaml.safe_load(DEV.read_text(encoding="utf-8"))["kafka"]["topics"]["create"]["partitions"]
    assert len(topics[f"{topic_prefix}requests"].partitions) == wanted
    assert len(topics[f"{topic_prefix}assignments"].partitions) == 1


@pytest.fixture
def part() -> Iterator[tuple[str, dict[str, Any]]]:
    """The address of a part's readiness, and what it is told."""
    state: dict[str, Any] = {"ready": True, "kafka_problem": None}

    def health() -> Health:
        return Health(alive=True, ready=state["ready"], detail={"kafka_problem": state["kafka_problem"]})

    with Endpoint("127.0.0.1", 0, CollectorRegistry(), health) as endpoint:
        yield f"http://127.0.0.1:{endpoint.port}/readyz", state


def _ask(url: str, seconds: str) -> subprocess.CompletedProcess[str]:
    """As the pod of `helm test` would, but for how long it waits."""
    script = _READY.read_text(encoding="utf-8")
    # And but for how long one answer may take: what is said of a part is the answer itself, however late it comes.
    for there, here in (("_SECONDS = 120.0", f"_SECONDS = {seconds}"), ("timeout=5)", "timeout=60)")):
        assert there in script
        script = script.replace(there, here)
    command = [sys.executable, "-c", script, url]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env={"PATH": os.environ["PATH"]}
    )


def test_the_test_of_a_release_passes_when_all_is_ready(part: tuple[str, dict[str, Any]]) -> None:
    result = _ask(part[0], "30.0")
    assert (result.returncode, result.stdout) == (0, f"{part[0]}: ready\n")


@pytest.mark.parametrize(
    ("change", "said"),
    [({"ready": False}, "503"), ({"kafka_problem": "no broker"}, "Kafka: no broker")],
)
def test_the_test_of_a_release_says_what_is_not_ready(
    part: tuple[str, dict[str, Any]], change: dict[str, Any], said: str
) -> None:
    url, state = part
    state.update(change)
    result = _ask(url, "0.5")
    assert result.returncode == 1
    assert url in result.stderr
    assert said in result.stderr


def test_the_test_of_a_release_fails_without_an_answer() -> None:
    assert _ask("http://127.0.0.1:9/readyz", "0.5").returncode == 1
