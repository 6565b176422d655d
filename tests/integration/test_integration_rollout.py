"""Stable and candidate side by side in real slots: by key, in shadow, with every way to fail, and nothing is lost."""

import contextlib
import json
import os
import pickle
import signal
from collections import Counter
from pathlib import Path

import pytest
import xxhash
from tests.env.predictor import Requests, Slot, World
from tests.env.records import streaming

from rollcast_common.contracts import PredictionBins, PredictorStatus, ServedVersion
from rollcast_common.contracts.assignment import salt_of

_MOODY = Path(__file__).parents[2] / "services" / "predictor" / "tests" / "importable"
_ROWS = [b'{"x":%d}' % number for number in range(200)]


@pytest.fixture
def requests(world: World) -> Requests:
    return world.requests()


@pytest.fixture
def stable(world: World) -> ServedVersion:
    return world.publish("v1", 2)


@pytest.fixture
def slot(world: World, stable: ServedVersion) -> Slot:
    return world.serve(stable.version)


def wait_status(world: World, condition: str, slot: Slot) -> PredictorStatus:
    """Until the slot's last status makes the condition, an expression over `s`, true."""

    def found() -> PredictorStatus | None:
        status = world.status()
        return status if status is not None and eval(condition, {"s": status}) else None  # noqa: S307  # a test's own words

    status: PredictorStatus = slot.wait(found, condition)
    return status


def test_a_canary_answers_its_keys_and_no_others(
    world: World, requests: Requests, slot: Slot, stable: ServedVersion
) -> None:
    candidate = world.put_model("v2", 3)
    with streaming(requests, _ROWS, keys=400):
        for weight in (5.0, 25.0, 50.0):
            world.assign(stable, candidate, weight=weight, rollout=2)
            generation = world.generation
            wait_status(world, f"s.generation == {generation} and s.candidate and s.candidate.state == 'ready'", slot)
            before = slot.metric("candidate_predictions_total")[""]
            slot.wait(lambda: slot.metric("candidate_predictions_total")[""] > before + 100, "it answers")  # noqa: B023  # at once
        world.assign(candidate)
        slot.wait_for_version("v2")
        done = slot.metric("predictions_total")[""]
        slot.wait(lambda: slot.metric("predictions_total")[""] > done + 1000, "it answers all")
    world.wait_answered(requests, [slot])
    answers = world.check_exactly_once(requests)
    assert answers.dead_letters == []
    seed = int(salt_of(candidate.sha256), 16)
    seen: Counter[tuple[float, str]] = Counter()
    weights = {2: 5.0, 3: 25.0, 4: 50.0}
    for key, prediction in answers.predictions:
        x = json.loads(bytes(prediction.features))["x"]
        assert prediction.value() == pytest.approx(x * (2 if prediction.version == "v1" else 3))
        weight = weights.get(prediction.generation, 0.0)
        routed = xxhash.xxh3_64_intdigest(key or b"", seed) % 10_000 < weight * 100
        if prediction.track == "candidate":
            assert routed
        seen[weight, "fallback" if prediction.fallback else prediction.track] += 1
        if routed:
            assert prediction.track == "candidate"
    for weight in weights.values():
        # It was loaded while the weight stood already; what came before is stable's, and says so.
        share = (seen[weight, "candidate"] + seen[weight, "fallback"]) / sum(
            count for (found, _), count in seen.items() if found == weight
        )
        assert share == pytest.approx(weight / 100, abs=0.1)
    status = wait_status(world, f"s.generation == {world.generation}", slot)
    assert status.candidate is None
    assert status.serving == candidate.sha256


