"""Lines that repeat themselves: the first passes, the others are counted, and nothing else is held back."""

import logging

from rollcast_cli.local.processes import wait_until
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


def test_the_next_line_that_passes_says_how_many_did_not() -> None:
    sparingly = Sparingly(every_seconds=0.3)
    assert sparingly.filter(record("refused after 1ms"))
    held_back = 0

    def passes() -> logging.LogRecord | None:
        nonlocal held_back
        line = record("refused after %dms", 2)
        if sparingly.filter(line):
            return line
        held_back += 1
        return None

    line = wait_until(passes, what="a line passes again", timeout_seconds=20)
    assert line is not None
    assert held_back > 0
    assert line.getMessage() == f"refused after 2ms (and {held_back} more like this)"


def test_ever_new_lines_do_not_fill_the_memory() -> None:
    sparingly = Sparingly(every_seconds=3600)
    for number in range(3 * _MOST_KINDS):
        name = "".join(chr(ord("a") + int(digit)) for digit in str(number))
        assert sparingly.filter(record(name))
    assert len(sparingly._seen) <= _MOST_KINDS
