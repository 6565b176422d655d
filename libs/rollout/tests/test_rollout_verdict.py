"""What is enough to say that a candidate says different things, and what is not."""

import pytest

from rollcast_rollout.model_version import Abort
from rollcast_rollout.record import Tally
from rollcast_rollout.tally import Counts
from rollcast_rollout.verdict import verdict


def counts(candidate: tuple[int, int], *, compared: int, disagreements: int) -> Counts:
    """Two slots, whose stable predictions are spread alike."""
    half = Tally(stable_bins=(900, 600))
    total = Tally(
        candidate_bins=candidate, stable_bins=(1800, 1200), compared_rows=compared, disagreements=disagreements
    )
    return Counts(total, (half, half))


@pytest.mark.parametrize(
    ("candidate", "compared", "disagreements", "reason"),
    [
        # Without a shadow only every 20th batch is compared: at a low rate that is a few rows, and they all differ.
        ((600, 0), 25, 10, "PredictionDrift"),
        ((600, 0), 1000, 400, "PredictionDrift"),
        ((600, 0), 25, 1, None),
        ((600, 0), 0, 0, None),
        # An identical model, on keys that are unlike the others.
        ((600, 0), 1000, 0, None),
        ((600, 0), 1000, 9, None),
        # Too few predictions of its own.
        ((400, 0), 25, 10, None),
        # Another model that says the same things, spread as stable's.
        ((360, 240), 1000, 400, None),
    ],
)
def test_drift_in_canary_without_a_shadow(
    candidate: tuple[int, int], compared: int, disagreements: int, reason: str | None
) -> None:
    seen = counts(candidate, compared=compared, disagreements=disagreements)
    found = verdict(seen, seen, Abort(), paired=False, shadowed=False)
    assert (found.reason if found is not None else None) == reason
