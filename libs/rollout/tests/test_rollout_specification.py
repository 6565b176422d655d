"""What a rollout does, as a table: each line is what happens, and after `=>` how the ModelVersions then are shown.

What is shown is `<version> <phase> [<weight>] [<reason>]`: the phase, the percentage of keys that the topic gives the
candidate, and the reason of condition Progressing. Two slots are there unless `scale` says otherwise; one second
passes with each line, and what is not said to happen does not.
"""

from dataclasses import dataclass, field
from dataclasses import replace as with_fields
from hashlib import sha256
from typing import Any

import pytest

from rollcast_common.contracts import ServedVersion
from rollcast_rollout.model_version import Abort, Artifact, ModelVersion, Rollout, Serving, Step
from rollcast_rollout.observed import ArtifactProblem, Pinned
from rollcast_rollout.phases import is_legal
from rollcast_rollout.simulation import Behaviour, Refusal, SimulatedSlot, World, serve

SPECIFICATION = {
    "the first version becomes stable at once, and is live when every slot serves it": """
        create 1            => 1 Verifying Verifying
        find 1              => 1 Promoting WaitingForSlots
        wait 2              => 1 Live RolloutComplete
    """,
    "the next one is shadowed, gets its steps, and is promoted": """
        live 1
        create 2            => 1 Live, 2 Verifying
        find 2              => 2 Shadow 0 WaitingForSlots
        wait 2              => 2 Shadow 0 Shadow
        serve 600           => 2 Shadow 0 Shadow
        serve 600
        wait 28             => 2 Canary 5 Canary
        wait 28             => 2 Canary 5 Canary
        wait 3              => 2 Canary 5 WaitingForSamples
        serve 6000          => 2 Canary 25 Canary
        wait 29             => 2 Canary 25 Canary
        wait 1              => 2 Canary 50 Canary
        wait 60             => 1 Superseded, 2 Promoting
        wait 1              => 1 Superseded Superseded, 2 Live RolloutComplete
    """,
    "an artifact that is not there yet is asked for again; one that is refused for good fails": """
        live 1
        problem 2 NotFound may-pass
        create 2            => 2 Verifying NotFound
        wait 60             => 2 Verifying NotFound
        find 2
        wait 60             => 2 Shadow 0
        problem 3 DigestMismatch
        create 3            => 3 Failed 0 DigestMismatch, 2 Shadow
    """,
    "a first version that a slot refuses fails with the slot's reason, and nothing is assigned": """
        refuse 1 1 UntrustedArtifact
        create 1
        find 1              => 1 Promoting
        wait 1              => 1 Failed UntrustedArtifact
        topic               => empty
        create 2
        find 2
        wait 3              => 2 Live, 1 Failed
    """,
    "a name that was pinned to other bytes is refused": """
        live 1
        same-name 2 1
        create 2
        find 2              => 2 Failed VersionReused, 1 Live
    """,
    "the same bytes under another name are promoted at once": """
        live 1
        same-bytes 2 1
        create 2
        find 2              => 2 Promoting, 1 Superseded
        wait 1              => 2 Live
    """,
    "the gate: no weight while a slot is silent, and the deadline ends the wait": """
        live 1
        plain 2
        create 2
        find 2
        silence 1
        wait 5              => 2 Canary 0 WaitingForSlots
        wait 500            => 2 Canary 0 WaitingForSlots
        wait 120            => 2 RolledBack 0 ProgressDeadlineExceeded, 1 Live
    """,
    "the gate: a slot that comes late is waited for": """
        live 1
        plain 2
        create 2
        find 2
        silence 1
        wait 500            => 2 Canary 0 WaitingForSlots
        speak 1
        wait 1              => 2 Canary 10 Canary
    """,
    "the gate: a slot that reports, and has not taken up the assignment, is waited for": """
        canary 2
        deafen 1
        wait 12             => 2 Canary 50 Canary
        wait 20             => 2 Canary 50 WaitingForSlots
        hear 1
        wait 2              => 2 Live
    """,
    "the gate: a restarted slot must be ready again before the weight rises, not while it stays": """
        canary 2
        restart 0           => 2 Canary 10 Canary
        silence 0
        wait 12             => 2 Canary 10 WaitingForSlots
        speak 0
        wait 3              => 2 Canary 50
    """,
    "few samples are waited for, without a deadline": """
        live 1
        create 2
        find 2
        wait 700           => 2 Shadow 0 WaitingForSamples
        serve 600
        serve 600
        wait 1              => 2 Canary 5
        wait 700           => 2 Canary 5 WaitingForSamples
    """,
    "errors in shadow": """
        live 1
        fault 2 errors
        create 2
        find 2
        wait 2
        serve 600           => 2 RolledBack 0 ErrorRatioExceeded, 1 Live
    """,
    "errors in canary": """
        canary 2
        fault 2 errors
        serve 2000          => 2 RolledBack 0 ErrorRatioExceeded, 1 Live
    """,
    "one error among few rows is not evident": """
        canary 2
        fault 2 one-error
        serve 30            => 2 Canary 10
    """,
    "time-outs": """
        canary 2
        fault 2 time-outs
        serve 50            => 2 Canary 10
        serve 50            => 2 RolledBack 0 CandidateTimesOut
    """,
    "crashes": """
        canary 2
        fault 2 crashes
        serve 50            => 2 Canary 10
        serve 50            => 2 RolledBack 0 CandidateCrashes
    """,
    "cost": """
        canary 2
        fault 2 slow
        serve 100           => 2 Canary 10
        serve 1000          => 2 RolledBack 0 CostRatioExceeded
    """,
    "drift": """
        live 1
        fault 2 shift
        create 2
        find 2
        wait 2
        serve 600           => 2 Shadow 0
        serve 600           => 2 RolledBack 0 PredictionDrift
    """,
    "drift can be switched off": """
        live 1
        fault 2 shift
        no-drift 2
        create 2
        find 2
        wait 2
        serve 600
        serve 600
        wait 30             => 2 Canary 5
    """,
    "live error": """
        canary 2
        live-error 2 1.1    => 2 Canary 10
        live-error 2 1.3    => 2 RolledBack 0 LiveErrorRatioExceeded
    """,
    "a slot that refuses the candidate": """
        live 1
        refuse 0 2 IncompatibleRuntime
        create 2
        find 2
        wait 1              => 2 RolledBack 0 IncompatibleRuntime, 1 Live
    """,
    "an aborted version comes back only with retry, as a rollout of its own": """
        canary 2
        fault 2 crashes
        serve 50
        serve 50            => 2 RolledBack 0 CandidateCrashes
        wait 1000           => 2 RolledBack 0
        fault 2 none
        act 2 retry         => 2 Canary 0
        wait 20             => 2 Canary 50
        wait 20             => 2 Live
    """,
    "a newer version takes a running candidate off at once": """
        canary 2
        create 3            => 2 Superseded 0 Superseded, 3 Verifying, 1 Live
        problem 3 UnknownFormat
        find 3              => 3 Failed 0, 2 Canary 0
        wait 1              => 2 Canary 10
    """,
    "of two new ones the higher is rolled": """
        live 1
        create 2
        create 3            => 2 Superseded 0, 3 Verifying
        plain 3
        find 3
        wait 20             => 3 Canary
        wait 20             => 3 Live, 2 Superseded, 1 Superseded
    """,
    "an edited artifact is a new version, edited steps are not": """
        live 1
        plain 2
        create 2
        find 2
        wait 30             => 2 Live
        edit-steps 2        => 2 Live
        edit 1              => 1 Verifying, 2 Live
        find 1
        wait 30             => 1 Live, 2 Superseded
    """,
    "adding the digest is no edit": """
        live 1
        edit-digest 1       => 1 Live RolloutComplete
    """,
    "paused: the weight is held, verdicts are not": """
        canary 2
        act 2 pause         => 2 Paused 10 Paused
        wait 700           => 2 Paused 10 Paused
        act 2 resume        => 2 Canary 50
        act 2 pause         => 2 Paused 50
        fault 2 crashes
        serve 50
        serve 50            => 2 RolledBack 0 CandidateCrashes
    """,
    "paused by its spec": """
        live 1
        paused 2
        create 2            => 2 Verifying
        find 2              => 2 Paused 0 Paused
        wait 700           => 2 Paused 0
        unpause 2           => 2 Shadow 0
    """,
    "promoted by hand: the steps are skipped, the gate is not": """
        canary 2
        silence 1
        wait 3
        act 2 promote       => 2 Promoting 10 WaitingForSlots
        wait 5              => 2 Promoting 10
        speak 1             => 2 Promoting 0
        wait 2              => 2 Live
    """,
    "aborted by hand": """
        canary 2
        act 2 abort         => 2 RolledBack 0 AbortedByHand, 1 Live
    """,
    "aborted by hand before anything was assigned": """
        live 1
        create 2            => 2 Verifying
        act 2 abort         => 2 Failed 0 AbortedByHand
        find 2
        wait 10             => 2 Failed 0
        act 2 retry         => 2 Shadow
    """,
    "rolled back by hand: the next lower one, by the gate alone": """
        canary 2
        wait 30             => 2 Live, 1 Superseded
        act 2 rollback      => 2 RolledBack 0 RolledBackByHand, 1 Promoting
        wait 3              => 1 Live, 2 RolledBack
        act 2 retry         => 1 Live, 2 Canary 0
    """,
    "there is nothing to roll back to": """
        live 1
        act 1 rollback      => 1 Live
        event               => ActionRefused
    """,
    "an action that does not exist is named in an event": """
        live 1
        act 1 explode       => 1 Live
        event               => ActionRefused
    """,
    "other topics than the live ones": """
        live 1
        topic-of 2 other
        create 2            => 2 Pending ServingConflict, 1 Live
        topic-of 2 requests => 2 Verifying
    """,
    "a deleted candidate is taken off": """
        canary 2
        delete 2            => 1 Live 0
        gone 2
    """,
    "a deleted live version stays stable until the next lower one has been rolled out": """
        canary 2
        wait 30             => 2 Live, 1 Superseded
        delete 2            => 1 Shadow 0
        gone 2
        stable              => 2
        wait 5              => 1 Shadow 0
        serve 600
        serve 600
        wait 30             => 1 Canary 5
        stable              => 2
    """,
    "the last one deleted: tombstone, then the finalizer": """
        live 1
        delete 1
        wait 1
        topic               => empty
        gone 1
        workload            => none
        record              => none
    """,
    "the last one deleted while Kafka is away: 60 s, and the tombstone when it is back": """
        live 1
        kafka down
        delete 1
        wait 50             => 1 Live
        wait 10
        gone 1
        kafka up
        wait 1
        topic               => empty
        record              => none
    """,
    "Kafka away: nothing moves, and the time does not count": """
        canary 2
        kafka down          => 2 Canary 10 KafkaUnavailable, 1 Live RolloutComplete
        wait 700           => 2 Canary 10 KafkaUnavailable, 1 Live RolloutComplete
        kafka up
        wait 2              => 2 Canary 10 Canary
        wait 10             => 2 Canary 50
    """,
    "the shell away: the time does not count against the slots": """
        live 1
        plain 2
        create 2
        find 2
        silence 1
        wait 5              => 2 Canary 0 WaitingForSlots
        sleep 700          => 2 Canary 0 WaitingForSlots
        speak 1
        wait 1              => 2 Canary 10
    """,
    "the record lost: it goes on from the topic, with higher generations": """
        canary 2
        lose-record         => 1 Live, 2 Canary 10
        wait 30             => 2 Live, 1 Superseded
    """,
    "the record lost: what failed stays failed": """
        canary 2
        act 2 abort
        lose-record         => 1 Live, 2 RolledBack
        wait 30             => 1 Live, 2 RolledBack
    """,
    "more slots: a new one must be ready too": """
        canary 2
        scale 3             => 2 Canary 10
        wait 30             => 2 Live
    """,
}

