"""`train.yaml`: what to train on, what to predict, and with what."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from rollcast_common.config import Settings, load_yaml
from rollcast_common.errors import ConfigError
from rollcast_common.identity import ModelIdentity
from rollcast_trainer.estimators import Encoding, EstimatorKind, Task, catalogue

__all__ = [
    "DatasetSettings",
    "EstimatorSettings",
    "FeatureSettings",
    "SklearnSet",
    "SplitSettings",
    "TrainSettings",
    "load_settings",
]

SklearnSet = Literal["breast_cancer", "diabetes", "digits", "iris", "wine"]

_LARGEST_SEED = 2**32 - 1


class DatasetSettings(Settings):
    """A CSV file, or a set that ships inside scikit-learn. With neither, `--data` names the file."""

    csv: Path | None = None
    """Relative to the folder of the training file. UTF-8, the first line names the columns."""
    separator: str = Field(default=",", min_length=1, max_length=1)
    sklearn: SklearnSet | None = None
    """Its target column is called `target`."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.csv is not None and self.sklearn is not None:
            raise ValueError("csv and sklearn are both set; may be one of them")
        return self


class FeatureSettings(Settings):
    """The columns that the model sees; whatever else a row holds is ignored."""

    numbers: tuple[str, ...] = ()
    strings: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        names = [*self.numbers, *self.strings]
        if not names:
            raise ValueError("names no column; list some under numbers or strings")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{', '.join(twice)} is listed twice; a column is a number or a string")
        return self


class SplitSettings(Settings):
    test_size: float = Field(default=0.2, gt=0, lt=1)
    """The share of rows held out, as near to it as whole groups allow."""
    seed: int = Field(default=42, ge=0, le=_LARGEST_SEED)
    """Also the estimator's `random_state`, unless its params set one."""
    group_by: str | None = None
    """Rows with the same text here are never on both sides."""


class EstimatorSettings(Settings):
    type: str
    params: dict[str, Any] = Field(default_factory=dict)


class TrainSettings(Settings):
    model: str
    """The name that requests, topics and kubectl know."""
    task: Task
    dataset: DatasetSettings = DatasetSettings()
    target: str | None = None
    """The column to predict. May be left out for scikit-learn's own sets."""
    features: FeatureSettings | None = None
    """May be left out for scikit-learn's own sets: then all their columns."""
    missing_values: tuple[str, ...] = ("", "NA", "N/A", "nan", "null")
    """Texts that mean "not known"."""
    split: SplitSettings = SplitSettings()
    target_transform: Literal["none", "log1p"] = "none"
    """log1p: the model learns log(1 + target), which suits prices; predictions are in the target's own unit."""
    encoding: Encoding | None = None
    """How strings become numbers: ordinal (a number each), target (the mean target seen with it) or onehot
    (a column each). Left out, the estimator's own good choice."""
    max_categories: int = Field(default=100, ge=2, le=10_000)
    """ordinal and onehot keep this many values of a string; rarer ones become one."""
    estimator: EstimatorSettings

    @field_validator("model")
    @classmethod
    def _legal_name(cls, value: str) -> str:
        try:
            ModelIdentity(installation="any", namespace="any", model=value)
        except ConfigError as error:
            raise ValueError(str(error).removeprefix("model ")) from None
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        allowed = catalogue(self.task)
        if self.estimator.type not in allowed:
            raise ValueError(
                f"estimator.type was {self.estimator.type!r}, for task {self.task} may be {', '.join(sorted(allowed))}"
            )
        if self.task == "classification" and self.target_transform != "none":
            raise ValueError(f"target_transform was {self.target_transform!r}, for task classification may be none")
        if self.dataset.sklearn is None:
            for name in ("target", "features"):
                if getattr(self, name) is None:
                    raise ValueError(f"{name} is missing; only scikit-learn's own data sets go without")
        if self.features and self.target in (*self.features.numbers, *self.features.strings):
            raise ValueError(f"target {self.target} is also listed under features; nobody knows it beforehand")
        return self

    @property
    def kind(self) -> EstimatorKind:
        return catalogue(self.task)[self.estimator.type]

    @property
    def target_name(self) -> str:
        return self.target or "target"


def load_settings(path: Path, *, data: Path | None = None, seed: int | None = None) -> TrainSettings:
    """Read a training file; `data` and `seed` go over what it says.

    The CSV's path in the result is usable from here. Raises ConfigError.
    """
    source = str(path)
    settings = TrainSettings.from_mapping(load_yaml(path), source=source)
    dataset = settings.dataset
    if data is not None:
        if dataset.sklearn is not None:
            raise ConfigError(f"--data is given, but {source} trains on scikit-learn's own set {dataset.sklearn}")
        dataset = dataset.model_copy(update={"csv": data})
    elif dataset.csv is not None:
        dataset = dataset.model_copy(update={"csv": path.parent / dataset.csv})
    elif dataset.sklearn is None:
        raise ConfigError(f"{source} names no data set: give --data FILE.csv, or set dataset.csv or dataset.sklearn")
    split = settings.split if seed is None else settings.split.model_copy(update={"seed": seed})
    return settings.model_copy(update={"dataset": dataset, "split": split})
