"""The served models as a picture of their rollouts: who answers what share, since when, and how the slots stand."""

import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

from rollcast_common.contracts import Assignment, PredictorStatus, ServedVersion
from rollcast_common.contracts.predictor_status import TrackCounts, VersionReport

__all__ = ["ModelsBoard", "phase_of"]

_SILENT_MS = 10_000
_GONE_MS = 300_000
_MOST_STEPS = 60
_MOST_MODELS = 100
_MOST_SLOTS = 64


def phase_of(assignment: Assignment) -> str:
    """What the assignment alone says about the rollout; the slots may be a moment behind it."""
    if assignment.candidate is None:
        return "live"
    if assignment.weight > 0:
        return "canary"
    return "shadow" if assignment.shadow else "preparing"


class _Model:
    """One model, and the steps by which it came to where it is."""

    def __init__(self) -> None:
        self.assignment: Assignment | None = None
        self.since = 0
        self.change = ""
        self.steps: deque[dict[str, Any]] = deque(maxlen=_MOST_STEPS)

    def assign(self, new: Assignment, time: int) -> None:
        old = self.assignment
        if old is None or _place(old) != _place(new):
            self.since = time
            self.change = _change(old, new)
            self.steps.append(
                {
                    "time": time,
                    "phase": phase_of(new),
                    "weight": new.weight,
                    "stable": new.stable.version,
                    "candidate": new.candidate.version if new.candidate else None,
                }
            )
        self.assignment = new


class ModelsBoard:
    """Written by one thread, read by others. Keys are model identities; a slot's has its ordinal behind it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._models: dict[str, _Model] = {}
        self._slots: dict[str, dict[str, PredictorStatus]] = {}
        self.revision = 0

    def assign(self, identity: str, assignment: Assignment | None, time: int) -> None:
        """None is the model's end."""
        with self._lock:
            self.revision += 1
            if assignment is None:
                self._models.pop(identity, None)
            elif identity in self._models or len(self._models) < _MOST_MODELS:
                self._models.setdefault(identity, _Model()).assign(assignment, time)

    def report(self, key: str, status: PredictorStatus | None) -> None:
        identity, _, ordinal = key.rpartition("/")
        with self._lock:
            self.revision += 1
            slots = self._slots.setdefault(identity, {})
            if status is None:
                slots.pop(ordinal, None)
            elif ordinal in slots or len(slots) < _MOST_SLOTS:
                slots[ordinal] = status

    def picture(self, now_ms: int) -> list[dict[str, Any]]:
        with self._lock:
            return [
                _pictured(identity, model, self._slots.get(identity, {}), now_ms)
                for identity, model in sorted(self._models.items())
                if model.assignment is not None
            ]


def _pictured(identity: str, model: _Model, slots: Mapping[str, PredictorStatus], now_ms: int) -> dict[str, Any]:
    assignment = model.assignment
    assert assignment is not None  # noqa: S101  # the caller chose it so
    known = [status for status in slots.values() if now_ms - status.time < _GONE_MS]
    return {
        "identity": identity,
        "model": assignment.model,
        "generation": assignment.generation,
        "phase": phase_of(assignment),
        "weight": assignment.weight,
        "shadow": assignment.shadow,
        "since": model.since,
        "change": model.change,
        "stable": _version(assignment.stable),
        "candidate": _version(assignment.candidate),
        "steps": list(model.steps),
        "slots": [_slot(status, assignment, now_ms) for status in sorted(known, key=lambda status: status.ordinal)],
    }


def _version(version: ServedVersion | None) -> dict[str, Any] | None:
    if version is None:
        return None
    return {"version": version.version, "format": version.format, "sha256": version.sha256, "uri": version.uri}


def _slot(status: PredictorStatus, assignment: Assignment, now_ms: int) -> dict[str, Any]:
    return {
        "ordinal": status.ordinal,
        "partitions": status.partitions,
        "generation": status.generation,
        "current": status.generation == assignment.generation,
        "silent": now_ms - status.time > _SILENT_MS,
        "time": status.time,
        "stable": _report(status.stable, status.stable_counts),
        "candidate": _report(status.candidate, status.candidate_counts),
        "error": status.last_error,
    }


def _report(report: VersionReport | None, counts: TrackCounts) -> dict[str, Any] | None:
    if report is None:
        return None
    return {
        "version": report.version,
        "state": report.state,
        "reason": report.reason,
        "message": report.message,
        "predictions": counts.predictions,
        "errors": counts.errors,
        "fallbacks": counts.fallbacks,
    }


def _place(assignment: Assignment) -> tuple[object, ...]:
    """Where a rollout stands; a new generation alone (new bins, say) is no step of it."""
    candidate = assignment.candidate
    return (
        phase_of(assignment),
        assignment.weight,
        assignment.stable.sha256,
        assignment.stable.version,
        candidate.sha256 if candidate else None,
    )


def _change(old: Assignment | None, new: Assignment) -> str:
    """What the newest step was, in words."""
    if new.candidate is not None:
        if new.weight:
            return f"{new.candidate.version} answers {new.weight:g} % of the keys"
        what = "is scored beside it, unseen" if new.shadow else "is being loaded"
        return f"{new.candidate.version} {what}"
    if old is None:
        return f"{new.stable.version} answers all requests"
    if old.candidate is not None and old.candidate.sha256 == new.stable.sha256:
        return f"{new.stable.version} was promoted and answers all requests"
    if old.candidate is not None:
        return f"{old.candidate.version} was taken off; {new.stable.version} answers all requests"
    return f"{new.stable.version} answers all requests"
