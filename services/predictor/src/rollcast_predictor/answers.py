"""What the rows of a batch got, and from whom. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from rollcast_predictor.wire import Scored

__all__ = ["Answers", "Origin", "RowFailure", "merged"]

RowFailure = tuple[int, str, str]
"""Row, DeadLetterReason, message."""


class Origin(Enum):
    STABLE = "stable"
    CANDIDATE = "candidate"
    FALLBACK = "fallback"
    """The candidate's row, answered by stable: it failed it, or could not be asked."""


@dataclass(slots=True)
class Answers:
    """`results[row]` is JSON, empty for a row in `errors`. A row that is not in `origins` is stable's own.

    Fewer results than rows: the others are to be asked again.
    """

    results: list[bytes]
    errors: list[RowFailure]
    origins: Mapping[int, Origin] = field(default_factory=dict)
    candidate_errors: int = 0
    """Rows that the candidate was asked for and failed, and stable did not."""

    @classmethod
    def of_stable(cls, scored: Scored) -> "Answers":
        return cls(scored.results, scored.errors)

    def split(self, at: int) -> "tuple[Answers, Answers]":
        """As `Batch.split`; what the candidate failed is counted with the first part."""
        before = [error for error in self.errors if error[0] < at]
        after = [(row - at, reason, message) for row, reason, message in self.errors if row >= at]
        return (
            Answers(
                self.results[:at],
                before,
                {row: origin for row, origin in self.origins.items() if row < at},
                self.candidate_errors,
            ),
            Answers(self.results[at:], after, {row - at: origin for row, origin in self.origins.items() if row >= at}),
        )

    def of(self, *origins: Origin) -> list[bytes]:
        """The results of these origins, without failed rows."""
        return [
            result
            for row, result in enumerate(self.results)
            if result and self.origins.get(row, Origin.STABLE) in origins
        ]


def merged(
    stable: Scored,
    candidate: Scored | None,
    *,
    rows: Collection[int],
    again: Sequence[int],
    answered_again: Scored | None,
) -> Answers:
    """Stable's answers, with the candidate's in its `rows`, except those in `again`: stable was asked for them too.

    `answered_again` holds stable's answer to `again`, row by row in that order; None when stable's own answer has
    all rows. `candidate` is None when it could not be asked: then no row is its error.
    """
    results = list(stable.results)
    errors = [error for error in stable.errors if error[0] not in rows]
    origins: dict[int, Origin] = {}
    if answered_again is not None:
        for position, row in enumerate(again):
            results[row] = answered_again.results[position]
        failed_again = {again[position]: (reason, text) for position, reason, text in answered_again.errors}
    else:
        failed_again = {row: (reason, text) for row, reason, text in stable.errors if row in rows}
    fallen_back = set(again)
    for row in rows:
        if row not in fallen_back:
            assert candidate is not None  # noqa: S101  # else all its rows have fallen back
            origins[row] = Origin.CANDIDATE
            results[row] = candidate.results[row]
            continue
        origins[row] = Origin.FALLBACK
        if row in failed_again:
            errors.append((row, *failed_again[row]))
            results[row] = b""
    lost = sum(1 for row in again if row not in failed_again) if candidate is not None else 0
    return Answers(results, sorted(errors), origins, lost)
