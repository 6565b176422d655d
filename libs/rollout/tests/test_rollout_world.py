"""Anything may happen, in any order, and the shell may die between any two writes: what holds even so.

After each move the plan is carried out until it rests. Invariants are judged on what was written: the topic's
assignments, the record, and the statuses.
"""

from dataclasses import replace as with_fields
from hashlib import sha256
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rollcast_common.contracts import Assignment, ServedVersion
from rollcast_rollout.actions import ACTIONS
from rollcast_rollout.model_version import Abort, Artifact, ModelVersion, Rollout, Serving, Step
from rollcast_rollout.observed import ArtifactProblem, Observed, Pinned
from rollcast_rollout.phases import is_legal
from rollcast_rollout.plan import Plan, plan
from rollcast_rollout.record import decode_record, encode_record
from rollcast_rollout.simulation import Behaviour, Refusal, ShellDied, World, serve

ROLLOUTS = (
    Rollout(shadow_seconds=None, steps=(Step(10, 3), Step(50, 3))),
    Rollout(shadow_seconds=2, steps=(Step(20, 2, 20),), progress_deadline_seconds=30),
    Rollout(shadow_seconds=2, steps=(), abort=Abort(prediction_drift_above=None)),
)
FAULTS = (
    Behaviour(error_every=5),
    Behaviour(deaths=2),
    Behaviour(time_outs=2),
    Behaviour(cost=4),
    Behaviour(shift=0.5),
)
DEATHS = st.one_of(st.none(), st.integers(min_value=0, max_value=8))


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