def test_in_shadow_outputs_are_stables_and_everything_is_compared(
    world: World, requests: Requests, slot: Slot, stable: ServedVersion
) -> None:
    candidate = world.put_model("v2", 3)
    world.assign(stable, candidate, shadow=True, rollout=7, collect_samples=True)
    wait_status(world, "s.candidate and s.candidate.state == 'ready'", slot)
    with streaming(requests, _ROWS, keys=400):
        status = wait_status(
            world, "s.comparison.rows > 1000 and len(s.samples) >= 500 and sum(s.comparison.cost_bins) > 10", slot
        )
        assert status.rollout == 7
        assert status.comparison.disagreements > 0.9 * status.comparison.rows
        assert status.comparison.errors == 0
        assert set(status.samples) <= {2.0 * x for x in range(200)}
        assert slot.metric("compared_rows_total")['result="different"'] > 1000
        assert min(slot.metric("compared_score_seconds_total").values()) > 0
        bins = PredictionBins(edges=(100.0, 200.0, 300.0, 400.0))
        world.assign(stable, candidate, shadow=True, rollout=7, bins=bins)
        status = wait_status(world, "sum(s.candidate_counts.bins) > 500", slot)
        # Stable says 0 to 398, the candidate 0 to 597.
        assert status.stable_counts.bins[4] == 0
        assert status.candidate_counts.bins[4] > 0
        assert status.samples == []
    world.wait_answered(requests, [slot])
    answers = world.check_exactly_once(requests)
    assert {(p.version, p.track) for _, p in answers.predictions} == {("v1", "stable")}
    told = world.read_shadow()
    assert {(p.version, p.track) for p in told} == {("v2", "candidate")}
    assert len(told) > 1000
    assert all(p.value() == pytest.approx(3 * json.loads(bytes(p.features))["x"]) for p in told)


@pytest.fixture
def moody(world: World) -> ServedVersion:
    path = world.folder / "moody.pkl"
    # As pickle would write it, without importing a module that only hosts know.
    path.write_bytes(b"cmoody\nMoody\n(tR.")
    world.store.put_once("models/moody.pkl", path)
    return world.served("models/moody.pkl")


@pytest.fixture
def allowing(world: World, stable: ServedVersion) -> Slot:
    python_path = os.pathsep.join([str(_MOODY), *filter(None, [os.environ.get("PYTHONPATH")])])
    options = ["--allow-pickle", "--batch-deadline-seconds", "2"]
    return world.serve(stable.version, *options, environ={"PYTHONPATH": python_path})


@pytest.mark.parametrize("mood", ["raises", "sleeps", "leaves"])
def test_what_the_candidate_fails_stable_answers(
    world: World, requests: Requests, allowing: Slot, stable: ServedVersion, moody: ServedVersion, mood: str
) -> None:
    world.assign(stable, moody, weight=50.0)
    wait_status(world, "s.candidate and s.candidate.state == 'ready'", allowing)
    for number in range(300):
        row = {"x": number, "mood": mood if number == 150 else "good"}
        requests.send(json.dumps(row).encode(), b"key-%d" % (number % 20))
    world.wait_answered(requests, [allowing])
    answers = world.check_exactly_once(requests)
    assert answers.dead_letters == []
    failed = [p for _, p in answers.predictions if json.loads(bytes(p.features))["mood"] == mood]
    (answer,) = failed
    if answer.track == "candidate":
        assert answer.fallback
        assert answer.value() == 300
        status = wait_status(world, "s.candidate_counts.errors", allowing)
        assert status.candidate_counts.fallbacks >= 1
        kinds = {"raises": (0, 0), "sleeps": (1, 0), "leaves": (0, 1)}[mood]
        assert (status.candidate_counts.timeouts, status.candidate_counts.deaths) == kinds
        # Whatever became of its host, it is asked again.
        wait_status(world, "s.candidate and s.candidate.state == 'ready'", allowing)


