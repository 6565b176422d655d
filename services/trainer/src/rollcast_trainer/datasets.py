"""From a file, or from inside scikit-learn, to a table of texts: what a request holds, training sees too."""

import csv
import hashlib
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rollcast_common.errors import ConfigError, DataError

if TYPE_CHECKING:
    from rollcast_trainer.settings import DatasetSettings

__all__ = ["Dataset", "read_dataset"]


@dataclass(frozen=True, slots=True)
class Dataset:
    """`frame` holds text only (dtype object), exactly as the file has it: nothing is parsed, nothing is NaN."""

    frame: pd.DataFrame
    source: str
    """A name for people: the file's, or `sklearn:iris`."""
    sha256: str
    """Of the file's bytes; for scikit-learn's own sets, of the table as CSV."""


def read_dataset(settings: "DatasetSettings") -> Dataset:
    """Raises ConfigError when there is no such file, DataError when it is not a table with rows."""
    if settings.sklearn is not None:
        return _sklearn_set(settings.sklearn)
    if settings.csv is None:
        raise ConfigError("no data set is named")
    return _csv_file(settings.csv, settings.separator)


def _csv_file(path: Path, separator: str) -> Dataset:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"data file {path}: no such file; give --data, or correct dataset.csv") from None
    except OSError as error:
        raise ConfigError(f"data file {path}: cannot be read: {error.strerror or error}") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name}: not UTF-8 (byte {error.start}); save it as UTF-8") from None
    frame = _table(text, separator, path.name)
    return Dataset(frame, path.name, hashlib.sha256(data).hexdigest())


def _table(text: str, separator: str, name: str) -> pd.DataFrame:
    """Read strictly: pandas would take a row with one value too many for a row with an index."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows: list[list[str]] = []
    try:
        header = next(reader, [])
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise DataError(
                    f"{name}, line {reader.line_num}: {len(row)} values, but the header names {len(header)} "
                    f"columns; correct the line, or dataset.separator (now {separator!r})"
                )
            rows.append(row)
    except csv.Error as error:
        raise DataError(f"{name}, line {reader.line_num}: not CSV: {error}") from None
    if not header:
        raise DataError(f"{name} is empty; its first line must name the columns")
    if twice := sorted(column for column, count in Counter(header).items() if count > 1):
        raise DataError(f"{name}: the header names {', '.join(twice)} twice; rename one of them")
    if not rows:
        raise DataError(f"{name} has a header, but no row below it")
    return pd.DataFrame(rows, columns=header, dtype=object)


def _sklearn_set(name: str) -> Dataset:
    import sklearn.datasets  # not needed for a CSV file

    bunch: Any = getattr(sklearn.datasets, f"load_{name}")(as_frame=True)
    columns: dict[str, list[str]] = {
        # repr() is the shortest text that reads back as the same number.
        str(column): [repr(float(value)) for value in bunch.data[column]]
        for column in bunch.data.columns
    }
    names = getattr(bunch, "target_names", None)
    target = np.asarray(bunch.target)
    columns["target"] = (
        [repr(float(value)) for value in target] if names is None else [str(names[code]) for code in target]
    )
    frame = pd.DataFrame(columns, dtype=object)
    digest = hashlib.sha256(frame.to_csv(index=False, lineterminator="\n").encode()).hexdigest()
    return Dataset(frame, f"sklearn:{name}", digest)
