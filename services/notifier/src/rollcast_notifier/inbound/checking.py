"""A person's features against a model's card: what fits, what is missing, unknown or wrong, in sentences. Pure."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from rollcast_common.models.card import Feature, ModelCard
from rollcast_notifier.inbound.numbers import NotANumber, read_number

__all__ = ["Checked", "check_features", "example_of", "guessed", "wanted_of"]

_MOST_NAMED = 12


@dataclass(slots=True)
class Checked:
    features: dict[str, Any] = field(default_factory=dict)
    """As they are sent to the model."""
    problems: list[str] = field(default_factory=list)
    """With one of these it is not sent."""
    notes: list[str] = field(default_factory=list)
    """What was understood, and what is unusual."""


def check_features(card: ModelCard, given: Mapping[str, Any]) -> Checked:
    checked = Checked()
    by_name = {feature.name: feature for feature in card.input.features}
    by_lower = {name.lower(): name for name in by_name}  # a phone begins every message with a capital letter
    for written, value in given.items():
        name = written if written in by_name else by_lower.get(written.lower(), "")
        if not name:
            near = difflib.get_close_matches(written.lower(), list(by_lower), n=1)
            hint = f"; did you mean {by_lower[near[0]]}?" if near else "."
            checked.problems.append(f"{card.model} knows no {_shown(written)}{hint}")
        elif name in checked.features:
            checked.problems.append(f"{name} stands there twice.")
        else:
            _check(by_name[name], value, card.input.missing_values, checked)
    missing = [
        f"{feature.name} ({_kind(feature)})"
        for feature in card.input.features
        if feature.required and checked.features.get(feature.name) is None and not _was_given(feature, given)
    ]
    if missing:
        more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        checked.problems.append(f"{', '.join(missing[:_MOST_NAMED])}{more}: missing.")
    return checked


def guessed(given: Mapping[str, Any]) -> dict[str, Any]:
    """For a model without a card: a text that is plainly a number is one."""
    features: dict[str, Any] = {}
    for name, value in given.items():
        features[name] = value
        if isinstance(value, str):
            try:
                number = read_number(value)
            except NotANumber:
                continue
            if number.note is None:
                features[name] = number.value
    return features


def wanted_of(card: ModelCard) -> str:
    """The features in a line: `winery (text), year (number, may be left out)`."""
    named = [
        f"{feature.name} ({_kind(feature)}{'' if feature.required else ', may be left out'})"
        for feature in card.input.features[:_MOST_NAMED]
    ]
    more = len(card.input.features) - len(named)
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")


def example_of(card: ModelCard) -> str | None:
    """A message that this model can be asked with, made of a row that it was checked with."""
    for golden in card.golden_rows[:1]:
        row = msgspec.json.decode(golden.row)
        if not isinstance(row, dict):
            continue
        names = [feature.name for feature in card.input.features if row.get(feature.name) is not None]
        values = {name: row[name] if isinstance(row[name], str) else _as_text(row[name]) for name in names}
        if any('"' in text for pair in values.items() for text in pair):
            return f"ask {card.model} {msgspec.json.encode({name: row[name] for name in names}).decode()}"
        return f"ask {card.model} " + " ".join(f"{_quoted(name)}={_quoted(text)}" for name, text in values.items())
    return None


def _check(feature: Feature, value: Any, missing_values: tuple[str, ...], checked: Checked) -> None:
    if value is None or (isinstance(value, str) and value.strip() in missing_values):
        checked.features[feature.name] = None
        if feature.required:
            checked.problems.append(f"{feature.name} ({_kind(feature)}) is needed, and was {_shown(value)}.")
    elif feature.type == "number":
        _check_number(feature, value, checked)
    else:
        _check_text(feature, value, checked)


def _check_number(feature: Feature, value: Any, checked: Checked) -> None:
    if isinstance(value, str):
        try:
            number = read_number(value)
        except NotANumber as problem:
            checked.problems.append(f"{feature.name} should be a number: {problem}")
            return
        value = number.value
        if number.note:
            checked.notes.append(f"{feature.name}: {number.note}")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        checked.problems.append(f"{feature.name} should be a number, was {_shown(value)}.")
        return
    checked.features[feature.name] = value
    low, high = feature.minimum, feature.maximum
    if (low is not None and value < low) or (high is not None and value > high):
        checked.notes.append(
            f"{feature.name} {_as_text(value)} is unlike all that the model has seen ({_range(low, high)})."
        )


def _check_text(feature: Feature, value: Any, checked: Checked) -> None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        checked.problems.append(f"{feature.name} should be a text, was {_shown(value)}.")
        return
    text = value if isinstance(value, str) else _as_text(value)
    checked.features[feature.name] = text
    if not feature.categories or text in feature.categories:
        return
    knows_all = feature.category_count == len(feature.categories)
    near = difflib.get_close_matches(text, feature.categories, n=1, cutoff=0.8)
    if near:
        checked.notes.append(f"{feature.name} {_shown(text)}: did you mean {near[0]}?")
    elif knows_all:
        checked.notes.append(f"{feature.name} {_shown(text)} is new to the model.")


def _was_given(feature: Feature, given: Mapping[str, Any]) -> bool:
    """Then it has been complained about already."""
    return any(name.lower() == feature.name.lower() for name in given)


def _kind(feature: Feature) -> str:
    return "number" if feature.type == "number" else "text"


def _range(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"{_as_text(low)} to {_as_text(high)}"
    return f"from {_as_text(low)}" if low is not None else f"up to {_as_text(high)}"


def _as_text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) and abs(value) < 1e6 else str(value)  # noqa: PLR2004  # all digits shown


def _quoted(text: str) -> str:
    return text if text and not set(text) & set(" ='\",;\t\n") else f'"{text}"'


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else f"{text[:58]} …"  # noqa: PLR2004  # a line that can be read
