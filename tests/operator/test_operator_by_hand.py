"""The command `rollcast` on a cluster with a real operator: what it asks for is obeyed, and it says what came of it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.env.predictor import MODEL, Requests
from tests.operator.cluster import Cluster
from tests.operator.traffic import checked, traffic
from typer.testing import CliRunner, Result

from rollcast_cli.__main__ import app
from rollcast_cli.local.processes import wait_until

_SECONDS = 180.0
_WAITING = ("pause", "resume", "promote", "abort", "retry", "rollback", "delete")
"""Commands that wait until they were obeyed: a person would for 10 s."""

HELD = {"steps": [{"weight": 50, "forSeconds": 3600}]}


class Hand:
    """Somebody at a terminal."""

    def __init__(self, cluster: Cluster) -> None:
        self.options = ("--kubeconfig", str(cluster.api.kubeconfig), "--context", "test", "-n", cluster.namespace)

    def run(self, *arguments: str, stdin: str | None = None) -> Result:
        patience = ("--timeout", str(_SECONDS)) if arguments[0] in _WAITING else ()
        return CliRunner().invoke(app, [*arguments, *patience, *self.options], input=stdin)

    def said(self, *arguments: str, stdin: str | None = None) -> str:
        result = self.run(*arguments, stdin=stdin)
        assert (result.exit_code, result.stderr) == (0, ""), result.output
        return result.stdout

    def refused(self, *arguments: str) -> str:
        result = self.run(*arguments)
        assert (result.exit_code, result.stdout) == (1, ""), result.output
        return result.stderr.strip()


@contextmanager
def watching(hand: Hand, folder: Path, wanted: set[str]) -> Iterator[None]:
    """`rollcast get -w` prints these words in its fourth column, and ends when somebody presses Ctrl-C."""
    printed, complaints = folder / "watched.txt", folder / "complaints.txt"

    def seen() -> set[str]:
        lines = printed.read_text(encoding="utf-8").splitlines()
        return {cells[3] for line in lines if len(cells := line.split()) > 3}

    with (
        printed.open("wb") as out,
        complaints.open("wb") as err,
        subprocess.Popen(
            [str(Path(sys.executable).with_name("rollcast")), "get", "-w", *hand.options],
            stdout=out,
            stderr=err,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        ) as process,
    ):
        try:
            # Only now: what goes by before it watches, it does not see.
            wait_until(lambda: "PHASE" in seen(), what="it watches", timeout_seconds=_SECONDS)
            yield
            # It tells all of it, and later than it happens.
            wait_until(lambda: wanted <= seen(), what=f"it says {wanted}", timeout_seconds=_SECONDS)
            process.send_signal(signal.SIGINT)
            assert process.wait(_SECONDS) == 0
        finally:
            process.kill()
    assert complaints.read_text(encoding="utf-8") == ""


def test_every_action_is_obeyed_and_told(cluster: Cluster, requests: Requests) -> None:
    cluster.begin()
    hand = Hand(cluster)
    cluster.upload("v1", 2)
    cluster.upload("v2", 3)
    phases = {"Live", "Canary", "Paused", "RolledBack", "Superseded"}
    with watching(hand, cluster.folder, phases), traffic(requests):
        first = _apply(hand, cluster.manifest("v1"))
        cluster.wait_phase(first, "Live")
        second = _apply(hand, cluster.manifest("v2", rollout=HELD))
        cluster.wait_phase(second, "Canary")
        paused = hand.said("pause", MODEL)
        assert paused == f"modelversion.rollcast.dev/{second} paused (v2 is held where it is); now Paused, 50 %\n"
        refusal = hand.refused("pause", first)
        assert refusal.endswith(f"{first}: action 'pause': it is not being rolled out")
        assert hand.said("resume", MODEL).endswith("now Canary, 50 %\n")
        assert hand.said("promote", MODEL).startswith(f"modelversion.rollcast.dev/{second} promoted")
        cluster.wait_phase(second, "Live")
        assert "rolled back by hand" in hand.said("rollback", MODEL)
        cluster.wait_phase(first, "Live")
        hand.said("retry", MODEL)
        cluster.wait_phase(second, "Canary")
        assert "aborted by hand" in hand.said("abort", MODEL)
        cluster.wait_phase(second, "RolledBack")
    checked(cluster, requests)
    assert "AbortedByHand: aborted by hand" in hand.said("describe", second)
    digest = hand.said("get", first, "-o", "wide", "--no-headers").split()[8]
    assert cluster.get(first) is not None
    assert len(digest) == 12
    assert hand.said("delete", second) == f"modelversion.rollcast.dev/{second} deleted\n"
    rows = [line.split() for line in hand.said("history", MODEL).splitlines()[1:]]
    # The deleted one is remembered by what was said about it; it has no sequence any more.
    assert [(row[0], row[1], row[2]) for row in rows if "Deleted" in row] == [(second, "v2", "Deleted")]
    assert [(row[1], row[3]) for row in rows if "Deleted" not in row] == [(first, "Live")]
    # The farewell comes right after the object has gone.
    cluster.wait(lambda: hand.said("events", second).splitlines()[-1].split()[2] == "Deleted", "its farewell")
    assert hand.said("delete", first) == f"modelversion.rollcast.dev/{first} deleted\n"
    cluster.wait(lambda: hand.said("events", first).splitlines()[-1].split()[2] == "ModelEnded", "the model's farewell")


def _apply(hand: Hand, manifest: dict[str, Any]) -> str:
    said = hand.said("apply", "-f", "-", stdin=json.dumps(manifest))
    name: str = manifest["metadata"]["name"]
    assert said == f"modelversion.rollcast.dev/{name} created\n"
    assert hand.said("apply", "-f", "-", stdin=json.dumps(manifest)).endswith(" unchanged\n")
    return name
