"""What the judge calls a broken promise: each row breaks one, and it is found under its own number."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.chaos.checker import Limits, Verdict, judge
from tests.chaos.history import (
    Accepted,
    Announced,
    Arrived,
    Assigned,
    Committed,
    DeadLettered,
    Event,
    Fault,
    OpenTransaction,
    Result,
    Sample,
    Subscribed,
    Writer,
    read_history,
)

LIMITS = Limits(unready_seconds=1.0, unowned_seconds=5.0, catch_up_seconds=30.0)
ONE, TWO = "1" * 64, "2" * 64


def asked(number: int, *, key: str = "k", good: bool = True) -> Accepted:
    return Accepted(
        id=f"r{number}",
        key=key,
        partition=0,
        offset=number,
        expected={ONE: 1.0 * number, TWO: 2.0 * number} if good else None,
        time=number,
    )


def answer(number: int, *, key: str = "k", sha256: str = ONE, **other: Any) -> Result:
    slope, version = (1.0, "v1") if sha256 == ONE else (2.0, "v2")
    fields: dict[str, Any] = {"offset": 10 + number, "version": version, "value": slope * number, "time": 10.0 + number}
    return Result(id=f"r{number}", key=key, partition=0, sha256=sha256, **(fields | other))


def letter(number: int, **other: Any) -> DeadLettered:
    fields: dict[str, Any] = {"source_offset": number, "offset": number, "time": 10.0 + number} | other
    return DeadLettered(id=f"r{number}", key="k", partition=0, source_partition=0, reason="not-json", **fields)


def told(number: int, *, to: str = "ann", answered: bool = True, time: float = 20.0) -> Arrived:
    return Arrived(id=f"r{number}", receiver=to, answered=answered, time=time + number)


# Requests 1 to 4, of which 3 is none that could be predicted; the model changes after 2.
CLEAN: list[Event] = [
    Announced(version="v1", sha256=ONE, time=0.0),
    Announced(version="v2", sha256=TWO, time=11.5),
    *(asked(number, good=number != 3) for number in (1, 2, 3, 4)),
    *(answer(1), answer(2), letter(3), answer(4, sha256=TWO)),
    *(Sample(ready=["a"], time=1.0), Sample(ready=[], time=1.1), Sample(ready=[], time=2.0)),
    *(Sample(ready=["a", "b"], time=2.1), Sample(ready=["b"], time=9.0)),
    *(Assigned(owners={0: "a"}, time=1.0), Assigned(owners={}, time=2.0), Assigned(owners={0: "b"}, time=6.9)),
    Fault(kind="kill streamer", target="a", time=11.0, until=12.0),
    Committed(partition=0, committed=5, end=5, caught_up_at=20.0),
]


def without(*gone: Event) -> list[Event]:
    assert all(event in CLEAN for event in gone)
    return [event for event in CLEAN if event not in gone]


def replaced(old: Event, *new: Event) -> list[Event]:
    return [*without(old), *new]


def found(verdict: Verdict) -> set[int]:
    return {violation.invariant for violation in verdict.violations}


def test_a_clean_history_breaks_nothing() -> None:
    verdict = judge(CLEAN, LIMITS)
    assert verdict.violations == []
    assert verdict.kept
    assert (verdict.requests, verdict.predictions, verdict.dead_letters) == (4, 3, 1)
    assert (verdict.lost, verdict.doubled, verdict.out_of_order, verdict.wrong) == (0, 0, 0, 0)
    assert verdict.longest_gap_seconds == 1.0


BOOKS = CLEAN[-1]

BROKEN: dict[str, tuple[list[Event], set[int], str]] = {
    # Lost is also an offset that is committed without an answer.
    "lost": (without(answer(2)), {1, 3}, "r2 was accepted and never answered"),
    "lost dead letter": (without(letter(3)), {1, 3}, "r3 was accepted and never answered"),
    "doubled": ([*CLEAN, answer(2, offset=30)], {1, 2}, "r2 was answered 2 times"),
    "predicted and dead-lettered": ([*CLEAN, letter(4)], {1}, "r4 was answered 2 times"),
    "answer to nobody": ([*CLEAN, answer(9)], {1}, "r9, which nobody asked"),
    "bad, and predicted": (replaced(letter(3), answer(3)), {1}, "r3 cannot be predicted, and was"),
    "good, and dead-lettered": (replaced(answer(2), letter(2)), {1}, "r2 is good, and was dead-lettered"),
    "out of order": (
        replaced(answer(1), *[answer(1, offset=13)]),
        {2},
        "key k: r2 was answered before r1, which was asked before it",
    ),
    "open transaction": ([*CLEAN, OpenTransaction(topic="app_messages", partition=1)], {3}, "app_messages-1"),
    "committed ahead of an unanswered request": (
        replaced(answer(4, sha256=TWO)),
        {1, 3},
        "offset 5 is committed, and 4 before it has no answer",
    ),
    "answered beyond the committed offset": (
        replaced(BOOKS, Committed(partition=0, committed=4, end=5, caught_up_at=20.0)),
        {3},
        "r4 is answered, and its offset 4 is not committed",
    ),
    "committed beyond the end": (
        replaced(BOOKS, Committed(partition=0, committed=6, end=5, caught_up_at=20.0)),
        {3},
        "offset 6 is committed, and it ends at 5",
    ),
    "nobody looked at the offsets": (without(BOOKS), {3}, "partition 0: nobody looked"),
    "a dead letter names another source": (
        replaced(letter(3), letter(3, source_offset=2)),
        {3},
        "dead letter r3 names another record",
    ),
    "unknown digest": (replaced(answer(1), answer(1, sha256="f" * 64)), {4}, "digest ffffffffffff was not announced"),
    "announced too late": (
        replaced(answer(2), answer(2, sha256=TWO, time=11.4)),
        {4},
        "r2: digest 222222222222 was not announced before",
    ),
    "another version's digest": (
        replaced(answer(1), answer(1, version="v2")),
        {4},
        "r1: names version v2, but the digest is v1's",
    ),
    "wrong value": (replaced(answer(1), answer(1, value=2.0)), {4}, "v1 says 1.0 of this row, the answer is 2.0"),
    "nobody can tell the value": (
        replaced(asked(4), Accepted(id="r4", key="k", partition=0, offset=4, expected={ONE: 4.0}, time=4.0)),
        {4},
        "r4: nobody knows what v2 says of it",
    ),
    "nobody ready for too long": (
        replaced(Sample(ready=["a", "b"], time=2.1), Sample(ready=[], time=2.2)),
        {5},
        "no slot was ready for 1.1 s",
    ),
    "partition without owner for too long": (
        replaced(Assigned(owners={0: "b"}, time=6.9), Assigned(owners={}, time=7.1)),
        {5},
        "partition 0 had no owner for 5.1 s",
    ),
    "never caught up": (
        replaced(BOOKS, Committed(partition=0, committed=5, end=5, caught_up_at=None)),
        {8},
        "partition 0 was never caught up",
    ),
    "caught up late": (
        replaced(BOOKS, Committed(partition=0, committed=5, end=5, caught_up_at=42.5)),
        {8},
        "caught up 30.5 s after the last fault and request",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_promise_is_found(name: str) -> None:
    events, invariants, what = BROKEN[name]
    verdict = judge(events, LIMITS)
    assert found(verdict) == invariants
    shown = [violation for violation in verdict.violations if what in violation.what]
    assert shown, [violation.what for violation in verdict.violations]
    assert all(event in events for event in shown[0].history)


# The same, and Ann is told of 2 twice: nobody heard her answer the first time.
TOLD: list[Event] = [
    *CLEAN,
    *(Subscribed(receiver="ann", keys=("k", "l")), Subscribed(receiver="ben", keys=("l",))),
    *(told(1), told(2, answered=False), told(2, time=20.5), told(4)),
]

MISTOLD: dict[str, tuple[list[Event], str]] = {
    "never told": ([event for event in TOLD if event != told(4)], "ann was never told of r4"),
    "told who was not to be": ([*TOLD, told(1, to="ben")], "ben was told of r1, and was not to be"),
    "told of what was never predicted": ([*TOLD, told(9)], "ann was told of r9, and was not to be"),
    "told again without a reason": (
        [*TOLD, told(4, time=21.0)],
        "1 were told again whose answer had come, and whoever tells died 0 times",
    ),
    "told in another order": (
        [told(1, time=22.0) if event == told(1) else event for event in TOLD],
        "ann, key k: was told of r2 before r1, predicted before it",
    ),
}


@pytest.mark.parametrize("name", MISTOLD)
def test_whoever_is_not_told_right_is_found(name: str) -> None:
    events, what = MISTOLD[name]
    verdict = judge(events, LIMITS)
    assert found(verdict) == {6}
    assert any(what in violation.what for violation in verdict.violations), verdict.violations


def test_all_who_are_to_be_told_are_counted() -> None:
    verdict = judge(TOLD, LIMITS)
    assert verdict.violations == []
    assert (verdict.told, verdict.untold, verdict.told_twice) == (3, 0, 1)


def test_a_death_of_whoever_tells_excuses_one_that_is_told_again() -> None:
    death = Fault(kind="kill-notifier-after-send", target="the notifier", time=0.0)
    again = told(4, time=21.0)
    assert judge([*TOLD, death, again], LIMITS).violations == []
    assert found(judge([*TOLD, death, again, told(1, time=30.0)], LIMITS)) == {6}


def test_the_order_of_lines_in_the_files_does_not_matter() -> None:
    assert judge(reversed(CLEAN), LIMITS).kept


def test_an_invariant_without_a_limit_is_left_out() -> None:
    events = replaced(BOOKS, Committed(partition=0, committed=5, end=5, caught_up_at=None))
    assert judge(events, Limits(catch_up_seconds=None)).kept


def test_who_is_asked_on_and_on_cannot_be_through_before_the_last_question() -> None:
    late = replaced(BOOKS, Committed(partition=0, committed=5, end=5, caught_up_at=60.0))
    assert not judge(late, LIMITS).kept
    last = next(event for event in late if isinstance(event, Accepted) and event.id == "r4")
    asked_late = [msgspec.structs.replace(event, time=55.0) if event is last else event for event in late]
    assert judge(asked_late, LIMITS).kept


def test_a_half_written_last_line_is_not_read(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "a.jsonl")
    writer.write(CLEAN)
    writer.close()
    with (tmp_path / "a.jsonl").open("ab") as file:
        file.write(b'{"event":"result","id":"r')
    assert list(read_history([tmp_path / "a.jsonl"])) == CLEAN


def test_a_broken_line_in_the_middle_is_no_history(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"event":\n')
    with pytest.raises(msgspec.DecodeError):
        list(read_history([tmp_path / "a.jsonl"]))


# Any legal history is accepted, and one answer amiss is one too many.


# How long an example takes says something about the machine, and nothing about the judge.
_unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@dataclass
class _Partition:
    asked: int = 0
    answered: int = 0
    lettered: int = 0
    events: list[Event] = field(default_factory=list)


@st.composite
def legal_histories(draw: st.DrawFn) -> list[Event]:
    """Keys interleaved over partitions, models swapped under way, markers between answers."""
    slopes = draw(st.lists(st.integers(1, 50), min_size=1, max_size=4, unique=True))
    digests = {f"{slope:064x}": slope for slope in slopes}
    events: list[Event] = [
        Announced(version=f"v{slope}", sha256=digest, time=float(index))
        for index, (digest, slope) in enumerate(digests.items())
    ]
    partitions = [_Partition() for _ in range(draw(st.integers(1, 3)))]
    newest = [0] * len(partitions)
    rows = draw(st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 3)), min_size=2, max_size=30))
    clock = 100.0
    for x, (key, good, chance) in enumerate(rows, start=1):
        number = key % len(partitions)
        place = partitions[number]
        name = f"key-{key}"
        expected: dict[str, Any] = {digest: float(slope * x) for digest, slope in digests.items()}
        request = Accepted(
            id=f"r{x}", key=name, partition=number, offset=place.asked, expected=expected if good else None, time=clock
        )
        place.asked += 1
        clock += 1
        events.append(request)
        if not good:
            place.lettered += 1 + chance
            events.append(
                DeadLettered(
                    id=request.id,
                    key=name,
                    partition=number,
                    offset=place.lettered,
                    source_partition=number,
                    source_offset=request.offset,
                    reason="not-json",
                    time=clock,
                )
            )
            continue
        if chance == 0:
            newest[number] = min(newest[number] + 1, len(slopes) - 1)
        place.answered += 1 + chance
        digest = list(digests)[newest[number]]
        events.append(
            Result(
                id=request.id,
                key=name,
                partition=number,
                offset=place.answered,
                version=f"v{digests[digest]}",
                sha256=digest,
                value=expected[digest],
                time=clock,
            )
        )
    events += [
        Committed(partition=number, committed=place.asked, end=place.asked, caught_up_at=clock)
        for number, place in enumerate(partitions)
    ]
    return draw(st.permutations(events))


def answers_of(events: list[Event]) -> list[Result | DeadLettered]:
    return [event for event in events if isinstance(event, Result | DeadLettered)]


@_unhurried
@given(legal_histories())
def test_any_legal_history_is_accepted(events: list[Event]) -> None:
    assert judge(events, LIMITS).violations == []


def deleted(draw: Callable[[int], int], events: list[Event]) -> list[Event]:
    answers = answers_of(events)
    gone = answers[draw(len(answers))]
    return [event for event in events if event is not gone]


def duplicated(draw: Callable[[int], int], events: list[Event]) -> list[Event]:
    """Anywhere after itself, as a batch that was done twice would be."""
    answers = answers_of(events)
    again = answers[draw(len(answers))]
    return [*events, msgspec.structs.replace(again, offset=again.offset + 1 + draw(100), time=again.time + 1)]


def swapped(draw: Callable[[int], int], events: list[Event]) -> list[Event]:
    """Two rows get each other's answer."""
    answers = answers_of(events)
    first = draw(len(answers))
    second = (first + 1 + draw(len(answers) - 1)) % len(answers)
    a, b = answers[first], answers[second]
    rest = [event for event in events if event is not a and event is not b]
    return [*rest, msgspec.structs.replace(a, id=b.id), msgspec.structs.replace(b, id=a.id)]


@pytest.mark.parametrize(("change", "invariants"), [(deleted, {1}), (duplicated, {1}), (swapped, {1, 3, 4})])
@_unhurried
@given(data=st.data())
def test_one_answer_amiss_in_any_history_is_found(change: Any, invariants: set[int], data: st.DataObject) -> None:
    events = data.draw(legal_histories())
    broken = change(lambda below: data.draw(st.integers(0, below - 1)), events)
    assert found(judge(broken, LIMITS)) & invariants


@_unhurried
@given(data=st.data())
def test_two_answers_of_a_key_in_each_others_place_are_found(data: st.DataObject) -> None:
    events = data.draw(legal_histories())
    results = [event for event in events if isinstance(event, Result)]
    pairs = [(a, b) for a in results for b in results if a.key == b.key and a.offset < b.offset]
    if not pairs:
        return
    a, b = data.draw(st.sampled_from(pairs))
    rest = [event for event in events if event is not a and event is not b]
    broken = [*rest, msgspec.structs.replace(a, offset=b.offset), msgspec.structs.replace(b, offset=a.offset)]
    assert 2 in found(judge(broken, LIMITS))
