"""How good a model is on rows that it never saw, beside a dummy that ignores the row."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn import metrics
from sklearn.dummy import DummyClassifier, DummyRegressor

from rollcast_trainer.estimators import Task

__all__ = ["Evaluation", "classification_metrics", "evaluate", "regression_metrics"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`predictions[i]` belongs to test row i; `baseline` has the same names as `metrics`."""

    metrics: dict[str, float]
    baseline: dict[str, float]
    predictions: np.ndarray


def regression_metrics(*, truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Keyword-only: r2 with its arguments swapped is another, plausible number.

    r2 has no unit, the others have the target's.
    """
    return {
        "r2": float(metrics.r2_score(y_true=truth, y_pred=predicted)),
        "mae": float(metrics.mean_absolute_error(y_true=truth, y_pred=predicted)),
        "median_ae": float(metrics.median_absolute_error(y_true=truth, y_pred=predicted)),
        "rmse": float(metrics.root_mean_squared_error(y_true=truth, y_pred=predicted)),
    }


def classification_metrics(
    *,
    truth: np.ndarray,
    predicted: np.ndarray,
    probabilities: np.ndarray | None = None,
    classes: np.ndarray | None = None,
) -> dict[str, float]:
    """`probabilities` (rows of `truth`, columns of `classes`) adds log_loss, if `classes` holds all of its labels."""
    present = np.unique(truth)
    result = {
        "accuracy": float(metrics.accuracy_score(y_true=truth, y_pred=predicted)),
        # The mean recall of the classes that are there: balanced_accuracy_score, without its warning about others.
        "balanced_accuracy": float(
            metrics.recall_score(y_true=truth, y_pred=predicted, labels=present, average="macro", zero_division=0)
        ),
        "f1_macro": float(metrics.f1_score(y_true=truth, y_pred=predicted, average="macro", zero_division=0)),
    }
    if probabilities is not None and classes is not None and np.isin(present, classes).all():
        result["log_loss"] = float(metrics.log_loss(y_true=truth, y_proba=probabilities, labels=classes))
    return result


def evaluate(
    task: Task,
    model: Any,
    train_target: np.ndarray,
    test_frame: pd.DataFrame,
    test_target: np.ndarray,
) -> Evaluation:
    """The model on the held-out rows; the dummy has learned from the same training target."""
    predictions = np.asarray(model.predict(test_frame))
    nothing, no_train = np.zeros((len(test_target), 1)), np.zeros((len(train_target), 1))
    if task == "regression":
        dummy = DummyRegressor(strategy="median").fit(no_train, train_target)
        return Evaluation(
            regression_metrics(truth=test_target, predicted=predictions),
            regression_metrics(truth=test_target, predicted=dummy.predict(nothing)),
            predictions,
        )
    # "prior" says the most frequent class too, and gives the classes' shares as probabilities.
    dummy = DummyClassifier(strategy="prior").fit(no_train, train_target)
    probable = hasattr(model, "predict_proba")
    return Evaluation(
        classification_metrics(
            truth=test_target,
            predicted=predictions,
            probabilities=model.predict_proba(test_frame) if probable else None,
            classes=model.classes_,
        ),
        classification_metrics(
            truth=test_target,
            predicted=dummy.predict(nothing),
            probabilities=dummy.predict_proba(nothing) if probable else None,
            classes=dummy.classes_,
        ),
        predictions,
    )
