"""What a person's text means. Pure: it knows no models.

A text is one of these, and whatever else comes is Unclear with a reason that helps:

    winery=Artadi year=2009                 a request; values with spaces stand in quotes
    ask wine-price winery="Vega Sicilia"    a request to the model that is named
    {"winery": "Artadi", "year": 2009}      a request as JSON, also after `ask wine-price`
    actual 28.50 #k3f9t                     what really happened; without #… it is about what was told last
    models    help
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

__all__ = ["Actual", "Ask", "Help", "ListModels", "Unclear", "Words", "parse"]

_MOST_CHARACTERS = 20_000

# What phones make of plain quotes.
_PLAIN_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "\N{NO-BREAK SPACE}": " "})

_REFERENCE = re.compile(r"(?:^|\s)#(\w+)(?=\s|$)")
_PAIR = re.compile(
    r"""\s*[,;]?\s*
        (?: "(?P<quoted_name>[^"]+)" | (?P<name>[^\s="',;]+) )
        \s*=\s*
        (?: "(?P<double>[^"]*)" | '(?P<single>[^']*)'(?=[\s,;]|$) | (?P<plain>[^\s"]\S*)? )
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Ask:
    """`features` are texts where they came as `name=value`; what JSON says where they came as JSON."""

    model: str | None
    features: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Actual:
    """What really happened, as it was written."""

    value: str
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class ListModels:
    pass


@dataclass(frozen=True, slots=True)
class Help:
    pass


@dataclass(frozen=True, slots=True)
class Unclear:
    """`why` is a sentence for whoever wrote."""

    why: str


Words = Ask | Actual | ListModels | Help | Unclear

_ALONE: Mapping[str, Words] = {
    "": Unclear("That was an empty message."),
    "?": Help(),
    "help": Help(),
    "models": ListModels(),
}


def parse(text: str) -> Words:
    """Never raises."""
    text = text.encode("utf-8", "replace").decode()  # half a surrogate pair could not be sent on
    if len(text) > _MOST_CHARACTERS:
        return Unclear(f"That is too long: {len(text)} characters, I read {_MOST_CHARACTERS}.")
    stripped = text.strip()
    if stripped.startswith("{"):
        return _request(None, stripped)
    plain = stripped.translate(_PLAIN_QUOTES)
    first, *others = plain.split(None, 1) or [""]
    rest = "".join(others)
    command = first.lower().rstrip(":")
    if command == "ask":
        return _asked(rest, stripped)
    if command == "actual" or command.startswith("actual="):
        return _actual(plain[len("actual") :].lstrip(" :="))
    if "=" in plain:
        return _request(None, plain)
    return _ALONE.get(plain.lower()) or Unclear(f"I do not understand {_short(plain)!r}.")


def _asked(rest: str, whole: str) -> Words:
    """After `ask`: a model's name, and features, or one of both."""
    first, *others = rest.split(None, 1) or [""]
    features = "".join(others)
    if "=" in first or first.startswith(("{", '"')):
        first, features = "", rest
    if features.startswith("{"):  # as it came: in JSON a curly quote is a character like others
        features = whole[whole.index("{") :]
    return _request(first or None, features)


def _actual(text: str) -> Words:
    reference = None
    if found := _REFERENCE.search(text):
        reference = found[1].lower()
        text = f"{text[: found.start()]} {text[found.end() :]}"
    value = text.strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1].strip()
    if not value:
        return Unclear("What was it really? Write it after `actual`, such as: actual 28.50")
    return Actual(value, reference)


def _request(model: str | None, text: str) -> Words:
    if text.startswith("{"):
        return _json_request(model, text)
    features: dict[str, Any] = {}
    position = 0
    while position < len(text):
        pair = _PAIR.match(text, position)
        if pair is None:
            return _not_a_pair(text[position:].strip(" ,;"), features) or Ask(model, features)
        name = pair["quoted_name"] or pair["name"]
        if name in features:
            return Unclear(f"{_short(name)} stands there twice.")
        quoted = pair["double"] if pair["double"] is not None else pair["single"]
        features[name] = quoted if quoted is not None else (pair["plain"] or "").rstrip(",;")
        position = pair.end()
    return Ask(model, features)


def _not_a_pair(rest: str, before: dict[str, Any]) -> Unclear | None:
    if not rest:
        return None
    word = rest.split(maxsplit=1)[0]
    if before and "=" not in word:
        name, value = list(before.items())[-1]
        return Unclear(
            f"I do not understand {_short(word)!r} after {_short(name)}={_short(str(value))}. "
            f'Put a value with spaces in quotes, such as {_short(name)}="{_short(f"{value} {word}")}".'
        )
    return Unclear(f"I do not understand {_short(word)!r}; write name=value, with quotes around a value with spaces.")


def _json_request(model: str | None, text: str) -> Words:
    try:
        features = msgspec.json.decode(text, type=dict[str, Any])
    except RecursionError:
        return Unclear("That JSON is nested too deeply.")
    except msgspec.MsgspecError as error:
        return Unclear(f"That begins like JSON, but cannot be read: {error}.")
    return Ask(model, features)


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:38]} …"  # noqa: PLR2004  # a line that can be read
