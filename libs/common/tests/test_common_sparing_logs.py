"""Lines that repeat themselves: the first passes, the others are counted, and nothing else is held back."""

import logging
from types import SimpleNamespace

import pytest

from rollcast_common.sparing_logs import _MOST_KINDS, Sparingly


def record(text: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("rollcast.kafka", logging.WARNING, __file__, 1, text, arguments, None)


def test_lines_that_differ_in_numbers_alone_are_one_kind() -> None:
    sparingly = Sparingly(every_seconds=3600)
    assert sparingly.filter(record("client %s: refused after %dms", "slot-0", 3))
    assert not sparingly.filter(record("client %s: refused after %dms", "slot-1", 12))
    assert not sparingly.filter(record("client slot-0: refused after 0ms"))
    assert sparingly.filter(record("client slot-0: timed out after 0ms"))


def test_a_first_line_is_as_it_was_written() -> None:
    line = record("refused after %dms", 3)
    assert Sparingly(every_seconds=3600).filter(line)
    assert (line.msg, line.args) == ("refused after %dms", (3,))


def test_the_next_line_that_passes_says_how_many_did_not(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("rollcast_common.sparing_logs.time", SimpleNamespace(monotonic=lambda: now))
    sparingly = Sparingly(every_seconds=30)
    assert sparingly.filter(record("refused after 1ms"))
    for now in (1000.0, 1029.9):  # noqa: B007  # the clock reads it
        assert not sparingly.filter(record("refused after %dms", 2))
    now = 1030.0
    line = record("refused after %dms", 2)
    assert sparingly.filter(line)
    assert line.getMessage() == "refused after 2ms (and 2 more like this)"


def test_ever_new_lines_do_not_fill_the_memory() -> None:
    sparingly = Sparingly(every_seconds=3600)
    for number in range(3 * _MOST_KINDS):
        name = "".join(chr(ord("a") + int(digit)) for digit in str(number))
        assert sparingly.filter(record(name))
    assert len(sparingly._seen) <= _MOST_KINDS
