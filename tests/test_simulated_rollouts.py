"""The promise about verdicts, on fewer rollouts than `make simulate-rollouts` has, on data inside scikit-learn."""

from pathlib import Path

import pytest
from bench.simulate_rollouts.candidates import CANDIDATES
from bench.simulate_rollouts.recording import Recording, record
from bench.simulate_rollouts.trial import trial

from rollcast_cli.examples import find_example
from rollcast_rollout.model_version import Rollout

_ROOT = Path(__file__).parents[1]

REASONS = {
    "fails 5 % of rows": "ErrorRatioExceeded",
    "times out on 5 %": "CandidateTimesOut",
    "crashes on 5 %": "CandidateCrashes",
    "3 times as slow": "CostRatioExceeded",
    "shifted predictions": "PredictionDrift",
}


@pytest.fixture(scope="module")
def recording() -> Recording:
    config = _ROOT / "examples" / "breast-cancer" / "train.yaml"
    return record(find_example(config, None, folder=_ROOT))


def test_a_candidate_that_is_as_good_as_stable_goes_live(recording: Recording) -> None:
    ends = [trial(recording, "identical", seed, rollout=Rollout())[0] for seed in range(10)]
    assert ends == ["Live"] * 10


@pytest.mark.parametrize("kind", REASONS)
def test_a_planted_fault_is_caught_for_what_it_is(recording: Recording, kind: str) -> None:
    ends = [trial(recording, kind, seed, rollout=Rollout())[0] for seed in range(10)]
    assert ends == [REASONS[kind]] * 10


def test_every_fault_is_tested() -> None:
    assert set(CANDIDATES) == {"identical", "retrained", *REASONS}
