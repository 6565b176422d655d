"""What a campaign says in the end."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import msgspec
from tests.chaos.checker import Verdict
from tests.chaos.history import Accepted, DeadLettered, Event, Fault, Result, Sample

__all__ = ["recoveries", "report"]

_SHOWN_EVENTS = 8


def recoveries(events: Iterable[Event]) -> dict[str, list[float]]:
    """By kind of fault: seconds from its beginning to the first answer, from every partition that was asked
    afterwards, to a request that Kafka had taken afterwards. Faults overlap, so one may pay for another.
    """
    events = list(events)
    answered: dict[str, float] = {}
    for event in events:
        if isinstance(event, Result | DeadLettered):
            answered.setdefault(event.id, event.time)
    by_partition: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for event in events:
        if isinstance(event, Accepted) and event.id in answered:
            by_partition[event.partition].append((event.time, answered[event.id]))
    found: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if isinstance(event, Fault):
            firsts = [
                min((answer for asked, answer in pairs if asked >= event.time), default=None)
                for pairs in by_partition.values()
            ]
            later = [first for first in firsts if first is not None]
            if later:
                found[event.kind].append(max(later) - event.time)
    return dict(found)


def nobody_ready_seconds(events: Iterable[Event]) -> float:
    """The longest time during which each sample found no slot ready."""
    samples = sorted((event for event in events if isinstance(event, Sample)), key=lambda event: event.time)
    longest, since = 0.0, None
    for sample, following in pairwise(samples):
        if sample.ready:
            since = None
            continue
        since = sample.time if since is None else since
        longest = max(longest, following.time - since)
    return longest


def report(verdict: Verdict, events: Sequence[Event], *, seed: int, seconds: float) -> Iterator[str]:
    faults = Counter(event.kind for event in events if isinstance(event, Fault))
    yield (
        f"seed {seed}: {verdict.requests} requests, {verdict.predictions} predictions, "
        f"{verdict.dead_letters} dead letters, {faults.total()} faults, {seconds:.0f} s"
    )
    yield (
        f"lost {verdict.lost}, doubled {verdict.doubled}, out of order {verdict.out_of_order}, wrong {verdict.wrong}; "
        f"longest output gap {verdict.longest_gap_seconds:.1f} s, nobody ready {nobody_ready_seconds(events):.1f} s"
    )
    if verdict.told:
        yield f"told {verdict.told}, never told {verdict.untold}, told again {verdict.told_twice}"
    yield f"{'fault':<25}{'times':>6}{'recovery: median':>18}{'max (s)':>9}"
    for kind, found in sorted(recoveries(events).items()):
        yield f"{kind:<25}{faults[kind]:>6}{statistics.median(found):>18.2f}{max(found):>9.2f}"
    for violation in verdict.violations:
        yield f"VIOLATED {violation.invariant}: {violation.what}"
        for event in violation.history[:_SHOWN_EVENTS]:
            yield f"    {msgspec.json.encode(event).decode()[:400]}"
    yield "all promises kept" if verdict.kept else "PROMISES BROKEN"
