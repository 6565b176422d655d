"""The ways in which a record changes: each gives a new record, and only these write an assignment."""

from typing import Any

from msgspec.structs import replace

from rollcast_common.contracts import Assignment
from rollcast_rollout.record import Entry, Failure, Record

__all__ = ["assigned", "failed", "taken_off", "with_entry"]


def with_entry(record: Record, uid: str, **changes: Any) -> Record:
    """`changes` are fields of its Entry."""
    entry: Entry = replace(record.entries[uid], **changes)
    return replace(record, entries={**record.entries, uid: entry})


def assigned(record: Record, assignment: Assignment, **changes: Any) -> Record:
    """The assignment under the next generation. `changes` are further fields of the record."""
    generation = record.generation + 1
    return replace(record, assignment=replace(assignment, generation=generation), generation=generation, **changes)


def taken_off(record: Record) -> Record:
    """No candidate: all keys are stable's again, with one assignment."""
    assignment = record.assignment
    if assignment is None or assignment.candidate is None:
        return replace(record, rollout=None)
    return assigned(
        record,
        replace(
            assignment,
            candidate=None,
            weight=0.0,
            salt=None,
            shadow=False,
            rollout=0,
            bins=None,
            collect_samples=False,
        ),
        rollout=None,
    )


def failed(record: Record, uid: str, failure: Failure) -> Record:
    """The failure is remembered in the same record as the assignment that takes the candidate off."""
    record = with_entry(record, uid, failure=failure, paused=False)
    if record.fast == uid:
        record = replace(record, fast=None)
    rollout = record.rollout
    if rollout is None or rollout.uid != uid:
        return record
    if rollout.stage != "promoting":
        return taken_off(record)
    if rollout.first:
        # Nothing was stable before it: the topic is to hold nothing.
        return replace(record, assignment=None, stable=None, topics=None, rollout=None)
    return replace(record, rollout=None)
