"""`rollcast-notifier outbox` and `held`: what a person sees of the outbox and decides, beside a notifier that runs."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.env.outboxes import made
from typer.testing import CliRunner, Result

from rollcast_notifier.__main__ import app
from rollcast_notifier.notification import Receiver
from rollcast_notifier.outbox import Outbox, Outcome


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def outbox(path: Path) -> Iterator[Outbox]:
    """One is sent, one is queued, two are held."""
    outbox = Outbox(path)
    outbox.record([*(made(n) for n in (1, 2, 3)), made(4, Receiver("hook", "[ben]"))])
    first, second, third = outbox.due("hook", 100)[:3]
    outbox.settle(Outcome(first, "sent"))
    outbox.settle(Outcome(second, "held", reason="the connection broke [off]"))
    outbox.settle(Outcome(third, "held", reason="the connection broke [off]"))
    yield outbox
    outbox.close()


def run(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--outbox", str(path)], env={"COLUMNS": "200", "TERM": "dumb"})


def counts(outbox: Outbox) -> dict[str, int]:
    return {state: count for (_, state), count in outbox.counts().items()}


def test_it_says_what_is_in_it_while_a_notifier_runs(outbox: Outbox, path: Path) -> None:
    shown = run(path, "outbox").stdout
    for state in ("sent", "queued", "held"):
        assert state in shown
    assert "receipts are not on their topic yet" in shown
    found = json.loads(run(path, "outbox", "--json").stdout)
    assert found["channels"] == {"hook": counts(outbox)} == {"hook": {"sent": 1, "queued": 1, "held": 2}}
    assert found["oldest_seconds"]["hook"] >= 0
    assert found["bytes"] > 0
    assert found["receipts_to_publish"] == 7


def test_what_is_held_is_listed_and_let_go_by_number(outbox: Outbox, path: Path) -> None:
    listed = json.loads(run(path, "held", "list", "--json").stdout)
    assert [row["why"] for row in listed] == ["the connection broke [off]"] * 2
    assert "the connection broke [off]" in run(path, "held", "list").stdout
    number = str(listed[0]["number"])
    assert run(path, "held", "resend", number).stdout == "1 to be sent again\n"
    assert counts(outbox) == {"sent": 1, "queued": 2, "held": 1}
    again = run(path, "held", "resend", number)
    assert again.exit_code == 1
    assert "1 of these are not held (any more)" in again.output


def test_all_that_is_held_is_dropped_at_once(outbox: Outbox, path: Path) -> None:
    assert run(path, "held", "drop", "--all").stdout == "2 dropped\n"
    assert counts(outbox) == {"sent": 1, "queued": 1, "failed": 2}
    assert run(path, "held", "list").stdout == "nothing is held\n"


@pytest.mark.parametrize("arguments", [["drop"], ["drop", "1", "--all"], ["resend"]])
def test_neither_nothing_nor_both_may_be_named(outbox: Outbox, path: Path, arguments: list[str]) -> None:
    before = counts(outbox)
    assert run(path, "held", *arguments).exit_code == 2
    assert counts(outbox) == before


@pytest.mark.parametrize("arguments", [["outbox"], ["held", "list"], ["held", "drop", "--all"]])
def test_a_file_that_is_not_there_is_one_line_and_is_not_made(path: Path, arguments: list[str]) -> None:
    done = run(path, *arguments)
    assert done.exit_code == 1
    assert f"outbox {path}: no such file" in done.output.replace("\n", "")
    assert not path.exists()
