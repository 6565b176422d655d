"""A small shop's price list, and training files for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from rollcast_trainer.settings import TrainSettings

SHOP: dict[str, Any] = {
    "model": "shop-price",
    "task": "regression",
    "dataset": {"csv": "shop.csv"},
    "target": "price",
    "features": {"numbers": ["size", "age"], "strings": ["kind", "maker"]},
    "split": {"test_size": 0.25, "seed": 1, "group_by": "maker"},
    "estimator": {"type": "HistGradientBoostingRegressor", "params": {"max_iter": 20, "min_samples_leaf": 5}},
}


def shop_lines(rows: int = 200) -> list[str]:
    """`maker,kind,size,age,price,grade`; every seventh age is not known, every fifth row comes twice."""
    random = np.random.default_rng(7)
    lines = ["maker,kind,size,age,price,grade"]
    for index in range(rows):
        size, kind = random.uniform(1, 9), random.choice(["chair", "table", "lamp"])
        price = 10 * size + {"chair": 0, "table": 30, "lamp": 60}[kind] + random.normal(0, 2)
        age = "NA" if index % 7 == 0 else str(random.integers(0, 50))
        grade = "fine" if price > 80 else "plain"
        line = f"maker {random.integers(0, 25)},{kind},{size:.3f},{age},{price:.2f},{grade}"
        lines += [line, line] if index % 5 == 0 else [line]
    return lines


Configured = Callable[..., Path]


@pytest.fixture
def configured(tmp_path: Path) -> Configured:
    """Write shop.csv and train.yaml, the settings given by name replaced; the answer is train.yaml's path."""

    def write(**changes: Any) -> Path:
        (tmp_path / "shop.csv").write_text("\n".join(shop_lines()) + "\n", encoding="utf-8")
        path = tmp_path / "train.yaml"
        path.write_text(yaml.safe_dump({**SHOP, **changes}), encoding="utf-8")
        return path

    return write


@pytest.fixture
def settings_with() -> Callable[..., TrainSettings]:
    def build(**changes: Any) -> TrainSettings:
        return TrainSettings.from_mapping({**SHOP, **changes}, source="train.yaml")

    return build
