"""What speaks against a candidate. Each criterion stands alone, and any one is enough."""

from dataclasses import dataclass

from rollcast_rollout.cost import median_lower_bound
from rollcast_rollout.drift import MIN_SAMPLES, design_effect, psi, psi_noise
from rollcast_rollout.error_ratio import wilson_lower_bound
from rollcast_rollout.model_version import Abort
from rollcast_rollout.record import Tally
from rollcast_rollout.tally import Counts

__all__ = ["Verdict", "verdict"]

_EVIDENT = 3
"""Errors, time-outs or crashes. One may be chance, such as a machine that was away for a moment; so may two."""

_AGREEING = 0.01
"""Where less than this share of compared rows got another prediction, PSI cannot come near its threshold: what it
shows then is the difference between groups of keys. Without a shadow only every 20th batch is compared, so the share's
lower bound is asked, which a few rows that all differ are enough for."""

_LIKE_ROWS = 2.0
"""A design effect up to which keys are as good as rows."""

_DOUBT = 4.0
"""The design effect is an estimate from a few slots, and itself far off: twice or half is common."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a candidate is taken off. `reason` is a word for machines, `message` a line."""

    reason: str
    message: str


def verdict(window: Counts, whole: Counts, limits: Abort, *, paired: bool, shadowed: bool) -> Verdict | None:
    """From the counters of a window, the whole rollout or a step of it.

    `paired`: both versions counted the same rows (shadow); else each counted its own keys (canary). `shadowed`: there
    was a shadow in which the predictions of the same rows were compared.
    """
    total = window.total
    return (
        _crashes(total)
        or _time_outs(total)
        or _errors(total, limits)
        or _cost(total, limits)
        or _drift(window, whole, limits, paired=paired, shadowed=shadowed)
    )


def _crashes(total: Tally) -> Verdict | None:
    if total.deaths < _EVIDENT:
        return None
    return Verdict("CandidateCrashes", f"its model host died {total.deaths} times")


def _time_outs(total: Tally) -> Verdict | None:
    if total.timeouts < _EVIDENT:
        return None
    return Verdict("CandidateTimesOut", f"it did not answer in time {total.timeouts} times")


def _errors(total: Tally, limits: Abort) -> Verdict | None:
    if limits.error_ratio_above is None:
        return None
    errors, rows = total.errors + total.compared_errors, total.rows + total.compared_rows
    least = wilson_lower_bound(errors, rows)
    if errors < _EVIDENT or least <= limits.error_ratio_above:
        return None
    return Verdict(
        "ErrorRatioExceeded",
        f"it failed {errors} of {rows} rows: a ratio of at least {least:.3g}, allowed {limits.error_ratio_above:g}",
    )


def _cost(total: Tally, limits: Abort) -> Verdict | None:
    if limits.cost_ratio_above is None:
        return None
    least = median_lower_bound(total.cost_bins)
    if least is None or least <= limits.cost_ratio_above:
        return None
    return Verdict(
        "CostRatioExceeded",
        f"it takes at least {least:.2f} times as long as stable on the same rows ({sum(total.cost_bins)} batches), "
        f"allowed {limits.cost_ratio_above:g}",
    )


def _drift(window: Counts, whole: Counts, limits: Abort, *, paired: bool, shadowed: bool) -> Verdict | None:
    total = window.total
    if limits.prediction_drift_above is None:
        return None
    if min(sum(total.candidate_bins), sum(total.stable_bins)) < MIN_SAMPLES:
        return None
    effect = 1.0 if paired else _key_effect(window, whole, shadowed=shadowed)
    if effect is None:
        return None
    value = psi(total.candidate_bins, total.stable_bins)
    chance = psi_noise(total.candidate_bins, total.stable_bins, effect)
    if value - chance <= limits.prediction_drift_above:
        return None
    return Verdict(
        "PredictionDrift",
        f"its predictions are spread differently: PSI {value:.2f}, of which {chance:.2f} may be chance, "
        f"allowed {limits.prediction_drift_above:g}",
    )


def _key_effect(window: Counts, whole: Counts, *, shadowed: bool) -> float | None:
    """By how much more the canary's keys may differ from the others than rows would; None: that cannot be told.

    Where keys are entities that ask again and again, the candidate's few keys show another histogram than all the
    others with any model. So after a shadow, in which the same rows were compared, canary adds nothing then.
    """
    total = whole.total
    if wilson_lower_bound(total.disagreements, total.compared_rows) < _AGREEING:
        return None
    effect = design_effect([slot.stable_bins for slot in window.slots])
    if effect is None or effect <= _LIKE_ROWS:
        return effect
    return None if shadowed else effect * _DOUBT
