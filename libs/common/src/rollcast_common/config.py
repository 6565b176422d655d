"""Settings: frozen pydantic models, read once from a YAML file and the environment, errors in plain words."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from rollcast_common.errors import ConfigError

__all__ = [
    "Settings",
    "YamlDocument",
    "complaints",
    "environment_overrides",
    "load_yaml",
    "load_yaml_documents",
    "merged",
    "parse_settings",
    "read_text",
]


class _Yaml12Loader(yaml.SafeLoader):
    """YAML as its version 1.2 reads it: `2022-08-19` is a string, `yes` and `12:30` are too."""


_YAML_11_ONLY = tuple(f"tag:yaml.org,2002:{name}" for name in ("timestamp", "bool", "int"))

_Yaml12Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _YAML_11_ONLY]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Yaml12Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool",
    re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"),
    list("tTfF"),
)
# Not 12:30 (YAML 1.1: base sixty), 1_000 or 0123 (octal): a version or a password may look like these.
_Yaml12Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789")
)


class Settings(BaseModel):
    """The base of every settings model: frozen, and an unknown name is an error, not silence."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], *, source: str) -> Self:
        return parse_settings(cls, values, source=source)


SettingsT = TypeVar("SettingsT", bound=BaseModel)
_T = TypeVar("_T")

# pydantic's names for "no mapping", whose own words speak of dictionaries and classes.
_WANTS_MAPPING = ("model_type", "model_attributes_type", "dict_type")

# As which pydantic names the key of a mapping, as against its value.
_KEY = "[key]"
_QUOTE = "'"

_SECRET_WORDS = ("password", "secret", "token", "key.pem", "credential", "jaas")


def load_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises ConfigError when the file is missing, unreadable, not YAML, or not a mapping at its top.
    """
    text = read_text(path)
    loaded = _reading(str(path), lambda: yaml.load(text, Loader=_Yaml12Loader))  # noqa: S506  # a SafeLoader subclass
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path}: expected a mapping at the top, found {type(loaded).__name__}")
    return loaded


def read_text(path: Path) -> str:
    """Raises ConfigError when there is no such file, or it is no UTF-8 text."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: cannot be read: it is not UTF-8 text") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """One of the documents of a text."""

    line: int
    """Where its content begins, counted from 1."""

    value: Any

    lines: Mapping[tuple[int | str, ...], int] = field(default_factory=dict, compare=False, repr=False)
    """Where each key and each item of a list stands, by its path: `("rules", 0, "name")`."""

    def line_of(self, *path: int | str) -> int:
        """Of what is there at the path, or of the nearest that is around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, self.line)


def load_yaml_documents(text: str, *, source: str) -> list[YamlDocument]:
    """Every document of a text; one that holds nothing (between two `---`, say) is left out.

    A key that stands twice in a mapping is refused: one of the two would be lost in silence.
    Raises ConfigError, which begins with `source`, when the text is not YAML.
    """
    return _reading(source, lambda: list(_documents(text, source)))


def _documents(text: str, source: str) -> Iterator[YamlDocument]:
    loader = _Yaml12Loader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            assert node is not None  # noqa: S101  # check_node said so
            _refuse_double_keys(node, source)
            value = loader.construct_document(node)
            if value is not None:
                yield YamlDocument(node.start_mark.line + 1, value, dict(_lines(node, ())))
    finally:
        loader.dispose()


def _lines(node: yaml.Node, path: tuple[int | str, ...]) -> Iterator[tuple[tuple[int | str, ...], int]]:
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*path, index), item.start_mark.line + 1
            yield from _lines(item, (*path, index))
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                yield (*path, key.value), key.start_mark.line + 1
                yield from _lines(value, (*path, key.value))


def _refuse_double_keys(node: yaml.Node, source: str) -> None:
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_double_keys(item, source)
    elif isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                if key.value in first:
                    raise ConfigError(f"{source}, line {line}: {key.value} stands here and in line {first[key.value]}")
                first[key.value] = line
            _refuse_double_keys(value, source)


def _reading(source: str, read: Callable[[], _T]) -> _T:
    """What `read` reads; what YAML has against it as one line that repeats no secret."""
    try:
        return read()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        # A password that begins with * or ! is an alias or a tag to YAML, which repeats it.
        hidden = re.sub(r"(alias|anchor|tag handle|for the tag) .*", r"\1", problem, flags=re.DOTALL)
        hint = "" if hidden == problem else " (quote a text that begins with *, & or !)"
        raise ConfigError(f"{source}{where}: {hidden}{hint}") from None
    except (ValueError, RecursionError):  # what an explicit !!int or !!timestamp cannot read; nesting without end
        raise ConfigError(f"{source}: not YAML that can be read") from None


def parse_settings(model: type[SettingsT], values: Mapping[str, Any], *, source: str) -> SettingsT:
    """Validate `values`; every complaint names the setting, what it was, and what it may be.

    Raises ConfigError. Values of settings that look like secrets are never repeated.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError("; ".join(complaints(error, values, lambda _: source))) from None


