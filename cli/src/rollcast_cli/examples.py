"""The examples that `rollcast up` and `rollcast demo` run: the wines where their file is, else what ships along."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rollcast_common.config import load_yaml
from rollcast_common.errors import ConfigError

__all__ = ["Example", "find_example"]

_WINES = "wines_SPA.csv"


@dataclass(frozen=True, slots=True)
class Example:
    config: Path
    model: str
    data: Path | None
    """A CSV file, or None where the training file names a data set that ships inside scikit-learn."""
    why: str


def find_example(
    config: Path | None, data: Path | None, *, folder: Path | None = None, environ: Mapping[str, str] | None = None
) -> Example:
    """What the user names, else the wine prices where `WINES` or ../shared/data has the file, else breast-cancer.

    Raises ConfigError when a named file is missing.
    """
    folder = folder or Path.cwd()
    environ = os.environ if environ is None else environ
    if config is not None:
        return Example(config, _model_of(config), data, f"example: {config}, as asked")
    examples = folder / "examples"
    if not examples.is_dir():
        raise ConfigError(f"{examples}: no such folder; run this in the repository, or give --train-config FILE")
    wines = data or _wines(folder, environ)
    if wines is not None:
        chosen = examples / "wine-price" / "train.yaml"
        return Example(chosen, _model_of(chosen), wines, f"example: wine-price, on {wines}")
    chosen = examples / "breast-cancer" / "train.yaml"
    return Example(
        chosen,
        _model_of(chosen),
        None,
        "example: breast-cancer, on data inside scikit-learn, because there is no WINES=path/to/wines_SPA.csv",
    )


def _wines(folder: Path, environ: Mapping[str, str]) -> Path | None:
    if named := environ.get("WINES"):
        path = Path(named)
        if not path.is_file():
            raise ConfigError(f"WINES was {named!r}: no such file; give the path of {_WINES}, or leave WINES unset")
        return path
    beside = folder.parent / "shared" / "data" / _WINES
    return beside if beside.is_file() else None


def _model_of(config: Path) -> str:
    model = load_yaml(config).get("model")
    if not isinstance(model, str):
        raise ConfigError(f"{config}: model is missing")
    return model
