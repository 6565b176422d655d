"""The models of chaos: their function is known, and two values of x are poison to the process that holds them."""

import os
import time
from pathlib import Path
from typing import Any

import joblib
import numpy as np

__all__ = ["DEADLY_X", "SLOW_SECONDS", "SLOW_X", "Line", "save_line"]

DEADLY_X = -13.0
SLOW_X = -14.0
SLOW_SECONDS = 30.0
"""Beyond any batch deadline here."""


class Line:
    """Answers `slope * x`. A class of its own, hence pickled: no estimator kills its process on purpose."""

    def __init__(self, slope: float) -> None:
        self.slope = slope
        self.feature_names_in_ = ["x"]

    def predict(self, rows: Any) -> Any:
        x = rows["x"].to_numpy()
        if np.any(x == DEADLY_X):
            os._exit(13)
        if np.any(x == SLOW_X):
            time.sleep(SLOW_SECONDS)
        return self.slope * x


def save_line(slope: float, path: Path) -> None:
    joblib.dump(Line(slope), path)
