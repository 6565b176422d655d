"""The words of a notification: Jinja in a sandbox, with little in it that could run long.

What a prediction lacks is written as `?`. Numbers are rounded also where they came as text.
"""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import TemplateError, Undefined, meta, nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rollcast_notifier.rules.facts import FACTS, GROUPS

__all__ = [
    "MORE_NAMES",
    "MOST_CHARACTERS",
    "TextFailed",
    "WrongTemplate",
    "compile_template",
    "default_text",
    "features_in",
    "shown",
]

MOST_CHARACTERS = 4000
"""A text is cut there."""

MORE_NAMES: Mapping[str, str] = {
    "reference": "five letters by which an answer can name this notification: `actual 28.50 #k3f9t`",
    "subscription": "the subscription's name",
    "receiver": "who is told, as `channel:address`",
}
"""What a template knows beside the facts that conditions know."""

_MOST_TEMPLATE = 10_000
_FORBIDDEN: Mapping[type[nodes.Node], str] = {
    nodes.Macro: "macro",
    nodes.CallBlock: "call",
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "import",
    nodes.Extends: "extends",
    nodes.Block: "block",
}
_SIGNIFICANT = 6


class WrongTemplate(ValueError):
    """Says what is wrong with it."""


class TextFailed(Exception):
    """A template could not be written out for one prediction."""


class _Missing(Undefined):
    """What is not there: `?`, also of its own parts, and false."""

    def __str__(self) -> str:
        return "?"

    def __getattr__(self, name: str) -> "_Missing":
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __getitem__(self, _: Any) -> "_Missing":  # type: ignore[override]  # the base never returns
        return self


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"*", "**", "%"})

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A feature may be called `items` or `count`, as a method of what holds it is."""
        return obj[attribute] if isinstance(obj, Mapping) and attribute in obj else super().getattr(obj, attribute)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """`'x' * 10 ** 9` would be a gigabyte."""
        if not all(isinstance(value, int | float) for value in (left, right)) or operator == "**":
            raise SecurityError(f"{operator} is for numbers here, and ** is for none")
        return super().call_binop(context, operator, left, right)


def _round(value: Any, precision: int = 0) -> Any:
    number = _as_number(value)
    return value if number is None else round(number, precision) if precision else round(number)


def _as_number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def shown(value: Any) -> Any:
    """A value as people write it: 31.2500001 is 31.25, nothing is `?`."""
    if value is None:
        return "?"
    if isinstance(value, float):
        return f"{value:.{_SIGNIFICANT}g}" if abs(value) < 10**_SIGNIFICANT else f"{value:.0f}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(str(shown(item)) for item in value)
    return value


def _environment() -> _Sandbox:
    environment = _Sandbox(undefined=_Missing, finalize=shown, autoescape=False)  # plain text, no HTML
    environment.globals.clear()  # range, lipsum, cycler …: nothing that makes much of little
    for name in ("center", "indent", "format", "wordwrap", "batch", "slice", "xmlattr", "tojson", "pprint"):
        environment.filters.pop(name, None)  # these can, too
    environment.filters["round"] = _round
    return environment


_ENVIRONMENT = _environment()


def compile_template(text: str) -> Callable[[Mapping[str, Any]], str]:
    """What writes it out, and raises TextFailed. Raises WrongTemplate."""
    if len(text) > _MOST_TEMPLATE:
        raise WrongTemplate(f"has {len(text)} characters, may have {_MOST_TEMPLATE}")
    try:
        tree = _ENVIRONMENT.parse(text)
        _check(tree)
        template = _ENVIRONMENT.from_string(text)
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        raise WrongTemplate(f"{error}{f' (line {line} of it)' if line and line > 1 else ''}") from None
    except RecursionError:
        raise WrongTemplate("is nested too deeply") from None

    def write(names: Mapping[str, Any]) -> str:
        try:
            pieces: list[str] = []
            room = MOST_CHARACTERS + 1
            for piece in template.generate(names):
                pieces.append(piece[:room])
                room -= len(pieces[-1])
                if room <= 0:
                    break
            text = "".join(pieces)
        except Exception as error:
            raise TextFailed(f"{type(error).__name__}: {error}") from error
        return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 2]} …"

    return write


def features_in(text: str) -> list[str]:
    """The features that a template names, sorted; one that it works out, as in a loop, is not among them."""
    tree = _ENVIRONMENT.parse(text)
    found: set[str] = set()
    for dotted in tree.find_all(nodes.Getattr):
        if _is_features(dotted.node) and not hasattr(dict, dotted.attr):
            found.add(dotted.attr)
    for indexed in tree.find_all(nodes.Getitem):
        if _is_features(indexed.node) and isinstance(indexed.arg, nodes.Const):
            found.add(str(indexed.arg.value))
    return sorted(found)


def _is_features(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Name) and node.name == "features"


def _check(tree: nodes.Template) -> None:
    known = [*FACTS, *GROUPS, *MORE_NAMES]
    if unknown := sorted(meta.find_undeclared_variables(tree) - set(known)):
        raise WrongTemplate(
            f"knows no {', '.join(unknown)}; it knows {', '.join(known)}; a feature is written features.<name>"
        )
    for kind, word in _FORBIDDEN.items():
        if found := next(tree.find_all(kind), None):
            raise WrongTemplate(f"{word} (line {found.lineno} of it) is not for notifications")
    for loop in tree.find_all(nodes.For):
        inside = itertools.chain(*(part.find_all(nodes.For) for part in [*loop.body, *loop.else_]))
        if loop.recursive or next(inside, None) or any(isinstance(part, nodes.For) for part in loop.body):
            raise WrongTemplate(f"has a loop in a loop (line {loop.lineno} of it)")


def default_text(names: Mapping[str, Any]) -> str:
    """Where there is no template, or it failed."""
    about = "" if names["key"] in (None, names["request_id"]) else f" for {names['key']}"
    text = f"{names['model']} says {shown(names['prediction'])}{about} (#{names['reference']})"
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 2]} …"
