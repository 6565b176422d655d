"""The judge: decides from histories alone whether the promises were kept. It knows nothing of the code.

    1  each accepted request was answered exactly once, by a prediction or a dead letter
    2  per key, the order of answers is the order of requests
    3  at the end no transaction is open, and the committed offsets account for every answer
    4  each prediction names a model whose bytes were announced before it, and says what that model says
    5  at every sample somebody was ready, and no partition was without an owner for too long
    6  whoever is to be told of a prediction was told, at least once, in the order of their key, and nobody else was;
       twice only where the first time's answer did not come back, or whoever tells was killed
    8  every partition was caught up soon after the last fault and the last request

The numbers are those of the project's list of invariants; 7 belongs to a part that is judged elsewhere.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

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
)

__all__ = ["NOTIFIER_DEATH", "Limits", "Verdict", "Violation", "judge"]

Answer = Result | DeadLettered

NOTIFIER_DEATH = "kill-notifier"
"""How faults begin that may cost whoever tells one answer that was on its way."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What counts as too long, in seconds; None leaves the invariant out."""

    unready_seconds: float | None = None
    unowned_seconds: float | None = None
    catch_up_seconds: float | None = 30.0


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise and the shortest history that shows it."""

    invariant: int
    what: str
    history: tuple[Event, ...]


@dataclass(slots=True)
class Verdict:
    requests: int = 0
    predictions: int = 0
    dead_letters: int = 0
    lost: int = 0
    doubled: int = 0
    out_of_order: int = 0
    wrong: int = 0
    told: int = 0
    untold: int = 0
    told_twice: int = 0
    """Also those that are allowed."""
    longest_gap_seconds: float = 0.0
    violations: list[Violation] = field(default_factory=list)

    @property
    def kept(self) -> bool:
        return not self.violations


def judge(events: Iterable[Event], limits: Limits) -> Verdict:
    """Every promise, on one history. Violations are ordered by invariant; of each kind the first ones are kept."""
    history = _History(events)
    verdict = Verdict(
        requests=len(history.accepted), predictions=len(history.results), dead_letters=len(history.dead_letters)
    )
    _exactly_once(history, verdict)
    _order(history, verdict)
    _offsets(history, verdict)
    _right_model(history, verdict)
    _liveness(history, verdict, limits)
    _told(history, verdict)
    _caught_up(history, verdict, limits)
    times = sorted(answer.time for answer in history.answers())
    verdict.longest_gap_seconds = max((b - a for a, b in pairwise(times)), default=0.0)
    return verdict


class _History:
    """The events, by kind."""

    def __init__(self, events: Iterable[Event]) -> None:
        kinds: dict[type, list[Any]] = defaultdict(list)
        for event in events:
            kinds[type(event)].append(event)
        self.accepted: dict[str, Accepted] = {event.id: event for event in kinds[Accepted]}
        self.announced: dict[str, Announced] = {event.sha256: event for event in reversed(kinds[Announced])}
        self.results: list[Result] = kinds[Result]
        self.dead_letters: list[DeadLettered] = kinds[DeadLettered]
        self.assigned: list[Assigned] = sorted(kinds[Assigned], key=lambda event: event.time)
        self.samples: list[Sample] = sorted(kinds[Sample], key=lambda event: event.time)
        self.faults: list[Fault] = kinds[Fault]
        self.committed: list[Committed] = kinds[Committed]
        self.open: list[OpenTransaction] = kinds[OpenTransaction]
        self.subscribed: list[Subscribed] = kinds[Subscribed]
        self.arrived: list[Arrived] = sorted(kinds[Arrived], key=lambda event: event.time)

    def answers(self) -> list[Answer]:
        return [*self.results, *self.dead_letters]


def _exactly_once(history: _History, verdict: Verdict) -> None:
    by_id: dict[str, list[Answer]] = defaultdict(list)
    for answer in history.answers():
        by_id[answer.id].append(answer)
    for request_id, request in history.accepted.items():
        answers = by_id.get(request_id, [])
        if not answers:
            verdict.lost += 1
            _note(verdict, 1, f"request {request_id} was accepted and never answered", [request])
        elif len(answers) > 1:
            verdict.doubled += len(answers) - 1
            _note(verdict, 1, f"request {request_id} was answered {len(answers)} times", [request, *answers])
        if request.expected is None and any(isinstance(answer, Result) for answer in answers):
            _note(verdict, 1, f"request {request_id} cannot be predicted, and was", [request, *answers])
        if request.expected is not None and any(isinstance(answer, DeadLettered) for answer in answers):
            _note(verdict, 1, f"request {request_id} is good, and was dead-lettered", [request, *answers])
    for request_id in by_id.keys() - history.accepted.keys():
        _note(verdict, 1, f"an answer to {request_id}, which nobody asked", by_id[request_id])


def _order(history: _History, verdict: Verdict) -> None:
    """Requests of one key lie in one partition, and so do its predictions; offsets are their order."""
    lanes: dict[tuple[type, str], list[Answer]] = defaultdict(list)
    for answer in history.answers():
        if answer.id in history.accepted:
            lanes[type(answer), answer.key].append(answer)
    for answers in lanes.values():
        answers.sort(key=lambda answer: (answer.partition, answer.offset))
        for earlier, later in pairwise(answers):
            first, second = history.accepted[earlier.id], history.accepted[later.id]
            if earlier.id != later.id and (first.partition, first.offset) > (second.partition, second.offset):
                verdict.out_of_order += 1
                what = f"key {earlier.key}: {earlier.id} was answered before {later.id}, which was asked before it"
                _note(verdict, 2, what, [second, first, earlier, later])


def _offsets(history: _History, verdict: Verdict) -> None:
    for transaction in history.open:
        what = f"{transaction.topic}-{transaction.partition}: a transaction is still open"
        _note(verdict, 3, what, [transaction])
    ends = {commit.partition: commit for commit in history.committed}
    for end in history.committed:
        if end.committed > end.end:
            what = f"partition {end.partition}: offset {end.committed} is committed, and it ends at {end.end}"
            _note(verdict, 3, what, [end])
    answered = {answer.id: answer for answer in history.answers()}
    for request in history.accepted.values():
        commit = ends.get(request.partition)
        if commit is None:
            _note(verdict, 3, f"partition {request.partition}: nobody looked what is committed", [request])
            continue
        answer = answered.get(request.id)
        if answer is None and request.offset < commit.committed:
            what = f"offset {commit.committed} is committed, and {request.offset} before it has no answer"
            _note(verdict, 3, what, [request, commit])
        if answer is not None and request.offset >= commit.committed:
            what = f"{request.id} is answered, and its offset {request.offset} is not committed"
            _note(verdict, 3, what, [request, answer, commit])
    for letter in history.dead_letters:
        source = history.accepted.get(letter.id)
        if source is not None and (source.partition, source.offset) != (letter.source_partition, letter.source_offset):
            _note(verdict, 3, f"dead letter {letter.id} names another record as its source", [source, letter])


def _right_model(history: _History, verdict: Verdict) -> None:
    versions = {digest: announced.version for digest, announced in history.announced.items()}
    for result in history.results:
        announced = history.announced.get(result.sha256)
        if announced is None or announced.time > result.time:
            _note(verdict, 4, f"{result.id}: digest {result.sha256[:12]} was not announced before", [result])
            continue
        if versions[result.sha256] != result.version:
            what = f"{result.id}: names version {result.version}, but the digest is {announced.version}'s"
            _note(verdict, 4, what, [announced, result])
        request = history.accepted.get(result.id)
        if request is None or request.expected is None:
            continue
        if result.sha256 not in request.expected:
            _note(verdict, 4, f"{result.id}: nobody knows what {announced.version} says of it", [request, result])
            continue
        expected = request.expected[result.sha256]
        if not _same(expected, result.value):
            verdict.wrong += 1
            what = f"{result.id}: {announced.version} says {expected!r} of this row, the answer is {result.value!r}"
            _note(verdict, 4, what, [announced, request, result])


def _liveness(history: _History, verdict: Verdict, limits: Limits) -> None:
    if limits.unready_seconds is not None:
        _ready(history.samples, verdict, limits.unready_seconds)
    if limits.unowned_seconds is not None:
        for partition in sorted({number for assigned in history.assigned for number in assigned.owners}):
            _owned(partition, history.assigned, verdict, limits.unowned_seconds)


def _ready(samples: list[Sample], verdict: Verdict, most_seconds: float) -> None:
    since: Sample | None = None
    for sample in samples:
        if sample.ready:
            since = None
            continue
        since = since or sample
        if sample.time - since.time > most_seconds:
            _note(verdict, 5, f"no slot was ready for {sample.time - since.time:.1f} s", [since, sample])
            return


def _owned(partition: int, assigned: list[Assigned], verdict: Verdict, most_seconds: float) -> None:
    since: Assigned | None = None
    for sample in assigned:
        if partition in sample.owners:
            since = None
            continue
        since = since or sample
        if sample.time - since.time > most_seconds:
            seconds = sample.time - since.time
            _note(verdict, 5, f"partition {partition} had no owner for {seconds:.1f} s", [since, sample])
            return


def _told(history: _History, verdict: Verdict) -> None:
    keys = {subscribed.receiver: frozenset(subscribed.keys) for subscribed in history.subscribed}
    results = {result.id: result for result in history.results}
    arrivals: dict[tuple[str, str], list[Arrived]] = defaultdict(list)
    for arrived in history.arrived:
        arrivals[arrived.receiver, arrived.id].append(arrived)
    verdict.told = len(arrivals)
    for receiver, wanted in keys.items():
        for result in history.results:
            if result.key in wanted and (receiver, result.id) not in arrivals:
                verdict.untold += 1
                _note(verdict, 6, f"{receiver} was never told of {result.id}", [result])
    again: list[Arrived] = []
    for (receiver, id_), found in arrivals.items():
        told_of = results.get(id_)
        if told_of is None or told_of.key not in keys.get(receiver, frozenset()):
            history_of: list[Event] = [*([told_of] if told_of is not None else []), *found]
            _note(verdict, 6, f"{receiver} was told of {id_}, and was not to be", history_of)
        verdict.told_twice += len(found) - 1
        again += [second for first, second in pairwise(found) if first.answered]
    deaths = [fault for fault in history.faults if fault.kind.startswith(NOTIFIER_DEATH)]
    if len(again) > len(deaths):
        what = f"{len(again)} were told again whose answer had come, and whoever tells died {len(deaths)} times"
        _note(verdict, 6, what, [*deaths, *again])
    _told_in_order(history, verdict, results)


def _told_in_order(history: _History, verdict: Verdict, results: dict[str, Result]) -> None:
    """First arrivals only: what is told again comes late."""
    lanes: dict[tuple[str, str], dict[str, Arrived]] = defaultdict(dict)
    for arrived in history.arrived:
        if arrived.id in results:
            lanes[arrived.receiver, results[arrived.id].key].setdefault(arrived.id, arrived)
    for (receiver, key), firsts in lanes.items():
        for earlier, later in pairwise(firsts.values()):
            before, after = results[earlier.id], results[later.id]
            if (before.partition, before.offset) > (after.partition, after.offset):
                what = f"{receiver}, key {key}: was told of {earlier.id} before {later.id}, predicted before it"
                _note(verdict, 6, what, [after, before, earlier, later])


def _caught_up(history: _History, verdict: Verdict, limits: Limits) -> None:
    if limits.catch_up_seconds is None:
        return
    last = max(history.faults, key=lambda fault: fault.until or fault.time, default=None)
    # Whoever is asked on and on cannot be through before the last question.
    asked = max((request.time for request in history.accepted.values()), default=0.0)
    for commit in history.committed:
        if commit.caught_up_at is None:
            _note(verdict, 8, f"partition {commit.partition} was never caught up", [commit])
        elif last is not None:
            seconds = commit.caught_up_at - max(last.until or last.time, asked)
            if seconds > limits.catch_up_seconds:
                what = f"partition {commit.partition} was caught up {seconds:.1f} s after the last fault and request"
                _note(verdict, 8, what, [last, commit])


_KEPT_PER_INVARIANT = 5


def _note(verdict: Verdict, invariant: int, what: str, history: Iterable[Event]) -> None:
    if sum(violation.invariant == invariant for violation in verdict.violations) < _KEPT_PER_INVARIANT:
        verdict.violations.append(Violation(invariant, what, tuple(history)))


def _same(expected: Any, actual: Any) -> bool:
    if isinstance(expected, float) and isinstance(actual, int | float):
        return math.isclose(expected, actual, rel_tol=1e-9, abs_tol=1e-12)
    return bool(expected == actual)
