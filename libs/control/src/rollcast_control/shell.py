"""What a shell is to the control loop: where one model's ModelVersions and record lie, and what runs its slots."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rollcast_rollout.model_version import ModelVersion
from rollcast_rollout.plan import Event, Workload
from rollcast_rollout.record import Record

__all__ = ["Shell", "ShellUnavailable"]


class ShellUnavailable(Exception):
    """The API server, or the disk, does not answer now. Nothing is lost: the plan is made again."""


class Shell(Protocol):
    """Of one model. Every method may raise ShellUnavailable; each is safe to repeat."""

    def model_versions(self) -> Sequence[ModelVersion]:
        """All of the model, those under deletion too."""
        ...

    def read_record(self) -> Record | None: ...

    def write_record(self, record: Record) -> None: ...

    def delete_record(self) -> None: ...

    def replicas(self) -> int | None:
        """Slots that should run now; None while there is no workload."""
        ...

    def apply_workload(self, workload: Workload | None) -> None:
        """Called with every plan; costs nothing where nothing is to be changed. None: what runs is removed."""
        ...

    def write_status(self, uid: str, status: Mapping[str, Any]) -> None: ...

    def take_off_action(self, uid: str) -> None: ...

    def release(self, uid: str) -> None:
        """Take our finalizer off."""
        ...

    def post(self, event: Event) -> None: ...
