"""How announced models are rolled out: `rollcast up --rollout FILE`."""

from pathlib import Path
from typing import Any

from rollcast_common.config import load_yaml
from rollcast_common.errors import ConfigError
from rollcast_rollout.schema import API_VERSION, KIND
from rollcast_rollout.validation import validate

__all__ = ["load_rollout"]

_WHERE = "spec.rollout."


def load_rollout(path: Path) -> dict[str, Any]:
    """`spec.rollout` of the ModelVersions to come. Raises ConfigError with all that is wrong with it."""
    rollout = load_yaml(path)
    probe = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": "any"},
        "spec": {"model": "any", "version": "any", "artifact": {"uri": "s3://any/any"}, "rollout": rollout},
    }
    if violations := validate(probe):
        # Named as they stand in the file.
        said = sorted(str(violation).replace(_WHERE, "") for violation in violations)
        raise ConfigError(f"{path}: not a spec.rollout: {'; '.join(said)}")
    return rollout
