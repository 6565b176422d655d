"""What a plan is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rollcast_common.contracts import Assignment
from rollcast_rollout.model_version import Serving
from rollcast_rollout.record import Record

__all__ = ["Event", "Plan", "Tombstone", "Workload"]


@dataclass(frozen=True, slots=True)
class Event:
    """A transition worth a line in somebody's log. `uid` is the ModelVersion's."""

    uid: str
    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Tombstone:
    """The model ends: its slots stop, and the topic forgets it."""


@dataclass(frozen=True, slots=True)
class Workload:
    """The slots of a model, as the desired version wants them. `replicas` is None where an autoscaler decides."""

    model: str
    serving: Serving
    replicas: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a shell does, in this order. A shell that dies in between plans the same again from what was written."""

    record: Record | None
    """Written first, if it differs from the observed one. None: it is deleted, nothing of the model is left."""

    publish: Assignment | Tombstone | None = None
    """Then published; it is `record`'s assignment whenever the topic lacks it. None: the topic is right."""

    workload: Workload | None = None
    """What should run; None: nothing (what runs is drained and removed). Same as before: nothing to do."""

    resolve: Sequence[str] = ()
    """uids of ModelVersions whose bytes the shell looks for, without being waited for. An answer that it still
    holds for one of them is out of date: it is dropped, unless the question is already on its way."""

    statuses: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By uid, the whole `.status` as it should be; written only where it differs from the resource's own."""

    handled_actions: Sequence[str] = ()
    """uids whose action annotation is taken off now."""

    released: Sequence[str] = ()
    """uids of ModelVersions under deletion that nothing holds any longer: their finalizer is taken off."""

    events: Sequence[Event] = ()
    """Posted last, and at most once: a shell that dies before may lose them."""

    wake_after: float | None = None
    """Seconds until time alone changes the plan; None: only news does."""
