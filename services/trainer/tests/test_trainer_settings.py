"""A wrong training file: each row is a mistake and the words that must be in the one line about it."""

from pathlib import Path
from typing import Any

import pytest

from rollcast_common.errors import ConfigError
from rollcast_trainer.pipelines import build_pipeline
from rollcast_trainer.settings import load_settings

MISTAKES: list[tuple[dict[str, Any], list[str]]] = [
    ({"modell": "x"}, ["modell", "not a setting here"]),
    ({"model": "Wine Price"}, ["model", "'Wine Price'", "lower-case"]),
    ({"model": 7}, ["model", "7", "string"]),
    ({"task": "clustering"}, ["task", "'clustering'", "'regression' or 'classification'"]),
    ({"dataset": {"csv": "a.csv", "sklearn": "iris"}}, ["dataset", "csv and sklearn are both set"]),
    ({"dataset": {"sklearn": "boston"}}, ["dataset.sklearn", "'boston'", "breast_cancer"]),
    ({"dataset": {"csv": "a.csv", "separator": ";;"}}, ["dataset.separator", "';;'"]),
    ({"dataset": {}}, ["names no data set", "--data"]),
    ({"target": None}, ["target is missing"]),
    ({"features": None}, ["features is missing"]),
    ({"features": {}}, ["features", "names no column"]),
    ({"features": {"numbers": ["size"], "strings": ["size"]}}, ["size is listed twice"]),
    ({"features": {"numbers": ["size", "price"]}}, ["target price is also listed under features"]),
    ({"features": {"numbers": "size"}}, ["features.numbers", "'size'"]),
    ({"split": {"test_size": 1.5}}, ["split.test_size", "1.5", "less than 1"]),
    ({"split": {"test_size": 0}}, ["split.test_size", "greater than 0"]),
    ({"split": {"seed": -1}}, ["split.seed", "-1"]),
    ({"split": {"stratify": "x"}}, ["split.stratify", "not a setting here"]),
    ({"target_transform": "log"}, ["target_transform", "'log'", "'none' or 'log1p'"]),
    ({"encoding": "hash"}, ["encoding", "'hash'", "onehot"]),
    ({"estimator": {"type": "LogisticRegression"}}, ["'LogisticRegression'", "for task regression", "Ridge"]),
    ({"estimator": {"type": "os.system"}}, ["'os.system'", "Ridge"]),
    ({"task": "classification", "estimator": {"type": "LinearRegression"}}, ["for task classification", "Logistic"]),
    (
        {"task": "classification", "estimator": {"type": "LogisticRegression"}, "target_transform": "log1p"},
        ["target_transform", "for task classification may be none"],
    ),
]


@pytest.mark.parametrize(("changes", "words"), MISTAKES)
def test_a_wrong_training_file_is_named(configured: Any, changes: dict[str, Any], words: list[str]) -> None:
    path = configured(**changes)
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    ("estimator", "words"),
    [
        ({"type": "Ridge", "params": {"depth": 3}}, ["estimator.params.depth", "Ridge", "alpha"]),
        ({"type": "Ridge", "params": {"alpha": "much"}}, ["estimator.params", "'alpha'", "'much'"]),
        ({"type": "RandomForestRegressor", "params": {"n_estimators": 0}}, ["'n_estimators'", "Got 0"]),
    ],
)
def test_a_wrong_parameter_is_named_before_anything_is_read(
    settings_with: Any, estimator: dict[str, Any], words: list[str]
) -> None:
    settings = settings_with(estimator=estimator)
    with pytest.raises(ConfigError) as caught:
        build_pipeline(settings, settings.features)
    for word in words:
        assert word in str(caught.value)


def test_the_csv_lies_beside_the_training_file_unless_data_names_another(configured: Any) -> None:
    path = configured()
    assert load_settings(path).dataset.csv == path.parent / "shop.csv"
    assert load_settings(path, data=Path("other.csv")).dataset.csv == Path("other.csv")


def test_data_cannot_replace_a_set_of_scikit_learn(configured: Any) -> None:
    with pytest.raises(ConfigError, match=r"--data is given, but .* iris"):
        load_settings(configured(dataset={"sklearn": "iris"}), data=Path("other.csv"))


def test_seed_goes_over_the_training_file(configured: Any) -> None:
    assert load_settings(configured(), seed=99).split.seed == 99


def test_a_set_of_scikit_learn_needs_neither_target_nor_features(configured: Any) -> None:
    path = configured(
        dataset={"sklearn": "iris"},
        task="classification",
        target=None,
        features=None,
        split={},
        estimator={"type": "LogisticRegression"},
    )
    assert load_settings(path).target_name == "target"
