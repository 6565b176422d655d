"""From a table of texts to examples: unique rows, their target parsed, every column checked. Pure."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from rollcast_common.errors import ConfigError, DataError
from rollcast_common.models.rows import RowDecoder
from rollcast_trainer.datasets import Dataset
from rollcast_trainer.settings import FeatureSettings, TrainSettings

__all__ = ["FEWEST_ROWS", "Examples", "prepare"]

FEWEST_ROWS = 20
"""Below this, neither the model nor its figures mean anything."""


@dataclass(frozen=True, slots=True)
class Examples:
    """n rows that can be learned from: `frame` (a column per feature, text as read), `target` and `groups` (n each).

    `rows` of the file were read, `unique_rows` of them differ, and of these `dropped_rows` had no usable
    target.
    """

    frame: pd.DataFrame
    target: np.ndarray
    groups: np.ndarray | None
    features: FeatureSettings
    rows: int
    unique_rows: int
    dropped_rows: int


def prepare(dataset: Dataset, settings: TrainSettings) -> Examples:
    """Raises DataError, ConfigError or UnusableModel naming the column, what it holds, and what to do."""
    source, target_name = dataset.source, settings.target_name
    features = settings.features or FeatureSettings(
        numbers=tuple(name for name in dataset.frame.columns if name != target_name)
    )
    _check_columns(dataset, settings, features)
    RowDecoder(None, [*features.numbers, *features.strings])  # raises UnusableModel for a name that no request can hold
    frame = dataset.frame.drop_duplicates(ignore_index=True)
    unique_rows = len(frame)
    cells = frame[target_name].tolist()
    missing = set(settings.missing_values)
    if settings.task == "regression":
        target, usable = _numeric_target(cells, missing, f"{source}: target column {target_name}")
    else:
        target, usable = _class_target(cells, missing)
    frame, target = frame[usable].reset_index(drop=True), target[usable]
    _check_target(target, settings, unique_rows, source)
    _check_features(frame, features, missing, source)
    group_by = settings.split.group_by
    return Examples(
        frame=frame[[*features.numbers, *features.strings]],
        target=target,
        groups=None if group_by is None else frame[group_by].to_numpy(dtype=object),
        features=features,
        rows=len(dataset.frame),
        unique_rows=unique_rows,
        dropped_rows=unique_rows - len(frame),
    )


def _check_columns(dataset: Dataset, settings: TrainSettings, features: FeatureSettings) -> None:
    wanted: dict[str, list[str] | tuple[str, ...]] = {
        "target": [settings.target_name],
        "features.numbers": features.numbers,
        "features.strings": features.strings,
        "split.group_by": [settings.split.group_by] if settings.split.group_by else [],
    }
    has = list(dataset.frame.columns)
    for setting, names in wanted.items():
        for name in names:
            if name not in has:
                hint = "; is dataset.separator right?" if len(has) == 1 else ""
                raise DataError(
                    f"{dataset.source} has no column {name} (named by {setting}); "
                    f"its columns are {', '.join(map(repr, has))}{hint}"
                )


def _is_missing(cell: str, missing: set[str]) -> bool:
    return cell.strip() in missing


def _number(cell: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _numeric_target(cells: list[str], missing: set[str], where: str) -> tuple[np.ndarray, np.ndarray]:
    """Values (NaN where there is none) and which are usable.

    A few texts among numbers are dropped rows; mostly texts are a wrong setting.
    """
    known = [None if _is_missing(cell, missing) else cell for cell in cells]
    values = [None if cell is None else _number(cell) for cell in known]
    given = sum(cell is not None for cell in known)
    bad = [cell for cell, value in zip(known, values, strict=True) if cell is not None and value is None]
    if given and len(bad) * 2 > given:
        raise DataError(
            f"{where} is not numeric ({bad[0]!r} and {len(bad) - 1} more of {given}); "
            "name another target, or set task: classification"
        )
    target = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return target, ~np.isnan(target)


def _class_target(cells: list[str], missing: set[str]) -> tuple[np.ndarray, np.ndarray]:
    """Class labels: whole numbers when all of them are, else texts."""
    usable = np.array([not _is_missing(cell, missing) for cell in cells], dtype=bool)
    labels = {cell.strip() for cell, use in zip(cells, usable, strict=True) if use}
    if labels and all(_is_whole(label) for label in labels):
        return np.array([int(cell) if use else 0 for cell, use in zip(cells, usable, strict=True)]), usable
    return np.array([cell.strip() for cell in cells]), usable


def _is_whole(label: str) -> bool:
    """Whether it is written as JSON would write it, so that "01" stays a text."""
    try:
        return str(int(label)) == label and abs(int(label)) < 2**53
    except ValueError:
        return False


def _check_target(target: np.ndarray, settings: TrainSettings, unique_rows: int, source: str) -> None:
    name = settings.target_name
    if len(target) == 0:
        raise DataError(f"{source}: target column {name} has no value in any of {unique_rows} rows")
    if len(target) < FEWEST_ROWS:
        raise DataError(
            f"{source}: {len(target)} different rows have a value in target column {name}; "
            f"at least {FEWEST_ROWS} are needed"
        )
    if settings.task == "classification":
        counts = pd.Series(target).value_counts()
        if len(counts) < 2:  # noqa: PLR2004  # there is nothing to tell apart
            raise DataError(
                f"{source}: target column {name} holds one class only ({counts.index[0]!r}); "
                "a classifier needs two or more"
            )
        if len(counts) * 2 > len(target):
            raise DataError(
                f"{source}: target column {name} holds {len(counts)} classes in {len(target)} rows; "
                "name another target, or set task: regression"
            )
        return
    if target.min() == target.max():
        raise DataError(f"{source}: target column {name} is {target[0]:g} in every row; there is nothing to learn")
    if settings.target_transform == "log1p" and target.min() <= -1:
        raise ConfigError(
            f"target_transform was 'log1p', but {source}: column {name} goes down to {target.min():g}, "
            "and log1p needs more than -1; may be none"
        )


def _check_features(frame: pd.DataFrame, features: FeatureSettings, missing: set[str], source: str) -> None:
    for name in (*features.numbers, *features.strings):
        given = [cell for cell in frame[name] if not _is_missing(cell, missing)]
        if not given:
            raise DataError(f"{source}: column {name} has no value in any row; take it out of features")
        if name in features.numbers:
            bad = [cell for cell in given if _number(cell) is None]
            if bad:
                raise DataError(
                    f"{source}: column {name} is listed under features.numbers, but holds {bad[0]!r} "
                    f"({len(bad)} of {len(frame)} rows are no numbers); list the text under missing_values "
                    'if it means "not known", or the column under features.strings'
                )
