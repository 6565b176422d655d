"""Who plays now: an assignment, and the versions of it that are loaded."""

from dataclasses import dataclass

from rollcast_common.contracts import Assignment
from rollcast_predictor.served_model import ServedModel

__all__ = ["Lineup"]


@dataclass(frozen=True, slots=True, eq=False)
class Lineup:
    """`stable` may still be the one before the assigned one, as long as that is not ready."""

    assignment: Assignment
    stable: ServedModel
    candidate: ServedModel | None = None

    @property
    def models(self) -> list[ServedModel]:
        return [self.stable] if self.candidate is None else [self.stable, self.candidate]
