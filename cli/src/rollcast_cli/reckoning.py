"""Accepted requests against answers: what was lost, what was doubled. Pure."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from rollcast_cli.results import Results, percentile

__all__ = ["Accepted", "Reckoning", "read_journal", "reckon"]


@dataclass(frozen=True, slots=True)
class Accepted:
    """Request ids that Kafka acknowledged, and those of them that are bad on purpose."""

    ids: frozenset[str]
    planted: frozenset[str]


@dataclass(frozen=True, slots=True)
class Reckoning:
    requests: int
    predictions: int
    dead_letters: int
    planted: int
    planted_answered: int
    """Planted records that came back as dead letters; all of them should."""
    unplanted_dead_letters: int
    lost: int
    doubled: int
    p50_ms: float | None
    p99_ms: float | None

    @property
    def clean(self) -> bool:
        return self.lost == 0 and self.doubled == 0 and self.planted_answered == self.planted


def read_journal(lines: Iterable[str]) -> Accepted:
    ids, planted = set(), set()
    for line in lines:
        entry = json.loads(line)
        ids.add(entry["id"])
        if entry["planted"]:
            planted.add(entry["id"])
    return Accepted(frozenset(ids), frozenset(planted))


def reckon(accepted: Accepted, results: Results) -> Reckoning:
    """An accepted request without an answer is lost; one with more than one is doubled, once for each too many."""
    answers = [results.seen.get(request_id, 0) for request_id in accepted.ids]
    dead = results.dead_ids & accepted.ids
    latencies = list(results.latencies_ms)
    return Reckoning(
        requests=len(accepted.ids),
        predictions=results.predictions,
        dead_letters=results.dead.total(),
        planted=len(accepted.planted),
        planted_answered=len(dead & accepted.planted),
        unplanted_dead_letters=len(dead - accepted.planted),
        lost=sum(1 for count in answers if count == 0),
        doubled=sum(count - 1 for count in answers if count > 1),
        p50_ms=percentile(latencies, 0.5),
        p99_ms=percentile(latencies, 0.99),
    )