class Rolling(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World(load_seconds=1.0)
        self.world.on_write = self.note
        self.created = 0
        self.behaviours: dict[str, Behaviour] = {}
        self.phases: dict[str, str] = {}
        self.deleted_at: dict[str, float] = {}
        self.kafka_down_since: float | None = None
        self.ended = 0
        self.allowed_again: set[str] = set()
        """Digests that nothing speaks against (any more)."""

        self.seen = 0
        self.highest = 0
        self.written = ""

    def note(self, what: str) -> None:
        self.written = what

    @initialize(rollout=st.sampled_from(ROLLOUTS), begins=st.booleans())
    def begin(self, rollout: Rollout, *, begins: bool) -> None:
        """Half of the time, a rollout is under way already."""
        if begins:
            self.create(ROLLOUTS[0], None)
            self.run(4, 0, None)
            self.create(rollout, None)

    # People.

    @rule(rollout=st.sampled_from(ROLLOUTS), fault=st.one_of(st.none(), st.none(), st.sampled_from(FAULTS)))
    def create(self, rollout: Rollout, fault: Behaviour | None) -> None:
        self.created += 1
        number = self.created
        if not self.world.resources:
            # Another life of the model: its generations continue from the clock, not from what was forgotten.
            self.world.now += 100
        version = ModelVersion(
            uid=f"uid-{number}",
            name=f"model-{number}",
            namespace="default",
            generation=1,
            created=self.world.now,
            deleting=False,
            model="model",
            version=f"v{number}",
            artifact=Artifact(f"s3://models/{number}.skops"),
            rollout=rollout,
        )
        self.world.create(version, self.found(version))
        if fault is not None:
            self.behaviours[_digest(version.artifact.uri)] = fault
        self.settle()

    @rule(problem=st.sampled_from(("may pass", "final")), data=st.data())
    def lose_or_spoil_the_artifact(self, problem: str, data: st.DataObject) -> None:
        if uids := [uid for uid in self.world.resources if uid not in self.world.answers]:
            uid = data.draw(st.sampled_from(uids))
            self.world.store[uid] = ArtifactProblem("NotFound", "it is not there", may_pass=problem == "may pass")

    @rule(data=st.data())
    def find_the_artifact(self, data: st.DataObject) -> None:
        if self.world.resources:
            uid = data.draw(st.sampled_from(sorted(self.world.resources)))
            self.world.store[uid] = self.found(self.world.resources[uid])
            self.settle()

    @rule(action=st.sampled_from((*ACTIONS, "explode")), data=st.data(), dies=DEATHS)
    def act(self, action: str, data: st.DataObject, dies: int | None) -> None:
        if self.world.resources:
            self.world.act(data.draw(st.sampled_from(sorted(self.world.resources))), action)
            self.settle(dies)

    @rule(data=st.data(), dies=DEATHS)
    def delete(self, data: st.DataObject, dies: int | None) -> None:
        if self.world.resources:
            uid = data.draw(st.sampled_from(sorted(self.world.resources)))
            self.world.delete(uid)
            self.deleted_at.setdefault(uid, self.world.now)
            self.settle(dies)

    @rule(data=st.data())
    def edit_the_artifact(self, data: st.DataObject) -> None:
        if uids := self.living():
            uid = data.draw(st.sampled_from(uids))
            self.created += 1
            self.world.edit(uid, version=f"v{self.created}", artifact=Artifact(f"s3://models/{self.created}.skops"))
            self.world.store[uid] = self.found(self.world.resources[uid])
            self.settle()

    @rule(data=st.data(), rollout=st.sampled_from(ROLLOUTS), paused=st.booleans())
    def edit_the_rollout(self, data: st.DataObject, rollout: Rollout, *, paused: bool) -> None:
        if uids := self.living():
            self.world.edit(data.draw(st.sampled_from(uids)), rollout=with_fields(rollout, paused=paused))
            self.settle()

    @rule(data=st.data(), replicas=st.integers(1, 3), topic=st.sampled_from(("requests", "requests", "other")))
    def edit_the_serving(self, data: st.DataObject, replicas: int, topic: str) -> None:
        if uids := self.living():
            serving = Serving(replicas=replicas, input_topic=topic)
            self.world.edit(data.draw(st.sampled_from(uids)), serving=serving)
            self.settle()

    # Machines.

    @rule(seconds=st.integers(1, 12), rows=st.sampled_from((0, 0, 40, 700)), dies=DEATHS)
    def run(self, seconds: int, rows: int, dies: int | None) -> None:
        for _ in range(seconds):
            self.world.pass_time(1)
            serve(self.world, rows, self.behaviours)
            self.world.report()
            self.settle(dies)

    @rule(seconds=st.integers(1, 4))
    def busy(self, seconds: int) -> None:
        """As `run`, with requests: nothing goes on without them."""
        self.run(seconds, 700, None)

    @rule(ordinal=st.integers(0, 2), seconds=st.integers(1, 6), deaf=st.booleans())
    def one_slot_lags(self, ordinal: int, seconds: int, *, deaf: bool) -> None:
        """It says nothing, or speaks and does not follow."""
        for _ in range(seconds):
            self.world.now += 1
            for slot in self.world.running():
                if slot.ordinal != ordinal and self.world.kafka_problem is None:
                    slot.follow(self.world.topic, self.world.now)
                slot.swap(self.world.now)
            self.world.report(None if deaf else {0, 1, 2} - {ordinal})
            self.settle()

    @rule(seconds=st.sampled_from((40, 700)))
    def nothing_is_heard(self, seconds: int) -> None:
        self.world.now += seconds
        self.settle()

    @rule(ordinal=st.integers(0, 2))
    def restart_a_slot(self, ordinal: int) -> None:
        if ordinal in self.world.slots:
            self.world.slots[ordinal].restart()

    @rule(ordinal=st.integers(0, 2), data=st.data())
    def refuse(self, ordinal: int, data: st.DataObject) -> None:
        if ordinal in self.world.slots and self.created:
            digest = _digest(f"s3://models/{data.draw(st.integers(1, self.created))}.skops")
            self.world.slots[ordinal].refusals[digest] = Refusal("UntrustedArtifact", "said the slot")

    @rule(ordinal=st.integers(0, 2))
    def accept_again(self, ordinal: int) -> None:
        if ordinal in self.world.slots:
            self.world.slots[ordinal].refusals.clear()

    @rule()
    def kafka(self) -> None:
        down = self.world.kafka_problem is None
        self.world.kafka_problem = "no broker answers" if down else None
        self.settle()

    @rule()
    def restart_the_shell(self) -> None:
        self.world.restart_shell()
        self.settle()

    @precondition(lambda self: self.world.topic is not None and self.world.kafka_problem is None)
    @rule()
    def lose_the_record(self) -> None:
        """What the topic and the statuses say is enough to go on without serving anything else."""
        before = self.world.topic
        assert before is not None
        self.phases = {}
        self.world.record = None
        self.world.restart_shell()
        self.settle()
        after: Assignment | None = self.world.topic
        if after is not None:
            assert after.stable in (before.stable, before.candidate)

    # What helps.

    def living(self) -> list[str]:
        return [uid for uid, version in self.world.resources.items() if not version.deleting]

    def found(self, version: ModelVersion) -> Pinned:
        uri = version.artifact.uri
        return Pinned(ServedVersion(version=version.version, uri=uri, format="skops", sha256=_digest(uri)))

    def settle(self, dies_after: int | None = None) -> None:
        """Carries plans out until nothing is left to do; the shell may die once on the way."""
        self.world.dies_after = dies_after
        for _ in range(40):
            try:
                before = (dict(self.world.answers), self.world.writes)
                made = self.step()
            except ShellDied:
                self.world.restart_shell()
                self.judge_topic()
                continue
            self.judge_topic()
            self.judge_phases()
            if made.wake_after != 0.0 and before == (self.world.answers, self.world.writes):
                break
        else:
            raise AssertionError("the plan never rests")
        self.world.dies_after = None

    def step(self) -> Plan:
        world = self.world
        observed = world.observed()
        made = plan(world.desired(), observed, world.now)
        again = with_fields(
            observed,
            record=decode_record(encode_record(observed.record)) if observed.record is not None else None,
        )
        assert plan(world.desired(), again, world.now) == made, "a restarted brain plans something else"
        self.judge_gate(observed, made)
        world.carry_out(made)
        return made

    # Invariants.

    def judge_gate(self, observed: Observed, made: Plan) -> None:
        """The weight rises, or the candidate becomes stable, only when every expected slot is ready for it."""
        before = observed.record.assignment if observed.record is not None else None
        after = made.record.assignment if made.record is not None else None
        if before is None or after is None or before.candidate is None:
            return
        rises = after.candidate == before.candidate and after.weight > before.weight
        promoted = after.stable == before.candidate
        if rises or promoted:
            assert observed.replicas, "the weight rose without a slot"
            for ordinal in range(observed.replicas):
                report = observed.slots[ordinal]
                assert report.age_seconds <= 3, f"the weight rose, and slot {ordinal} was silent"
                status = report.status
                assert status.generation == before.generation, f"the weight rose, and slot {ordinal} was behind"
                assert status.candidate is not None
                assert (status.candidate.sha256, status.candidate.state) == (before.candidate.sha256, "ready")

    def judge_topic(self) -> None:
        for assignment in self.world.published[self.seen :]:
            if assignment is None:
                continue
            assert assignment.generation >= self.highest, "a generation went back"
            self.highest = assignment.generation
        self.seen = len(self.world.published)

    def judge_phases(self) -> None:
        for uid, version in self.world.resources.items():
            if version.status:
                phase = version.status["phase"]
                before: Any = self.phases.get(uid, phase)
                assert is_legal(before, phase), f"{uid}: {before} -> {phase}"
                self.phases[uid] = phase

    @invariant()
    def one_stable(self) -> None:
        live = [uid for uid, version in self.world.resources.items() if version.status.get("phase") == "Live"]
        assert len([uid for uid in live if uid in self.living()]) <= 1

    @invariant()
    def nothing_failed_is_a_candidate(self) -> None:
        if self.world.record is None or self.world.topic is None or self.world.kafka_problem is not None:
            return
        record = decode_record(self.world.record)
        failed = {
            entry.pin.sha256 for entry in record.entries.values() if entry.failure is not None and entry.pin is not None
        }
        if self.world.topic.candidate is not None:
            assert self.world.topic.candidate.sha256 not in failed

    @invariant()
    def no_finalizer_waits_for_kafka_longer_than_a_minute(self) -> None:
        for uid in self.world.resources:
            if uid in self.deleted_at:
                assert self.world.now - self.deleted_at[uid] <= 61

    @invariant()
    def rest_is_rest(self) -> None:
        """A plan that was carried out is not made again: the next one writes nothing."""
        if self.world.kafka_problem is not None:
            return
        writes = self.world.writes
        self.world.step()
        assert self.world.writes == writes, f"an idle plan writes {self.written}"


Rolling.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestRolling = Rolling.TestCase
