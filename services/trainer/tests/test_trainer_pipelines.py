"""Pipelines: a raw row in, every estimator of the list saved and loaded with our own trusted types."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rollcast_common.models.files import load_model, save_model
from rollcast_trainer.estimators import CLASSIFIERS, REGRESSORS, estimator_class
from rollcast_trainer.pipelines import build_pipeline

FAST = {
    "n_estimators": 5,
    "max_iter": 50,
}


def raw_frame(rows: int = 60) -> pd.DataFrame:
    random = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "size": [f"{value:.3f}" for value in random.uniform(1, 9, rows)],
            "age": ["NA" if index % 7 == 0 else str(index % 11) for index in range(rows)],
            "kind": random.choice(["chair", "table", ""], rows),
            "maker": [f"maker {index % 13}" for index in range(rows)],
        },
        dtype=object,
    )


ALL = [("regression", name) for name in REGRESSORS] + [("classification", name) for name in CLASSIFIERS]


@pytest.mark.parametrize("encoding", ["ordinal", "target", "onehot"])
@pytest.mark.parametrize(("task", "name"), ALL)
def test_every_estimator_takes_raw_rows_and_comes_back_from_its_file(
    tmp_path: Path, settings_with: Any, task: Any, name: str, encoding: str
) -> None:
    known = estimator_class(task, name)().get_params()
    settings = settings_with(
        task=task,
        encoding=encoding,
        target_transform="log1p" if task == "regression" else "none",
        estimator={"type": name, "params": {key: value for key, value in FAST.items() if key in known}},
    )
    frame = raw_frame()
    sizes = frame["size"].astype(float).to_numpy()
    target = 10 * sizes if task == "regression" else np.where(sizes > 5, "big", "small")
    model = build_pipeline(settings, settings.features)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=UserWarning)  # 50 rounds are few for a linear model
        model.fit(frame, target)
    save_model(model, tmp_path / "model.skops")
    loaded = load_model(tmp_path / "model.skops", "skops")
    never_seen = pd.DataFrame({"size": ["4"], "age": ["NA"], "kind": ["sofa"], "maker": ["nobody"]}, dtype=object)
    expected, actual = model.predict(never_seen), loaded.predict(never_seen)
    if task == "regression":
        np.testing.assert_allclose(actual, expected)
    else:
        assert actual.tolist() == expected.tolist()


def test_linear_regression_is_a_regressor(settings_with: Any) -> None:
    settings = settings_with(estimator={"type": "LinearRegression"})
    inner = build_pipeline(settings, settings.features)["model"]["estimator"]
    assert type(inner).__name__ == "LinearRegression"
    assert inner.__sklearn_tags__().estimator_type == "regressor"


@pytest.mark.parametrize("encoding", ["ordinal", "target", "onehot"])
def test_encoders_learn_from_training_rows_only(settings_with: Any, encoding: str) -> None:
    settings = settings_with(encoding=encoding)
    train, test = raw_frame(), raw_frame().assign(maker="only in test")
    model = build_pipeline(settings, settings.features).fit(train, np.arange(len(train), dtype=float))
    model.predict(test)
    encoder = model["model"]["encode"].named_transformers_["strings"]
    assert not any("only in test" in categories for categories in encoder.categories_)


def test_the_target_encoder_averages_what_is_learned(settings_with: Any) -> None:
    settings = settings_with(encoding="target", target_transform="log1p")
    frame, target = raw_frame(), np.geomspace(1, 10_000, 60)
    model = build_pipeline(settings, settings.features).fit(frame, target)
    encoder = model["model"].regressor_["encode"].named_transformers_["strings"]
    assert encoder.target_mean_ == pytest.approx(np.log1p(target).mean())


def test_the_seed_makes_a_fit_repeatable_unless_params_say_otherwise(settings_with: Any) -> None:
    def state(params: dict[str, Any]) -> Any:
        settings = settings_with(estimator={"type": "RandomForestRegressor", "params": params})
        return build_pipeline(settings, settings.features)["model"]["estimator"].random_state

    assert state({}) == 1
    assert state({"random_state": 5}) == 5