def test_a_killed_candidate_costs_nobody_an_answer_and_comes_back(
    world: World, requests: Requests, slot: Slot, stable: ServedVersion
) -> None:
    candidate = world.put_model("v2", 3)
    world.assign(stable, candidate, weight=50.0)
    wait_status(world, "s.candidate and s.candidate.state == 'ready'", slot)
    with streaming(requests, _ROWS, keys=400):
        for _ in range(3):
            pid = slot.wait(lambda: slot.health()["candidate_pid"], "it has a host")
            before = slot.metric("candidate_predictions_total")[""]
            slot.wait(lambda: slot.metric("candidate_predictions_total")[""] > before + 100, "it answers")  # noqa: B023  # at once
            with contextlib.suppress(ProcessLookupError):  # on a busy machine it may have been slow, and replaced
                os.kill(pid, signal.SIGKILL)
            slot.wait(lambda: slot.health()["candidate_pid"] != pid, "another host")  # noqa: B023  # at once
    world.wait_answered(requests, [slot])
    answers = world.check_exactly_once(requests)
    assert answers.dead_letters == []
    wait_status(world, "s.candidate_counts.deaths + s.candidate_counts.timeouts >= 3", slot)


def test_an_abort_takes_the_candidate_off_within_a_second(
    world: World, requests: Requests, slot: Slot, stable: ServedVersion
) -> None:
    candidate = world.put_model("v2", 3)
    world.assign(stable, candidate, weight=50.0)
    wait_status(world, "s.candidate and s.candidate.state == 'ready'", slot)
    with streaming(requests, _ROWS, keys=400):
        before = slot.metric("candidate_predictions_total")[""]
        slot.wait(lambda: slot.metric("candidate_predictions_total")[""] > before + 500, "it answers")
        world.assign(stable)
        wait_status(world, f"s.generation == {world.generation} and s.candidate is None", slot)
        after = slot.metric("predictions_total")[""]
        slot.wait(lambda: slot.metric("predictions_total")[""] > after + 1000, "stable answers on")
    world.wait_answered(requests, [slot])
    answers = world.check_exactly_once(requests)
    # By the slot's own clock: from the first answer under the new assignment on, there is none of the candidate's.
    since = min(p.prediction_time for _, p in answers.predictions if p.generation == world.generation)
    late = [p for _, p in answers.predictions if p.version == "v2" and p.prediction_time > since + 1000]
    assert late == []


def test_a_candidate_that_cannot_be_loaded_is_reported_and_stable_answers_its_keys(
    world: World, requests: Requests, slot: Slot, stable: ServedVersion
) -> None:
    (world.folder / "bad.pkl").write_bytes(pickle.dumps({"no": "model"}))
    ref = world.store.put_once("models/bad.pkl", world.folder / "bad.pkl")
    world.assign(stable, world.served(ref.uri), weight=50.0)
    status = wait_status(world, "s.candidate and s.candidate.state == 'refused'", slot)
    assert status.candidate is not None
    assert status.candidate.reason == "UntrustedArtifact"
    assert "a pickle can run any code" in (status.candidate.message or "")
    requests.send_x(range(200))
    world.wait_answered(requests, [slot])
    answers = world.check_exactly_once(requests)
    assert {p.version for _, p in answers.predictions} == {"v1"}
    assert {p.fallback for _, p in answers.predictions if p.track == "candidate"} == {True}


def test_a_tombstone_drains_the_slot_and_a_new_assignment_wakes_it(
    world: World, requests: Requests, slot: Slot, stable: ServedVersion
) -> None:
    requests.send_x(range(100))
    world.wait_answered(requests, [slot])
    world.put_assignment(None)
    slot.wait(lambda: not slot.health()["ready"], "it serves no longer")
    assert slot.child.alive
    slot.wait(lambda: slot.metric("model_info") == {}, "it shows no model")
    assert [slot.metric(name)[""] for name in ("ready", "assigned_partitions", "lag_records")] == [0, 0, 0]
    requests.send_x(range(100, 200))
    world.generation = 0
    world.assign(stable)
    slot.wait_for_version("v1")
    world.wait_answered(requests, [slot])
    world.check_exactly_once(requests)
    assert slot.terminate() == 0
