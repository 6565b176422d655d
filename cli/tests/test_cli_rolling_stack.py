"""Models rolled by hand with the command, on a whole local stack under traffic: every action, every deletion."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.env.missing import missing
from typer.testing import CliRunner, Result

from rollcast_cli.__main__ import app
from rollcast_cli.local.brokers import choose_broker
from rollcast_cli.local.processes import Child, start, wait_until
from rollcast_cli.local.state import StateFolder
from rollcast_common.artifacts import ArtifactStore
from rollcast_common.errors import RollcastError
from rollcast_common.models.card import card_key

ROOT = Path(__file__).parents[2]
TRAINING = "examples/breast-cancer/train.yaml"
MODEL = "breast-cancer"
SECONDS = 120.0
WAITING = ("pause", "resume", "promote", "abort", "retry", "rollback", "delete")
LONG = 600

OFF = {"errorRatioAbove": None, "costRatioAbove": None, "predictionDriftAbove": None, "liveErrorRatioAbove": None}
AT_ONCE = {"shadow": {"forSeconds": 0}, "steps": [], "abort": OFF}
HELD = {"shadow": {"forSeconds": 1}, "steps": [{"weight": 50, "forSeconds": LONG}], "abort": OFF}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models with their cards, as the trainer leaves them."""
    folder = tmp_path_factory.mktemp("models")
    for version, seed in (("v1", "1"), ("v2", "2")):
        arguments = ["fit", "--config", TRAINING, "--no-publish", "--output", str(folder)]
        subprocess.run(
            [sys.executable, "-m", "rollcast_trainer", *arguments, "--version", version, "--seed", seed],
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
    return folder


@dataclass(frozen=True, slots=True)
class Stack:
    home: Path
    up: Child

    def run(self, *arguments: str) -> str:
        """What a command prints that must succeed."""
        result = self._invoke(*arguments)
        assert (result.exit_code, result.stderr) == (0, ""), arguments
        return result.stdout

    def refused(self, *arguments: str) -> str:
        result = self._invoke(*arguments)
        assert result.exit_code == 1, result.output
        (line,) = result.stderr.splitlines()
        return line.removeprefix("rollcast: error: ")

    def _invoke(self, *arguments: str) -> Result:
        patience = ("--timeout", f"{SECONDS:g}") if arguments[0] in WAITING else ()
        return CliRunner(env={"ROLLCAST_HOME": str(self.home)}).invoke(app, [*arguments, *patience])

    def apply(self, version: str, rollout: Mapping[str, Any], *, file: str | None = None) -> str:
        resource = {
            "apiVersion": "rollcast.dev/v1alpha1",
            "kind": "ModelVersion",
            "metadata": {"name": f"bc-{version}"},
            "spec": {
                "model": MODEL,
                "version": version,
                "artifact": {"uri": f"s3://rollcast-models/by-hand/{file or version}.skops"},
                "serving": {"replicas": 2},
                "rollout": rollout,
            },
        }
        path = self.home.with_name(f"{version}.yaml")
        path.write_text(json.dumps(resource), encoding="utf-8")
        return self.run("apply", "-f", str(path))

    def phases(self) -> dict[str, str]:
        items = json.loads(self.run("get", "-o", "json"))["items"]
        return {item["spec"]["version"]: item.get("status", {}).get("phase", "") for item in items}

    def wait_for(self, **phases: str) -> None:
        """Until there are these, and no others."""
        wait_until(
            lambda: self.phases() == phases,
            what=f"{phases}",
            timeout_seconds=SECONDS,
            interval_seconds=0.2,
            children=[self.up],
        )

    def slots(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.run("status", "--json"))["slots"]
        return found

    def wait_for_candidate(self, version: str | None) -> None:
        """Until every slot says that it has it. One that is busy may be too late for one look."""
        wait_until(
            lambda: {slot.get("candidate", "no answer") for slot in self.slots()} == {version},
            what=f"candidate {version}",
            timeout_seconds=SECONDS,
        )


@contextmanager
def stack(tmp_path: Path, broker: str, files: Path) -> Iterator[Stack]:
    home = tmp_path / "home"
    arguments = ["up", "--broker", broker, "--train-config", TRAINING, "--no-train", "--rate", "100"]
    child = start(
        [str(Path(sys.executable).with_name("rollcast")), *arguments],
        role="rollcast up",
        log=tmp_path / "up.log",
        cwd=ROOT,
        environ={"ROLLCAST_HOME": str(home)},
    )
    try:
        wait_until(
            lambda: "rollcast predict" in child.log.read_text(encoding="utf-8"),
            what="it is up",
            timeout_seconds=300,
            children=[child],
        )
        store = ArtifactStore(StateFolder(home).read_stack().s3_params())
        for version in ("v1", "v2"):
            ref = store.put_once(f"by-hand/{version}.skops", files / f"{version}.skops")
            store.put_once(card_key(ref.key), files / f"{version}.card.json")
        yield Stack(home, child)
    finally:
        child.stop(grace_seconds=40)


@pytest.fixture(params=["embedded", "kafka"])
def local(
    request: pytest.FixtureRequest, tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stack]:
    for name in [name for name in os.environ if name.startswith("ROLLCAST_") and name != "ROLLCAST_REQUIRE_ENV"]:
        monkeypatch.delenv(name)
    try:
        choose_broker(request.param, progress=lambda _: None)
    except RollcastError as error:
        missing(str(error))
    with stack(tmp_path, request.param, files) as made:
        yield made


def test_every_action_and_every_deletion(local: Stack) -> None:
    assert local.apply("v1", AT_ONCE) == "modelversion.rollcast.dev/bc-v1 created\n"
    local.wait_for(v1="Live")
    assert "no version of model" in local.refused("pause", MODEL)

    # A rollout that is held, goes on, and is hurried.
    local.apply("v2", HELD)
    local.wait_for(v1="Live", v2="Canary")
    paused = local.run("pause", MODEL)
    assert paused.startswith("modelversion.rollcast.dev/bc-v2 paused (v2 is held where it is); now Paused, 50 %")
    assert local.apply("v2", HELD) == "modelversion.rollcast.dev/bc-v2 unchanged\n"
    assert "'pause': " in local.refused("pause", "bc-v1")
    assert local.run("resume", MODEL).endswith("now Canary, 50 %\n")
    local.wait_for_candidate("v2")
    assert local.run("promote", MODEL).startswith("modelversion.rollcast.dev/bc-v2 promoted")
    local.wait_for(v1="Superseded", v2="Live")

    # Back, and again.
    assert "rolled back by hand" in local.run("rollback", MODEL)
    local.wait_for(v1="Live", v2="RolledBack")
    assert "there is no other version to go back to" in local.refused("rollback", MODEL)
    local.run("retry", MODEL)
    local.wait_for(v1="Live", v2="Canary")
    assert "aborted by hand" in local.run("abort", MODEL)
    local.wait_for(v1="Live", v2="RolledBack")
    assert "it has not failed" in local.refused("retry", "bc-v1")

    # Deleted: a candidate, then what is live, then the last one.
    local.apply("v3", HELD, file="v2")
    local.wait_for(v1="Live", v2="RolledBack", v3="Canary")
    assert local.run("delete", "bc-v3") == "modelversion.rollcast.dev/bc-v3 deleted\n"
    local.wait_for(v1="Live", v2="RolledBack")
    local.wait_for_candidate(None)
    local.run("retry", "bc-v2")
    local.run("promote", "bc-v2")
    local.wait_for(v1="Superseded", v2="Live")
    local.run("delete", "mv/bc-v2")
    local.wait_for(v1="Live")
    local.run("delete", "mv", "bc-v1")
    wait_until(lambda: local.slots() == [], what="the slots have ended", timeout_seconds=SECONDS)

    # It is told last of all: after the slots were told to end, and after the ModelVersion is gone.
    wait_until(
        lambda: local.run("events").splitlines()[-1].split()[2] == "ModelEnded",
        what="the model's last event",
        timeout_seconds=SECONDS,
    )
    assert "v1 is deleted, and nothing answers for the model any more: its slots end" in local.run("events")
    own = [line.split()[2] for line in local.run("events", "bc-v3").splitlines()[1:]]
    assert own == ["Verifying", "Shadow", "Canary", "Deleted"]
    rows = [line.split() for line in local.run("history", MODEL).splitlines()[1:]]
    assert sorted((row[0], row[2]) for row in rows) == [
        ("bc-v1", "Deleted"),
        ("bc-v2", "Deleted"),
        ("bc-v3", "Deleted"),
    ]
    assert local.up.alive
