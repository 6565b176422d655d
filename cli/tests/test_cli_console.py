"""How commands end and what they show."""

import io
import json
import logging
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from rich.console import Console
from rich.table import Table

from rollcast_cli.console import Steps, one_line_errors, print_json, shown_ms, uninterrupted, view_line, view_table
from rollcast_cli.results import VersionView
from rollcast_cli.status import status_tables
from rollcast_common.errors import KafkaUnavailable

VIEWS = [VersionView("wine", "v1", 12_345, 1234.4, 3.6, 41.2), VersionView("wine", "v2", 0, 0.0, None, None)]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """A command owns its process; a test does not."""
    handler, level = signal.getsignal(signal.SIGTERM), logging.getLogger("rollcast.kafka").level
    yield
    signal.signal(signal.SIGTERM, handler)
    logging.getLogger("rollcast.kafka").setLevel(level)


def ended_by(error: BaseException) -> int:
    with pytest.raises(typer.Exit) as ended, one_line_errors():
        raise error
    return ended.value.exit_code


def test_what_a_user_can_cause_is_one_line_after_what_was_printed(capsys: pytest.CaptureFixture[str]) -> None:
    sys.stdout.write("half an answer")
    assert ended_by(KafkaUnavailable("Kafka at nowhere:1: not reachable")) == 1
    printed = capsys.readouterr()
    assert printed.err == "rollcast: error: Kafka at nowhere:1: not reachable\n"
    assert printed.out == "half an answer"


def test_ctrl_c_is_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended_by(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "rollcast: interrupted\n"


def test_sigterm_is_as_ctrl_c(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, one_line_errors():
        signal.raise_signal(signal.SIGTERM)
    assert ended.value.exit_code == 130
    assert capsys.readouterr().err == "rollcast: interrupted\n"


def test_a_reader_that_has_gone_is_no_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert ended_by(BrokenPipeError()) == 0
    assert capsys.readouterr().err == ""


def test_a_bug_is_not_dressed_up_as_a_users_error() -> None:
    with pytest.raises(ZeroDivisionError), one_line_errors():
        raise ZeroDivisionError


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_cleaning_up_is_not_interrupted(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    steps = []
    with uninterrupted():
        os.kill(os.getpid(), number)
        steps.append("cleaned up")
    assert steps == ["cleaned up"]
    assert signal.getsignal(number) == before


def test_json_is_for_people_too(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"wine": "Único"})
    printed = capsys.readouterr().out
    assert "Único" in printed
    assert json.loads(printed) == {"wine": "Único"}


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (0.4, "0 ms"), (12.6, "13 ms"), (1234.0, "1234 ms")])
def test_milliseconds(value: float | None, text: str) -> None:
    assert shown_ms(value) == text


def rendered(*tables: Table) -> str:
    console = Console(file=io.StringIO(), width=200, highlight=False)
    for table in tables:
        console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def cells(text: str) -> list[list[str]]:
    """The cells of every body row."""
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines() if "│" in line]


def test_a_view_as_a_table_and_as_a_line() -> None:
    text = rendered(view_table(VIEWS, {"not-json": 2, "empty": 1}, "predictions"))
    assert cells(text) == [["wine", "v1", "12,345", "1,234", "4 ms", "41 ms"], ["wine", "v2", "0", "0", "-", "-"]]
    assert "dead letters: empty 1, not-json 2" in text
    assert "dead letters: none" in rendered(view_table([], {}, "predictions"))
    assert view_line(VIEWS, {"not-json": 2, "empty": 1}) == (
        "wine@v1 12,345 (1,234/s, p50 4 ms, p99 41 ms); wine@v2 0 (0/s, p50 -, p99 -); dead letters 3"
    )
    assert view_line([], {}) == "no prediction yet; dead letters 0"


def test_steps_carry_the_seconds_since_the_start() -> None:
    console = Console(file=io.StringIO(), width=200)
    Steps(console).say("broker ready")
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == "[  0.0 s] broker ready\n"


STATUS: dict[str, Any] = {
    "servers": "127.0.0.1:20000",
    "broker": "embedded",
    "guarantee": "at_least_once",
    "model": "wine-price",
    "model_versions": [
        {"name": "wine-1", "model": "wine-price", "version": "v1", "phase": "Live", "weight": 100, "reason": "Live"},
        {"name": "wine-2", "model": "wine-price", "version": "v2", "phase": None, "weight": None, "reason": None},
    ],
    "processes": [{"role": "S3", "pid": 11, "alive": True}, {"role": "source", "pid": 12, "alive": False}],
    "slots": [
        {
            "role": "predictor-0",
            "ready": True,
            "version": "v1",
            "candidate": "v2",
            "weight": 5.0,
            "partitions": 4,
            "problem": None,
        },
        {"role": "predictor-1", "ready": False, "version": None, "partitions": 0, "problem": "v2: refused"},
        {"role": "predictor-2"},
    ],
    "topics": {"requests": {"partitions": 4, "offsets": 12_345}, "train": None},
}


def test_the_status_of_a_stack() -> None:
    tables = status_tables(STATUS)
    text = rendered(*tables)
    assert [table.title for table in tables] == [
        "broker embedded (at least once)",
        "model versions (`rollcast get`)",
        "slots",
        "topics at 127.0.0.1:20000",
    ]
    assert cells(text) == [
        ["S3", "11", "runs"],
        ["source", "12", "ended"],
        ["wine-1", "wine-price", "v1", "Live", "100 %", "Live"],
        ["wine-2", "wine-price", "v2", "-", "-", "-"],
        ["predictor-0", "ready", "v1", "v2, 5 %", "4", "-"],
        ["predictor-1", "waiting for a model", "-", "-", "0", "v2: refused"],
        ["predictor-2", "no answer", "-", "-", "-", "-"],
        ["requests", "4", "12,345"],
        ["train", "missing", "`rollcast topics create`"],
    ]


def test_the_status_of_another_kafka_is_its_topics() -> None:
    (topics,) = status_tables({"servers": "kafka.example:9092", "topics": {"requests": None}})
    assert cells(rendered(topics)) == [["requests", "missing", "`rollcast topics create`"]]
