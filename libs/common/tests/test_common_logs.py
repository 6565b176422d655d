"""Logs: one JSON object a line, with the service's name, from every thread and library."""

import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from rollcast_common.errors import ConfigError
from rollcast_common.logs import configure_logs

SECRET = "hunter2-T0p"


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


def fail() -> None:
    password = SECRET
    raise ValueError(f"of length {len(password)}")


def test_a_line_is_a_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("predictor")
    structlog.get_logger().info("loaded %s", "v2", model="wine", password=SecretStr(SECRET), data=b"x")
    (line,) = lines(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "service": "predictor",
        "level": "info",
        "event": "loaded v2",
        "model": "wine",
        "password": "SecretStr('**********')",
        "data": "b'x'",
    }


def test_libraries_lines_have_the_same_shape(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("predictor")
    logging.getLogger("some.library").warning("retry %d of %d", 1, 3)
    (line,) = lines(capsys)
    assert (line["service"], line["level"], line["event"]) == ("predictor", "warning", "retry 1 of 3")


def test_other_threads_name_the_service_too(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("predictor")
    thread = threading.Thread(target=lambda: structlog.get_logger().info("from a thread"))
    thread.start()
    thread.join()
    assert lines(capsys)[0]["service"] == "predictor"


def test_context_variables_are_fields(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("predictor")
    with structlog.contextvars.bound_contextvars(slot=2):
        structlog.get_logger().info("x")
    assert lines(capsys)[0]["slot"] == 2


@pytest.mark.parametrize("library", [False, True])
def test_exceptions_are_fields_without_local_variables(capsys: pytest.CaptureFixture[str], library: bool) -> None:  # noqa: FBT001  # a parameter of the table
    configure_logs("predictor")
    log = logging.getLogger("some.library") if library else structlog.get_logger()
    try:
        fail()
    except ValueError:
        log.exception("it failed")
    (line,) = lines(capsys)
    (error,) = line["exception"]
    assert (error["exc_type"], error["exc_value"]) == ("ValueError", f"of length {len(SECRET)}")
    assert error["frames"][-1]["name"] == "fail"
    assert SECRET not in json.dumps(line)


def test_on_a_terminal_lines_are_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("predictor", fmt="console")
    try:
        fail()
    except ValueError:
        structlog.get_logger().exception("it failed", model="wine")
    text = capsys.readouterr().err
    assert "it failed" in text
    assert "model=wine" in text
    assert "ValueError: of length" in text
    assert SECRET not in text


def test_level(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("predictor", level="WARNING")
    structlog.get_logger().info("no")
    structlog.get_logger().warning("yes")
    assert [line["event"] for line in lines(capsys)] == ["yes"]


def test_no_such_level() -> None:
    with pytest.raises(ConfigError, match="log level was 'loud', may be debug, info, warning, error, critical"):
        configure_logs("predictor", level="loud")


def test_boto_never_tells_its_requests(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("predictor", level="debug")
    logging.getLogger("botocore.auth").debug("Authorization: %s", SECRET)
    logging.getLogger("urllib3.connectionpool").info("x")
    assert lines(capsys) == []


def test_configured_twice_a_line_is_still_one(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("first")
    configure_logs("second")
    logging.getLogger("x").warning("once")
    assert [line["service"] for line in lines(capsys)] == ["second"]