def complaints(
    error: ValidationError, values: Mapping[str, Any], source_of: Callable[[tuple[int | str, ...]], str]
) -> list[str]:
    """What is wrong, a line each, in plain words; `source_of` says where the setting at a path stands."""
    lines = []
    unions: set[str] = set()
    for problem in error.errors(include_url=False, include_context=True):
        loc = _without_tags(values, problem["loc"])
        place, was = _value_at(values, loc)
        is_union = len(place) < len(loc) and problem["type"] != "missing" and loc[-1] != _KEY
        if not is_union:
            lines.append(_complaint(problem, loc, was, source_of(loc)))
            continue
        name = ".".join(map(str, place))  # the rest of the path names the member of a union
        if name not in unions:
            unions.add(name)
            shown = "" if _is_secret(name) else f" was {_shown(was)},"
            lines.append(f"{source_of(loc)}: {name}{shown} should be a text, a number, true or false")
    return lines


def _complaint(problem: ErrorDetails, loc: tuple[int | str, ...], was: Any, source: str) -> str:
    kind, context = problem["type"], problem.get("ctx", {})
    name = ".".join(map(str, loc)) or "(the whole)"
    if loc[-1:] == (_KEY,):
        name, key = ".".join(map(str, loc[:-2])), loc[-2]
        return f"{source}: {name}: the name {key!r} {problem['msg'].removeprefix('String ')}"
    plain = {
        "missing": f"{source}: {name} is missing",
        "extra_forbidden": f"{source}: {name} is not a setting here; check the spelling",
        "too_short": f"{source}: {name} has fewer than {context.get('min_length')}",
    }
    if kind in plain:
        return plain[kind]
    if kind == "value_error":
        return f"{source}: {name}: {context['error']}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        tag = f"{name}.{context['discriminator'].strip(_QUOTE)}"
        known = context.get("expected_tags", "").replace(_QUOTE, "")
        return f"{source}: {tag} was {context['tag']!r}, may be {known}" if known else f"{source}: {tag} is missing"
    shown = "" if _is_secret(name) else f" was {_shown(was)},"
    wanted = "should be a mapping" if kind in _WANTS_MAPPING else problem["msg"].removeprefix("Input ")
    return f"{source}: {name}{shown} {wanted}"


def _without_tags(values: Any, loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Pydantic names the member that `type` chose among several models as if it were a place of its own."""
    place: list[int | str] = []
    for part in loc:
        if isinstance(values, Mapping) and part not in values and values.get("type") == part:
            continue
        place.append(part)
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            values = None
    return tuple(place)


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in _SECRET_WORDS)


def _shown(value: Any) -> str:
    """A list or mapping is not repeated: a secret may be anywhere in it."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple | set):
        return "a list"
    return repr(value)


def _value_at(values: Any, path: tuple[int | str, ...]) -> tuple[tuple[int | str, ...], Any]:
    """The value at `path`, or at the longest beginning of it that exists."""
    for depth, part in enumerate(path):
        if not isinstance(values, Mapping | list):
            return path[:depth], values
        try:
            values = values[part]  # type: ignore[index]  # a key or an index, as the value needs
        except (KeyError, IndexError, TypeError):
            return path[:depth], values
    return path, values


def environment_overrides(
    names: Mapping[str, tuple[str, ...]], environ: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A nested mapping of what the environment sets: `names` maps a variable to a path of settings."""
    environ = os.environ if environ is None else environ
    result: dict[str, Any] = {}
    for variable, path in names.items():
        if (value := environ.get(variable)) is not None:
            place = result
            for part in path[:-1]:
                place = place.setdefault(part, {})
            place[path[-1]] = value
    return result


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`, mapping by mapping."""
    result = dict(below)
    for name, value in above.items():
        old = result.get(name)
        result[name] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result
