"""From a name to bytes: the answers to `Plan.resolve` become a pin, a problem that may pass, or a failure."""

from msgspec.structs import replace

from rollcast_rollout.changes import failed, with_entry
from rollcast_rollout.model_version import ModelVersion
from rollcast_rollout.observed import ArtifactProblem, Pinned
from rollcast_rollout.record import Failure, Problem, Record
from rollcast_rollout.view import View

__all__ = ["is_asked", "verified"]

_FIRST_RETRY_SECONDS = 2.0
_LAST_RETRY_SECONDS = 60.0
_MESSAGE_CHARACTERS = 300


def verified(view: View, record: Record, version: ModelVersion) -> Record:
    """What the answer changes, if there is one."""
    entry = record.entries[version.uid]
    answer = _answer(view, version)
    if entry.pin is not None or answer is None:
        return record
    if isinstance(answer, Pinned):
        return _pinned(view, record, version, answer)
    if not answer.may_pass:
        return _failed(view, record, version.uid, answer.reason, answer.message)
    known = entry.problem
    if known is None:
        attempts, retry_at = 1, view.now + _FIRST_RETRY_SECONDS
    elif known.retry_at <= view.now:
        attempts = known.attempts + 1
        retry_at = view.now + min(_FIRST_RETRY_SECONDS * 2 ** min(known.attempts, 16), _LAST_RETRY_SECONDS)
    else:
        attempts, retry_at = known.attempts, known.retry_at
    problem = Problem(
        reason=answer.reason, message=answer.message[:_MESSAGE_CHARACTERS], attempts=attempts, retry_at=retry_at
    )
    return with_entry(record, version.uid, problem=problem)


def is_asked(view: View, before: Record, after: Record, version: ModelVersion) -> bool:
    """Whether the shell looks for the bytes now: there is no answer, or it is time to ask again."""
    entry = after.entries[version.uid]
    if entry.pin is not None or entry.failure is not None:
        return False
    if _answer(view, version) is None:
        return True
    earlier = before.entries.get(version.uid)
    if earlier is not None and earlier.failure is not None:
        return True
    asked = earlier.problem.attempts if earlier is not None and earlier.problem is not None else 1
    return entry.problem is not None and entry.problem.attempts > asked


def _answer(view: View, version: ModelVersion) -> Pinned | ArtifactProblem | None:
    """None also when the answer is about what the ModelVersion named before it was edited."""
    answer = view.observed.artifacts.get(version.uid)
    if isinstance(answer, Pinned):
        return answer if answer.served.version == version.version else None
    if answer is not None and answer.version is not None and answer.version != version.version:
        return None
    return answer


def _pinned(view: View, record: Record, version: ModelVersion, found: Pinned) -> Record:
    digest = found.served.sha256
    if version.artifact.sha256 is not None and version.artifact.sha256 != digest:
        message = f"sha256 is {digest}, the ModelVersion names {version.artifact.sha256}"
        return _failed(view, record, version.uid, "DigestMismatch", message)
    known = record.versions.get(version.version)
    if known is not None and known != digest:
        message = (
            f"version {version.version!r} was pinned to sha256 {known} before, and is {digest} now; "
            "give other bytes another version"
        )
        return _failed(view, record, version.uid, "VersionReused", message)
    others = {name: sha256 for name, sha256 in record.versions.items() if name != version.version}
    record = replace(record, versions={**others, version.version: digest})
    return with_entry(record, version.uid, pin=found.served, bins=found.bins, verified=True, problem=None)


def _failed(view: View, record: Record, uid: str, reason: str, message: str) -> Record:
    failure = Failure(reason=reason, message=message[:_MESSAGE_CHARACTERS], time=view.now)
    return failed(with_entry(record, uid, problem=None), uid, failure)
