"""What is counted while a candidate is there, and when counting begins anew."""

from typing import Any

import pytest

from rollcast_common.contracts import Assignment, PredictionBins, ServedVersion
from rollcast_common.contracts.predictor_status import COST_BINS, cost_bin
from rollcast_predictor.tally import Binner, Tally

STABLE = ServedVersion(version="v1", uri="s3://b/v1", format="skops", sha256="ab" * 32)
CANDIDATE = ServedVersion(version="v2", uri="s3://b/v2", format="skops", sha256="cd" * 32)


def assignment(**changes: Any) -> Assignment:
    values: dict[str, Any] = {"generation": 2, "rollout": 2, "shadow": True, **changes}
    return Assignment(model="m", stable=STABLE, candidate=CANDIDATE, **values)


@pytest.mark.parametrize(
    ("bins", "result", "index"),
    [
        (PredictionBins(edges=(1.0, 2.0)), b"0.5", 0),
        (PredictionBins(edges=(1.0, 2.0)), b"1", 0),
        (PredictionBins(edges=(1.0, 2.0)), b"1.5", 1),
        (PredictionBins(edges=(1.0, 2.0)), b"2.0", 1),
        (PredictionBins(edges=(1.0, 2.0)), b"1e9", 2),
        (PredictionBins(edges=(1.0, 2.0)), b'"red"', None),
        (PredictionBins(edges=(1.0, 2.0)), b"[1, 2]", None),
        (PredictionBins(classes=("red", "white")), b'"white"', 1),
        (PredictionBins(classes=("red", "white")), b'"rose"', 2),
        (PredictionBins(classes=(0, 1)), b"1", 1),
        (PredictionBins(classes=(0, 1)), b"[0]", None),
    ],
)
def test_a_prediction_has_a_bin(bins: PredictionBins, result: bytes, index: int | None) -> None:
    assert Binner(bins)(result) == index


def test_outputs_count_for_whose_rows_they_were() -> None:
    tally = Tally()
    tally.follow(assignment(bins=PredictionBins(edges=(10.0,))))
    # Two of stable's own, two that the candidate failed or could not be asked for, three of the candidate's.
    tally.outputs(stable=[b"1", b"20", b"3", b"4"], candidate=[b"5", b"60", b"7"], errors=1, fallbacks=2)
    counts = tally.snapshot()
    assert (counts.stable.rows, counts.stable.predictions, counts.stable.bins) == (2, 4, [3, 1])
    assert (counts.candidate.rows, counts.candidate.errors, counts.candidate.fallbacks) == (4, 1, 2)
    assert (counts.candidate.predictions, counts.candidate.bins) == (3, [2, 1])


def test_a_comparison_blames_the_candidate_only_for_what_stable_can_do() -> None:
    tally = Tally()
    tally.follow(assignment(bins=PredictionBins(edges=(10.0,))))
    pairs = [(b"1", b"1"), (b"2", b"2.0"), (b"3", b"30"), (b"4", b""), (b"", b"5"), (b"", b"")]
    assert tally.compared(pairs, in_shadow=True, seconds=(0.010, 0.020)) == (2, 1, 1)
    counts = tally.snapshot()
    comparison = counts.comparison
    assert (comparison.rows, comparison.errors, comparison.disagreements) == (4, 1, 1)
    assert [index for index in range(COST_BINS) if comparison.cost_bins[index]] == [cost_bin(2.0)]
    # In shadow its predictions are no outputs, so they are counted here.
    assert counts.candidate.bins == [2, 1]


def test_in_canary_a_comparison_counts_no_prediction_twice() -> None:
    tally = Tally()
    tally.follow(assignment(bins=PredictionBins(edges=(10.0,))))
    tally.compared([(b"1", b"1")], in_shadow=False, seconds=(0.01, 0.01))
    assert tally.snapshot().candidate.bins == [0, 0]


def test_counting_begins_anew_with_a_rollout_and_histograms_with_other_bins() -> None:
    tally = Tally()
    tally.follow(assignment())
    tally.outputs(stable=[b"1"], candidate=[b"2"], errors=0, fallbacks=0)
    tally.follow(assignment(generation=3, bins=PredictionBins(edges=(10.0,))))
    counts = tally.snapshot()
    assert (counts.rollout, counts.candidate.predictions, counts.candidate.bins) == (2, 1, [0, 0])
    tally.outputs(stable=[b"1"], candidate=[b"2"], errors=0, fallbacks=0)
    tally.follow(assignment(generation=4, shadow=False, weight=5.0, bins=PredictionBins(edges=(10.0,))))
    assert tally.snapshot().candidate.bins == [1, 0]
    tally.follow(assignment(generation=5, rollout=5))
    counts = tally.snapshot()
    assert (counts.rollout, counts.candidate.predictions, counts.candidate.bins) == (5, 0, [])


def test_samples_are_stables_first_predictions_and_only_labels() -> None:
    tally = Tally()
    tally.outputs(stable=[b"1"], candidate=[], errors=0, fallbacks=0)
    tally.follow(assignment(collect_samples=True))
    tally.outputs(stable=[b"1.5", b'"red"', b"[1]", b"true"], candidate=[b"9"], errors=0, fallbacks=0)
    assert tally.snapshot().samples == [1.5, "red", True]
    tally.outputs(stable=[b"2"] * 5000, candidate=[], errors=0, fallbacks=0)
    assert len(tally.snapshot().samples) == 1000
    tally.follow(assignment(generation=3))
    assert tally.snapshot().samples == []
