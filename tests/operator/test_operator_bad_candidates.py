"""Candidates that must not go live: each is refused or taken back with its own reason, and stable serves on."""

import contextlib
import os
import signal

import pandas as pd
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression
from tests.env.predictor import Requests
from tests.env.records import announced_with_card
from tests.operator.cluster import Cluster
from tests.operator.traffic import checked, traffic


def _ended(cluster: Cluster, name: str, phase: str, reason: str) -> None:
    status = cluster.wait_phase(name, phase)
    assert status["lastFailure"]["reason"] == reason
    assert cluster.condition(name, "Ready")["status"] == "False"
    assert cluster.condition(name, "Ready")["reason"] == reason
    assert "rollout" not in status
    # The event is posted after the status is written.
    cluster.wait(lambda: reason in cluster.events(name), f"event {reason}")
    assert cluster.events(name).count(reason) == 1


@pytest.fixture
def live(cluster: Cluster) -> Cluster:
    cluster.begin()
    cluster.wait_phase(cluster.apply("v1", 2), "Live")
    return cluster


def test_what_cannot_be_served_is_refused_with_its_reason_while_stable_serves(
    live: Cluster, requests: Requests
) -> None:
    cluster = live
    with traffic(requests):
        other = cluster.upload("other", 9)
        name = cluster.apply("wrong", uri=other.uri, artifact={"sha256": "0" * 64})
        _ended(cluster, name, "Failed", "DigestMismatch")

        # The name of a version means the same bytes for ever.
        name = cluster.apply("v1", uri=other.uri, name="line-again")
        _ended(cluster, name, "Failed", "VersionReused")

        name = cluster.apply("nowhere")
        cluster.wait(
            lambda: cluster.condition(name, "ArtifactVerified").get("reason") == "ArtifactNotFound", "it is looked for"
        )
        assert cluster.phase(name) == "Verifying"
        cluster.delete(name)
        cluster.wait(lambda: cluster.get(name) is None, "it is gone")

        stranger = cluster.upload("stranger", 4)
        announced_with_card(cluster.world, stranger, "stranger", sklearn_version="0.17.1")
        name = cluster.apply("stranger")
        _ended(cluster, name, "RolledBack", "VersionMismatch")
        assert "0.17.1" in cluster.status(name)["lastFailure"]["message"]

        model = LinearRegression().fit(pd.DataFrame({"x": [0.0, 1.0], "y": [1.0, 2.0]}), [0.0, 2.0])
        cluster.world.upload(model, "raises")
        name = cluster.apply("raises")
        _ended(cluster, name, "RolledBack", "ErrorRatioExceeded")
    answers = checked(cluster, requests)
    assert {prediction.version for _, prediction in answers.predictions} == {"v1"}
    # And a good one still goes live after all of these.
    cluster.wait_phase("line-v1", "Live")
    with traffic(requests):
        cluster.wait_phase(cluster.apply("v2", 3), "Live")
    checked(cluster, requests)


def _beside_stable(threshold: dict[str, float]) -> dict[str, object]:
    """A long look, and no criterion but the one that is meant: on a busy machine another might be first."""
    off = {"errorRatioAbove": 1, "costRatioAbove": 1_000_000, "predictionDriftAbove": 1_000_000}
    return {"shadow": {"forSeconds": 60}, "steps": [], "abort": {**off, **threshold}}


def test_a_candidate_that_drifts_or_is_slow_or_hangs_goes_back_with_its_reason(
    live: Cluster, requests: Requests
) -> None:
    cluster = live
    rows = pd.DataFrame({"x": [float(x) for x in range(100)]})
    with traffic(requests):
        name = cluster.apply("drifts", 9, rollout=_beside_stable({"predictionDriftAbove": 0.25}))
        _ended(cluster, name, "RolledBack", "PredictionDrift")

        slow = RandomForestRegressor(n_estimators=200, n_jobs=1, random_state=7).fit(rows, 2 * rows["x"])
        cluster.world.upload(slow, "slow")
        name = cluster.apply("slow", rollout=_beside_stable({"costRatioAbove": 2.0}))
        _ended(cluster, name, "RolledBack", "CostRatioExceeded")

        steps = {"shadow": {"forSeconds": 0}, "steps": [{"weight": 50, "forSeconds": 60}]}
        name = cluster.apply("hangs", 5, rollout={**_beside_stable({}), **steps})
        (slot,) = cluster.kubelet.slots().values()

        def hung() -> bool:
            """A host that is stopped answers no more than one that hangs; the one that replaces it is stopped, too."""
            if pid := slot.health().get("candidate_pid"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            return cluster.phase(name) == "RolledBack"

        cluster.wait(hung, "it is taken back")
        _ended(cluster, name, "RolledBack", "CandidateTimesOut")
    cluster.world.wait_answered(requests, [slot])
    answers = cluster.world.check_exactly_once(requests)
    assert answers.dead_letters == []
    assert {prediction.version for _, prediction in answers.predictions} <= {"v1", "hangs"}
