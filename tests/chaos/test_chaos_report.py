"""How long a fault was felt, and what a person reads about it."""

from tests.chaos.checker import Limits, judge
from tests.chaos.history import Accepted, Event, Fault, Result, Sample
from tests.chaos.report import nobody_ready_seconds, recoveries, report


def asked(name: str, partition: int, time: float) -> Accepted:
    return Accepted(id=name, key=name, partition=partition, offset=0, expected={"a": 1.0}, time=time)


def answered(name: str, partition: int, time: float) -> Result:
    return Result(id=name, key=name, partition=partition, offset=0, version="v", sha256="a", value=1.0, time=time)


HISTORY: list[Event] = [
    # Asked before the fault: its answer says nothing about the recovery.
    *(asked("early", 0, 9.9), answered("early", 0, 10.1)),
    Fault(kind="kill-host", target="a", time=10.0),
    *(asked("one", 0, 10.5), answered("one", 0, 12.0)),
    *(asked("two", 1, 10.5), answered("two", 1, 13.5)),
    *(asked("three", 1, 14.0), answered("three", 1, 14.1)),
    # After it nobody asked.
    Fault(kind="kill-host", target="b", time=20.0),
]


def test_recovery_lasts_until_the_last_partition_answers_what_was_asked_after_the_fault() -> None:
    assert recoveries(HISTORY) == {"kill-host": [3.5]}


def test_nobody_is_ready_from_the_first_such_sample_to_the_next_ready_one() -> None:
    ready = [(1.0, ["a"]), (1.1, []), (1.2, []), (1.9, ["b"]), (2.0, []), (2.1, ["a"])]
    samples = [Sample(ready=names, time=time) for time, names in ready]
    assert round(nobody_ready_seconds(samples), 3) == 0.8


def test_a_broken_promise_is_reported_with_the_history_that_shows_it() -> None:
    lines = list(report(judge(HISTORY, Limits()), HISTORY, seed=5, seconds=60.0))
    assert lines[0] == "seed 5: 4 requests, 4 predictions, 0 dead letters, 2 faults, 60 s"
    assert any(line.startswith("kill-host") and line.endswith("3.50     3.50") for line in lines)
    assert any(line.startswith("VIOLATED 4: ") for line in lines)
    assert any('"event":"result"' in line for line in lines)
    assert lines[-1] == "PROMISES BROKEN"
