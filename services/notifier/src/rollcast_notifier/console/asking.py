"""A form made of a model card, and what a person filled in turned into a request. Pure."""

from collections.abc import Mapping
from typing import Any

import msgspec

from rollcast_common.models.card import Feature, ModelCard
from rollcast_notifier.inbound.numbers import NotANumber, read_number

__all__ = ["WrongFields", "features_of", "form_of", "summary_of"]

_MOST_TEXT = 2000
_MOST_CATEGORIES = 200


class WrongFields(Exception):
    """What is wrong, by the name of the field."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {problem}" for name, problem in problems.items()))
        self.problems = dict(problems)


def form_of(card: ModelCard) -> dict[str, Any]:
    """As the browser builds its form."""
    return {
        "version": card.version,
        "task": card.task,
        "target": card.data.target,
        "estimator": card.estimator,
        "trained_at": card.trained_at,
        "rows": card.data.train_rows,
        "classes": list(card.classes),
        "metrics": card.metrics,
        "baseline_metrics": card.baseline_metrics,
        "fields": [_field(feature) for feature in card.input.features],
        "example": _example(card),
    }


def _example(card: ModelCard) -> dict[str, str] | None:
    """A row that the model promises an answer to, as a person would type it."""
    for golden in card.golden_rows:
        row = msgspec.json.decode(golden.row)
        if isinstance(row, dict):
            return {str(name): str(value) for name, value in row.items() if value is not None}
    return None


def _field(feature: Feature) -> dict[str, Any]:
    return {
        "name": feature.name,
        "type": feature.type,
        "required": feature.required,
        "minimum": feature.minimum,
        "maximum": feature.maximum,
        "categories": list(feature.categories[:_MOST_CATEGORIES]),
        "category_count": feature.category_count,
    }


def features_of(card: ModelCard, given: Mapping[str, Any]) -> dict[str, Any]:
    """The request's features; a field that was left empty, or that says so, is not in it. Raises WrongFields.

    Outside of minimum and maximum is no mistake: the model was not trained there, but people may ask.
    """
    features: dict[str, Any] = {}
    problems: dict[str, str] = {}
    known = {feature.name for feature in card.input.features}
    for name in given:
        if name not in known:
            problems[str(name)[:80]] = "the model has no such field"
    for feature in card.input.features:
        text = str(given.get(feature.name, "")).strip()
        if not text or text in card.input.missing_values:
            if feature.required:
                problems[feature.name] = "is needed"
        elif len(text) > _MOST_TEXT:
            problems[feature.name] = f"may have {_MOST_TEXT} characters"
        elif feature.type == "number":
            try:
                features[feature.name] = read_number(text).value
            except NotANumber as problem:
                problems[feature.name] = f"should be a number: {problem}"
        else:
            features[feature.name] = text
    if problems:
        raise WrongFields(problems)
    return features


def summary_of(model: str, features: Mapping[str, Any]) -> str:
    """What the person asked, as they would have written it."""
    return f"{model}: " + ", ".join(f"{name} {value}" for name, value in features.items())
