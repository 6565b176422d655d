"""Where ModelVersions are kept, as a person meets them: a folder on one machine, or a cluster."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from rollcast_common.errors import ConfigError, RollcastError
from rollcast_rollout.validation import Violation

__all__ = [
    "FULL_NAME",
    "RESOURCE_TYPE",
    "Applied",
    "Change",
    "Invalid",
    "NoSuchModelVersion",
    "Resource",
    "Resources",
    "Said",
    "Unavailable",
    "name_of",
]

Resource = dict[str, Any]
Applied = Literal["created", "configured", "unchanged"]

RESOURCE_TYPE = "modelversion.rollcast.dev"
FULL_NAME = "modelversions.rollcast.dev"


def name_of(wanted: Mapping[str, Any]) -> str:
    """As it is written, whatever that is: "None" where there is none."""
    metadata = wanted.get("metadata")
    return str(metadata.get("name") if isinstance(metadata, dict) else None)


class NoSuchModelVersion(ConfigError):
    """There is none of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(f'{FULL_NAME} "{name}" not found; `rollcast get` lists what is there')


class Invalid(ConfigError):
    """What the API server refuses, in its words, in one line and always in the same order."""

    def __init__(self, name: str, violations: list[Violation]) -> None:
        self.violations = sorted(violations, key=str)
        said = "; ".join(str(violation) for violation in self.violations)
        super().__init__(f'The ModelVersion "{name}" is invalid: {said}')


class Unavailable(RollcastError):
    """Whoever keeps the ModelVersions does not answer, or not us."""


@dataclass(frozen=True, slots=True)
class Change:
    """`resource` is how it is after the change; the last known one of what is gone."""

    kind: Literal["ADDED", "MODIFIED", "DELETED"]
    resource: Resource


@dataclass(frozen=True, slots=True)
class Said:
    """An event. `time` is in seconds since the epoch; `model` and `version` are empty where nobody remembers."""

    time: float
    type: str
    reason: str
    name: str
    message: str
    model: str = ""
    version: str = ""
    uid: str = ""


class Resources(Protocol):
    """Every method may raise Unavailable."""

    @property
    def namespace(self) -> str: ...

    def all(self) -> list[Resource]:
        """By age, the oldest first."""
        ...

    def get(self, name: str) -> Resource:
        """Raises NoSuchModelVersion."""
        ...

    def apply(self, wanted: Mapping[str, Any], *, force_conflicts: bool = False) -> Applied:
        """Create it, or make it what is wanted. Raises Invalid, or ConfigError when others own what would change."""
        ...

    def annotate(self, name: str, key: str, value: str) -> None:
        """Raises NoSuchModelVersion."""
        ...

    def delete(self, name: str) -> None:
        """It is gone once nothing holds it any longer. Raises NoSuchModelVersion."""
        ...

    def events(self) -> list[Said]:
        """The oldest first."""
        ...

    def digests(self, model: str) -> dict[str, str]:
        """By version, the sha256 that its bytes were pinned to; empty where that cannot be known."""
        ...

    def watch(self) -> Iterator[Change]:
        """What is there, then every change, for ever."""
        ...
