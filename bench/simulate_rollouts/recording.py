"""What real models said about real rows, and how long batches took: recorded once, replayed in every rollout."""

import time
from dataclasses import dataclass, field

import numpy as np
from sklearn.base import clone
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # publishes no types

from rollcast_cli.examples import Example
from rollcast_trainer.datasets import read_dataset
from rollcast_trainer.pipelines import build_pipeline
from rollcast_trainer.preparation import prepare
from rollcast_trainer.settings import load_settings

__all__ = ["Recording", "record"]

_BATCH_ROWS = 50
_BATCHES = 200


@dataclass(frozen=True, slots=True)
class Recording:
    """`keys[i]`, `stable[i]` and `retrained[i]` are of row i. `ratios` are of batches that the same model scored
    twice: what a cost ratio shows where there is no difference.
    """

    name: str
    keys: np.ndarray
    """Small whole numbers, one for each entity."""

    stable: np.ndarray
    """Predictions; of classes, their numbers."""

    retrained: np.ndarray
    """Those of the same pipeline, fitted on the other half of the rows."""

    ratios: np.ndarray
    classes: bool = field(default=False)


def record(example: Example) -> Recording:
    settings = load_settings(example.config, data=example.data)
    examples = prepare(read_dataset(settings.dataset), settings)
    pipeline = build_pipeline(settings, examples.features)
    half = np.random.default_rng(settings.split.seed).permutation(len(examples.frame)) % 2 == 0
    with threadpool_limits(1):
        stable = clone(pipeline).fit(examples.frame[half], examples.target[half])
        other = clone(pipeline).fit(examples.frame[~half], examples.target[~half])
        said, said_by_other = stable.predict(examples.frame), other.predict(examples.frame)
        ratios = []
        for batch in range(_BATCHES):
            start = batch * _BATCH_ROWS % max(len(examples.frame) - _BATCH_ROWS, 1)
            rows = examples.frame.iloc[start : start + _BATCH_ROWS]
            begin = time.perf_counter()
            stable.predict(rows)
            middle = time.perf_counter()
            stable.predict(rows)
            ratios.append((time.perf_counter() - middle) / (middle - begin))
    classes = settings.task == "classification"
    if classes:
        labels = {label: number for number, label in enumerate(sorted(set(said) | set(said_by_other)))}
        said, said_by_other = (np.array([labels[label] for label in each]) for each in (said, said_by_other))
    entities = examples.groups if examples.groups is not None else np.arange(len(examples.frame))
    keys = np.unique(entities.astype(str), return_inverse=True)[1]
    return Recording(example.model, keys, said, said_by_other, np.array(ratios), classes=classes)
