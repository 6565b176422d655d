"""When time alone changes the plan."""

from collections.abc import Iterator

from rollcast_rollout.advance import deadline_seconds
from rollcast_rollout.desired import desired_version
from rollcast_rollout.ending import seconds_until_released
from rollcast_rollout.gate import expected_slots
from rollcast_rollout.hold import hold_of
from rollcast_rollout.record import Record
from rollcast_rollout.status import PRESENT_SECONDS
from rollcast_rollout.view import View

__all__ = ["seconds_until_news"]

_LEAST_SECONDS = 0.01
"""A wait that floating point rounds to a moment too early is not answered with another of 0."""


def seconds_until_news(view: View, record: Record) -> float | None:
    return min((max(seconds, _LEAST_SECONDS) for seconds in _moments(view, record)), default=None)


def _moments(view: View, record: Record) -> Iterator[float]:
    if record.ending_since is not None:
        if any(version.deleting for version in view.versions.values()) and view.observed.published:
            yield seconds_until_released(view, record)
        return
    yield from _slots_go_missing(view)
    if view.observed.kafka_problem is not None:
        return
    hold = hold_of(view, record)
    if hold is not None and hold.seconds is not None:
        yield hold.seconds
    left = deadline_seconds(view, record)
    if hold is not None and hold.reason == "WaitingForSlots" and left is not None and left > 0:
        yield left
    target = desired_version(view.versions, record)
    problem = record.entries[target.uid].problem if target is not None else None
    if problem is not None:
        yield problem.retry_at - view.now


def _slots_go_missing(view: View) -> Iterator[float]:
    for ordinal in expected_slots(view.observed):
        report = view.observed.slots.get(ordinal)
        if report is not None and report.age_seconds <= PRESENT_SECONDS:
            yield PRESENT_SECONDS - report.age_seconds
