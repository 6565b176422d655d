"""Slots that will never serve a version."""

from rollcast_common.contracts.predictor_status import VersionReport
from rollcast_rollout.gate import FRESH_SECONDS, expected_slots
from rollcast_rollout.record import RolloutState
from rollcast_rollout.verdict import Verdict
from rollcast_rollout.view import View

__all__ = ["refusal"]

_BELIEVED_AFTER_SECONDS = 10.0


def refusal(view: View, rollout: RolloutState, sha256: str) -> Verdict | None:
    """The first slot's own reason. A report from before this rollout does not count: it may be what was retried for.

    A slot that refuses the only version that there is may have no routing to report a generation of; what it still
    says after 10 s is about this rollout.
    """
    for ordinal in expected_slots(view.observed):
        seen = view.observed.slots.get(ordinal)
        if seen is None or seen.age_seconds > FRESH_SECONDS:
            continue
        status = seen.status
        is_of_now = (
            status.generation >= rollout.id
            or status.rollout == rollout.id
            or view.now - rollout.started >= _BELIEVED_AFTER_SECONDS
        )
        report = _refused(status.candidate, sha256) or _refused(status.stable, sha256)
        if is_of_now and report is not None:
            message = f"slot {ordinal}: {report.message or 'refused'}"
            return Verdict(report.reason or "CandidateRefused", message)
    return None


def _refused(report: VersionReport | None, sha256: str) -> VersionReport | None:
    return report if report is not None and report.sha256 == sha256 and report.state == "refused" else None
