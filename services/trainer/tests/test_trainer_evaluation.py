"""Metrics, by hand and beside the dummy."""

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor

from rollcast_trainer.evaluation import classification_metrics, evaluate, regression_metrics

TRUTH = np.array([1.0, 2.0, 3.0, 4.0])
PREDICTED = np.array([1.0, 2.0, 3.0, 8.0])


def test_regression_metrics_by_hand() -> None:
    found = regression_metrics(truth=TRUTH, predicted=PREDICTED)
    assert found == pytest.approx({"r2": 1 - 16 / 5, "mae": 1.0, "median_ae": 0.0, "rmse": 2.0})


def test_r2_is_not_the_swapped_one() -> None:
    swapped = 1 - 16 / ((PREDICTED - PREDICTED.mean()) ** 2).sum()
    assert regression_metrics(truth=TRUTH, predicted=PREDICTED)["r2"] != pytest.approx(swapped)
    with pytest.raises(TypeError):
        regression_metrics(TRUTH, PREDICTED)  # type: ignore[call-arg]  # that it is refused is the point


def test_classification_metrics_by_hand() -> None:
    found = classification_metrics(truth=np.array(["a", "a", "a", "b"]), predicted=np.array(["a", "a", "b", "b"]))
    assert found == pytest.approx({"accuracy": 0.75, "balanced_accuracy": 5 / 6, "f1_macro": (0.8 + 2 / 3) / 2})


def test_log_loss_is_left_out_when_a_class_was_never_learned() -> None:
    probabilities = np.array([[0.5, 0.5], [0.9, 0.1]])
    classes = np.array(["a", "b"])
    known = classification_metrics(
        truth=np.array(["a", "b"]), predicted=np.array(["a", "a"]), probabilities=probabilities, classes=classes
    )
    assert known["log_loss"] == pytest.approx(-(np.log(0.5) + np.log(0.1)) / 2)
    unknown = classification_metrics(
        truth=np.array(["a", "c"]), predicted=np.array(["a", "a"]), probabilities=probabilities, classes=classes
    )
    assert "log_loss" not in unknown


def test_a_dummy_is_as_good_as_the_baseline() -> None:
    frame = pd.DataFrame({"x": ["1", "2", "3", "4"]})
    numbers = DummyRegressor(strategy="median").fit(frame, TRUTH)
    result = evaluate("regression", numbers, TRUTH, frame, PREDICTED)
    assert result.metrics == result.baseline
    labels = np.array(["a", "a", "a", "b"])
    classes = DummyClassifier(strategy="prior").fit(frame, labels)
    judged = evaluate("classification", classes, labels, frame, labels)
    assert judged.metrics == judged.baseline
    assert judged.baseline["accuracy"] == 0.75
