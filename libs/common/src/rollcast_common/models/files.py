"""Model files: written as skops, read with our own list of types, never trusting the file's word."""

import re
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sklearn
import skops.io
from sklearn.exceptions import InconsistentVersionWarning
from skops.io.exceptions import UntrustedTypesFoundException

from rollcast_common.contracts import ArtifactFormat
from rollcast_common.errors import ArtifactNotFound, UntrustedArtifact, UnusableModel, VersionMismatch
from rollcast_common.models.allow_list import TRUSTED_TYPES
from rollcast_common.models.archive import check_archive

__all__ = ["check_sklearn_version", "load_model", "save_model"]


def save_model(model: Any, path: Path) -> None:
    skops.io.dump(model, path, compression=zipfile.ZIP_DEFLATED, compresslevel=1)


def load_model(
    path: Path,
    artifact_format: ArtifactFormat,
    *,
    allow_pickle: bool = False,
    trusted_types: Iterable[str] = (),
    max_unpacked_bytes: int | None = None,
) -> Any:
    """The object in a model file.

    `trusted_types` are those of the installation, beyond ours. `allow_pickle` lets a pickle run whatever
    code it holds: only for files that someone vouches for. `max_unpacked_bytes`: see `check_archive`.
    Raises ArtifactNotFound, UntrustedArtifact, UnusableModel (broken file) or VersionMismatch.
    """
    if artifact_format == "pickle" and not allow_pickle:
        raise UntrustedArtifact(
            f"{path.name}: a pickle can run any code when it is loaded, and is not allowed here; "
            "save with skops.io.dump, or allow pickles for this installation and this model"
        )
    if not path.is_file():
        raise ArtifactNotFound(f"{path}: no such file")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", InconsistentVersionWarning)
        model, broken = None, None
        try:
            if artifact_format == "pickle":
                model = _load_pickle(path)
            else:
                check_archive(path, max_unpacked_bytes=max_unpacked_bytes)
                model = _load_skops(path, TRUSTED_TYPES | set(trusted_types))
        except UnusableModel as error:
            broken = error
    # Every estimator in the file warns by itself. Another patch release of the same minor is compatible; another
    # minor is the likelier reason why a file cannot be read, so it is named first.
    for warning in warned:
        if isinstance(warning.message, InconsistentVersionWarning):
            check_sklearn_version(warning.message.original_sklearn_version, path.name)
    if broken is not None:
        raise broken
    return model


def check_sklearn_version(made_with: str, what: str) -> None:
    """Raises VersionMismatch unless `made_with` is this scikit-learn's minor."""
    here = sklearn.__version__
    if _minor(made_with) != _minor(here):
        raise VersionMismatch(
            f"{what}: made with scikit-learn {made_with}, this predictor has {here}; "
            "train it again with this minor, or serve it with an image for that one"
        )


def _minor(version: str) -> str:
    found = re.match(r"\d+\.\d+", version)
    return found.group() if found else version


def _load_skops(path: Path, trusted: set[str] | frozenset[str]) -> Any:
    try:
        return skops.io.load(path, trusted=sorted(trusted))
    except UntrustedTypesFoundException as error:
        untrusted = sorted(set(skops.io.get_untrusted_types(file=path)) - trusted)
        raise UntrustedArtifact(
            f"{path.name}: holds types that are not trusted here: {', '.join(untrusted) or error}; "
            "if they are yours, name them with --trusted-type"
        ) from None
    except MemoryError:
        raise  # says more of the machine than of the file
    except Exception as error:  # a broken file may raise anything
        raise _unreadable(path, error) from error


def _load_pickle(path: Path) -> Any:
    import joblib  # reads its own files and plain pickles alike

    try:
        return joblib.load(path)
    except MemoryError:
        raise  # says more of the machine than of the file
    except Exception as error:  # a broken file may raise anything
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> UnusableModel:
    return UnusableModel(
        f"{path.name}: cannot be read: {type(error).__name__}: {error}; save and upload it again, "
        "or serve it with an image that has what it needs"
    )