TWO_SLOTS = Serving(replicas=2)
PLAIN = Rollout(shadow_seconds=None, steps=(Step(10, 10), Step(50, 10)))

FAULTS = {
    "none": Behaviour(),
    "errors": Behaviour(error_every=20),
    "one-error": Behaviour(error_every=30),
    "time-outs": Behaviour(time_outs=1),
    "crashes": Behaviour(deaths=1),
    "slow": Behaviour(cost=3.0),
    "shift": Behaviour(shift=0.4),
}


@dataclass
class Play:
    """Carries out the lines of one row of the table."""

    world: World = field(default_factory=World)
    drafts: dict[int, ModelVersion] = field(default_factory=dict)
    found: dict[int, Pinned | ArtifactProblem] = field(default_factory=dict)
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    silent: set[int] = field(default_factory=set)
    deaf: set[int] = field(default_factory=set)
    history: dict[str, str] = field(default_factory=dict)
    rows: int = 0

    def run(self, script: str) -> None:
        for line in script.strip().splitlines():
            what, _, expected = line.partition("=>")
            word, *rest = what.split()
            getattr(self, f"do_{word.replace('-', '_')}")(*rest, **({"expected": expected} if word in ASKED else {}))
            if word not in ASKED:
                self.tick()
                self.check(expected, line)

    def tick(self) -> None:
        self.world.now += 1
        for slot in self.world.running():
            if slot.ordinal not in self.silent | self.deaf and self.world.kafka_problem is None:
                slot.follow(self.world.topic, self.world.now)
            slot.swap(self.world.now)
        serve(self.world, self.rows, self.behaviours)
        self.rows = 0
        self.world.report({0, 1, 2, 3} - self.silent)
        self.world.settle()
        for uid, version in self.world.resources.items():
            if version.status:
                phase = version.status["phase"]
                assert is_legal(self.history.get(uid, phase), phase), f"{uid}: {self.history[uid]} -> {phase}"
                self.history[uid] = phase

    def check(self, expected: str, line: str) -> None:
        for each in filter(None, map(str.strip, expected.split(","))):
            number, phase, *more = each.split()
            status = self.world.resources[f"uid-{number}"].status
            progressing = next(c for c in status["conditions"] if c["type"] == "Progressing")
            shown = f"{status['phase']} {progressing}"
            assert status["phase"] == phase, f"{line}: {number} is {shown}"
            for word in more:
                if word[0].isdigit():
                    assert self.world.topic is not None, f"{line}: the topic is empty"
                    assert self.world.topic.weight == float(word), f"{line}: weight is {self.world.topic.weight}"
                else:
                    assert progressing["reason"] == word, f"{line}: {number} is {shown}"

    # What is prepared.

    def draft(self, number: str) -> ModelVersion:
        default = ModelVersion(
            uid=f"uid-{number}",
            name=f"model-{number}",
            namespace="default",
            generation=1,
            created=float(number),
            deleting=False,
            model="model",
            version=f"v{number}",
            artifact=Artifact(f"s3://models/v{number}.skops"),
            serving=TWO_SLOTS,
        )
        return self.drafts.setdefault(int(number), default)

    def change(self, number: str, **changes: Any) -> None:
        version = with_fields(self.draft(number), **changes)
        self.drafts[int(number)] = version
        if version.uid in self.world.resources:
            self.world.edit(version.uid, **changes)

    def digest(self, number: str) -> str:
        found = self.found.get(int(number))
        return found.served.sha256 if isinstance(found, Pinned) else sha256(f"v{number}".encode()).hexdigest()

    def do_plain(self, number: str) -> None:
        self.change(number, rollout=PLAIN)

    def do_paused(self, number: str) -> None:
        self.change(number, rollout=with_fields(self.draft(number).rollout, paused=True))

    def do_unpause(self, number: str) -> None:
        self.change(number, rollout=with_fields(self.draft(number).rollout, paused=False))

    def do_no_drift(self, number: str) -> None:
        self.change(number, rollout=Rollout(abort=Abort(prediction_drift_above=None)))

    def do_topic_of(self, number: str, topic: str) -> None:
        self.change(number, serving=with_fields(TWO_SLOTS, input_topic=topic))

    def do_same_name(self, number: str, other: str) -> None:
        self.change(number, version=f"v{other}")

    def do_same_bytes(self, number: str, other: str) -> None:
        self.found[int(number)] = self.pin(number, self.digest(other))

    def do_problem(self, number: str, reason: str, may_pass: str = "") -> None:
        self.found[int(number)] = ArtifactProblem(reason, f"about v{number}", may_pass=bool(may_pass))
        self.world.store[f"uid-{number}"] = self.found[int(number)]

    def do_fault(self, number: str, kind: str) -> None:
        self.behaviours[self.digest(number)] = FAULTS[kind]

    def do_refuse(self, ordinal: str, number: str, reason: str) -> None:
        slot = self.world.slots.get(int(ordinal)) or self.new_slot(int(ordinal))
        slot.refusals[self.digest(number)] = Refusal(reason, "said the slot")

    def new_slot(self, ordinal: int) -> SimulatedSlot:
        self.world.slots[ordinal] = SimulatedSlot(ordinal)
        return self.world.slots[ordinal]

    # What happens.

    def pin(self, number: str, digest: str) -> Pinned:
        version = self.draft(number)
        served = ServedVersion(version=version.version, uri=version.artifact.uri, format="skops", sha256=digest)
        return Pinned(served)

    def do_create(self, number: str) -> None:
        self.world.create(self.draft(number))

    def do_find(self, number: str) -> None:
        uid = f"uid-{number}"
        found = self.found.get(int(number))
        if not isinstance(found, ArtifactProblem) or found.may_pass:
            found = found if isinstance(found, Pinned) else self.pin(number, self.digest(number))
            found = Pinned(msgspec_version(found.served, self.world.resources[uid].version))
        self.world.store[uid] = found

    def do_live(self, number: str) -> None:
        self.do_create(number)
        self.do_find(number)
        self.do_wait("4")

    def do_canary(self, number: str) -> None:
        self.do_live("1")
        self.do_plain(number)
        self.do_create(number)
        self.do_find(number)
        self.do_wait("4")

    def do_wait(self, seconds: str) -> None:
        for _ in range(int(seconds) - 1):
            self.tick()

    def do_sleep(self, seconds: str) -> None:
        self.world.now += int(seconds)
        self.world.restart_shell()

    def do_serve(self, rows: str) -> None:
        self.rows = int(rows)

    def do_silence(self, ordinal: str) -> None:
        self.silent.add(int(ordinal))

    def do_speak(self, ordinal: str) -> None:
        self.silent.discard(int(ordinal))

    def do_deafen(self, ordinal: str) -> None:
        """It goes on reporting, and follows no assignment."""
        self.deaf.add(int(ordinal))

    def do_hear(self, ordinal: str) -> None:
        self.deaf.discard(int(ordinal))

    def do_restart(self, ordinal: str) -> None:
        self.world.slots[int(ordinal)].restart()

    def do_scale(self, count: str) -> None:
        for number in self.drafts:
            self.change(str(number), serving=Serving(replicas=int(count)))

    def do_act(self, number: str, action: str) -> None:
        self.world.act(f"uid-{number}", action)

    def do_delete(self, number: str) -> None:
        self.world.delete(f"uid-{number}")

    def do_edit(self, number: str) -> None:
        self.found.pop(int(number), None)
        self.world.store.pop(f"uid-{number}", None)
        self.change(number, version=f"v{number}b", artifact=Artifact(f"s3://models/v{number}b.skops"), rollout=PLAIN)
        self.found[int(number)] = self.pin(number, sha256(f"v{number}b".encode()).hexdigest())

    def do_edit_steps(self, number: str) -> None:
        self.change(number, rollout=Rollout(steps=(Step(1, 1),)))

    def do_edit_digest(self, number: str) -> None:
        artifact = with_fields(self.draft(number).artifact, sha256=self.digest(number))
        self.change(number, artifact=artifact)

    def do_live_error(self, number: str, ratio: str) -> None:
        self.world.live_error_ratio[self.digest(number)] = float(ratio)

    def do_kafka(self, state: str) -> None:
        self.world.kafka_problem = "no broker answers" if state == "down" else None

    def do_lose_record(self) -> None:
        self.world.record = None
        self.world.restart_shell()
        self.world.report()

    # What is asked.

    def do_topic(self, *, expected: str) -> None:
        assert expected.strip() == "empty"
        assert self.world.topic is None

    def do_stable(self, *, expected: str) -> None:
        assert self.world.topic is not None
        assert self.world.topic.stable.version == f"v{expected.strip()}"

    def do_gone(self, number: str, *, expected: str) -> None:
        assert not expected
        assert f"uid-{number}" not in self.world.resources

    def do_workload(self, *, expected: str) -> None:
        assert expected.strip() == "none"
        assert self.world.workload is None

    def do_record(self, *, expected: str) -> None:
        assert expected.strip() == "none"
        assert self.world.record is None

    def do_event(self, *, expected: str) -> None:
        assert self.world.events[-1].reason == expected.strip()


ASKED = {"topic", "stable", "gone", "workload", "record", "event"}


def msgspec_version(served: ServedVersion, version: str) -> ServedVersion:
    return ServedVersion(version=version, uri=served.uri, format=served.format, sha256=served.sha256)


@pytest.mark.parametrize("title", SPECIFICATION)
def test_a_rollout(title: str) -> None:
    Play().run(SPECIFICATION[title])
