"""Resources, a topic, slots, and a shell that carries plans out: one write after the other, and may die in between."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from dataclasses import replace as with_fields
from typing import Any

from rollcast_common.contracts import Assignment
from rollcast_rollout.answer import Event, Plan, Tombstone, Workload
from rollcast_rollout.model_version import ModelVersion
from rollcast_rollout.observed import ArtifactProblem, Observed, Pinned, SlotReport
from rollcast_rollout.plan import plan
from rollcast_rollout.record import decode_record, encode_record
from rollcast_rollout.simulation.slots import SimulatedSlot

__all__ = ["ShellDied", "World"]


class ShellDied(Exception):
    """The shell is dead, after some of a plan's writes."""


@dataclass(slots=True)
class World:
    """`writes` counts what a shell had to write; `published` holds every assignment that ever reached the topic."""

    now: float = 1_660_903_200.0
    resources: dict[str, ModelVersion] = field(default_factory=dict)
    store: dict[str, Pinned | ArtifactProblem] = field(default_factory=dict)
    """By uid: what looking for the bytes gives."""

    answers: dict[str, Pinned | ArtifactProblem] = field(default_factory=dict)
    record: bytes | None = None
    topic: Assignment | None = None
    topic_written: bool = False
    kafka_problem: str | None = None
    slots: dict[int, SimulatedSlot] = field(default_factory=dict)
    reports: dict[int, tuple[Any, float]] = field(default_factory=dict)
    """By ordinal: the last status, and when it came."""

    live_error_ratio: dict[str, float] = field(default_factory=dict)
    workload: Workload | None = None
    writes: int = 0
    published: list[Assignment | None] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    dies_after: int | None = None
    """So many writes are still done; None: the shell lives."""

    on_write: Callable[[str], None] | None = None
    load_seconds: float = 1.0
    watching_since: float = 0.0

    # What people do.

    def create(self, version: ModelVersion, found: Pinned | ArtifactProblem | None = None) -> None:
        self.resources[version.uid] = version
        if found is not None:
            self.store[version.uid] = found

    def edit(self, uid: str, **changes: Any) -> None:
        old = self.resources[uid]
        self.resources[uid] = with_fields(old, generation=old.generation + 1, **changes)

    def act(self, uid: str, action: str | None) -> None:
        self.resources[uid] = with_fields(self.resources[uid], action=action)

    def delete(self, uid: str) -> None:
        self.resources[uid] = with_fields(self.resources[uid], deleting=True)

    # What machines do.

    def pass_time(self, seconds: float) -> None:
        """Slots follow the topic, load and report; nothing is planned."""
        self.now += seconds
        for slot in self.running():
            if self.kafka_problem is None:
                slot.follow(self.topic, self.now)
            slot.swap(self.now)
        self.report()

    def report(self, ordinals: Iterable[int] | None = None) -> None:
        if self.kafka_problem is not None:
            return
        for slot in self.running():
            if ordinals is None or slot.ordinal in ordinals:
                self.reports[slot.ordinal] = (slot.report(self.now), self.now)

    def running(self) -> list[SimulatedSlot]:
        return [self.slots[ordinal] for ordinal in range(self.replicas or 0)]

    @property
    def replicas(self) -> int | None:
        if self.workload is None:
            return None
        count = self.workload.replicas if self.workload.replicas is not None else 1
        for ordinal in range(count):
            self.slots.setdefault(ordinal, SimulatedSlot(ordinal, load_seconds=self.load_seconds))
        return count

    # The shell.

    def observed(self) -> Observed:
        return Observed(
            record=decode_record(self.record) if self.record is not None else None,
            artifacts=dict(self.answers),
            slots={
                ordinal: SlotReport(status, self.now - at if at >= self.watching_since else float("inf"))
                for ordinal, (status, at) in self.reports.items()
            },
            replicas=self.replicas,
            published=self._published(),
            topic_assignment=self.topic,
            kafka_problem=self.kafka_problem,
            live_error_ratio=dict(self.live_error_ratio),
            watched_seconds=self.now - self.watching_since,
        )

    def _published(self) -> int | None:
        if self.topic is not None:
            return self.topic.generation
        return 0 if self.topic_written else None

    def desired(self) -> list[ModelVersion]:
        return list(self.resources.values())

    def restart_shell(self) -> None:
        """Only what was written is left of it."""
        self.answers = {}
        self.watching_since = self.now
        self.dies_after = None

    def step(self) -> Plan:
        """One plan, carried out. Raises ShellDied."""
        made = plan(self.desired(), self.observed(), self.now)
        self.carry_out(made)
        return made

    def settle(self, most: int = 20) -> Plan:
        """Plans until one asks for no other at once, and no answer came that it has not seen."""
        for _ in range(most):
            known = dict(self.answers)
            made = self.step()
            if made.wake_after != 0.0 and known == self.answers:
                return made
        raise AssertionError("the plan never settles")

    def carry_out(self, made: Plan) -> None:
        encoded = encode_record(made.record) if made.record is not None else None
        if encoded != self.record:
            self._write("record")
            self.record = encoded
        if made.publish is not None and self.kafka_problem is None:
            self._write("publish")
            self.topic = None if isinstance(made.publish, Tombstone) else made.publish
            self.topic_written = True
            self.published.append(self.topic)
        if made.workload != self.workload:
            self._write("workload")
            self.workload = made.workload
        for uid in made.resolve:
            if (found := self.store.get(uid)) is not None:
                self.answers[uid] = found
        self._write_resources(made)
        self.events.extend(made.events)

    def _write_resources(self, made: Plan) -> None:
        for uid, status in made.statuses.items():
            if status != self.resources[uid].status:
                self._write("status")
                self.resources[uid] = with_fields(self.resources[uid], status=status)
        for uid in made.handled_actions:
            if self.resources[uid].action is not None:
                self._write("annotation")
                self.act(uid, None)
        for uid in made.released:
            self._write("finalizer")
            del self.resources[uid]

    def _write(self, what: str) -> None:
        if self.dies_after is not None:
            if self.dies_after == 0:
                raise ShellDied(what)
            self.dies_after -= 1
        self.writes += 1
        if self.on_write is not None:
            self.on_write(what)
