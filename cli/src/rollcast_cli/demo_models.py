"""The demo's second model, its bad one, and how either is rolled out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from rollcast_cli.examples import Example
from rollcast_cli.local.stack import LocalStack
from rollcast_cli.local.state import StateFolder
from rollcast_common.artifacts import ArtifactStore
from rollcast_common.config import load_yaml
from rollcast_common.models.card import card_key
from rollcast_control.bridge import name_for
from rollcast_rollout.schema import API_VERSION, KIND

__all__ = ["ROLLOUT", "apply_bad", "more_trees"]

# Short enough to be watched; the defaults take two and a half minutes.
ROLLOUT = {
    "shadow": {"forSeconds": 2},
    "steps": [
        {"weight": 5, "forSeconds": 2, "minPredictions": 20},
        {"weight": 25, "forSeconds": 2, "minPredictions": 50},
        {"weight": 50, "forSeconds": 2, "minPredictions": 100},
    ],
    # Both versions share two cores with everything else of this demo.
    "abort": {"costRatioAbove": 8},
}
_BAD_ROLLOUT = {
    "shadow": {"forSeconds": 0},
    "steps": [{"weight": 25, "forSeconds": 60, "minPredictions": 2000}],
    "abort": {"costRatioAbove": 8},
}
_BAD_ESTIMATOR = {"regression": "HistGradientBoostingRegressor", "classification": "HistGradientBoostingClassifier"}


def more_trees(example: Example, folder: StateFolder) -> Path:
    """The example's training file, its estimator a little larger: the usual next version."""

    def grown(_: str, estimator: dict[str, Any]) -> dict[str, Any]:
        params = dict(estimator.get("params") or {})
        return {**estimator, "params": {**params, "max_iter": int(params.get("max_iter", 100)) + 10}}

    return _changed(example, folder, "second", grown)


def _changed(
    example: Example, folder: StateFolder, name: str, change: Callable[[str, dict[str, Any]], dict[str, Any]]
) -> Path:
    config = load_yaml(example.config)
    config["estimator"] = change(config["task"], config["estimator"])
    path = folder.path / f"{name}-train.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def apply_bad(stack: LocalStack, example: Example, folder: StateFolder, meanwhile: Callable[[], None]) -> str:
    """A model that has learnt nothing, uploaded by hand, and a ModelVersion that somebody wrote for it."""
    path = _changed(
        example,
        folder,
        "bad",
        lambda task, _: {"type": _BAD_ESTIMATOR[task], "params": {"learning_rate": 1e-9, "max_iter": 1}},
    )
    output = folder.path / "bad"
    version = stack.train(path, example.data, output=output, meanwhile=meanwhile)
    store = ArtifactStore(stack.stack.s3_params())
    ref = store.put_once(f"by-hand/{version}.skops", output / f"{version}.skops")
    store.put_once(card_key(ref.key), output / f"{version}.card.json")
    stack.model_versions.apply(
        {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": name_for(example.model, version)},
            "spec": {
                "model": example.model,
                "version": version,
                "artifact": {"uri": ref.uri},
                "serving": {"replicas": stack.slots},
                "rollout": _BAD_ROLLOUT,
            },
        }
    )
    return version
