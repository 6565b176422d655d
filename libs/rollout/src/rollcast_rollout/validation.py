"""What the API server would say about a ModelVersion, said without one: the same defaults, the same refusals.

Both read the CustomResourceDefinition, so there is one place for a rule. A test runs the same files through a real API
server and through here. Messages are the server's, but for these: the note that rules were left unchecked is left out;
values are quoted as JSON does it; examples of good names are left out; unknown fields do not hide what else is wrong; a
wrong apiVersion or kind, which kubectl does not find on the server, is a violation. Two more differences: the server
lets an invalid value be that nobody changed, and reads YAML 1.1, where an unquoted `yes` is no text, and where of a key
that stands twice the last one counts in silence; here it is refused.
"""

import copy
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from rollcast_common.config import load_yaml_documents
from rollcast_common.errors import ConfigError
from rollcast_rollout.schema import API_VERSION, KIND, open_api_schema

if TYPE_CHECKING:
    import cel
    import jsonschema
    from jsonschema.protocols import Validator

__all__ = ["Violation", "parse_model_versions", "validate", "with_defaults"]

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong with a ModelVersion."""

    path: str
    """Which field, as `spec.rollout.steps[1].weight`."""

    message: str
    """What is wrong with it, for example `Required value`."""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def parse_model_versions(text: str, source: str) -> list[dict[str, Any]]:
    """The objects of a YAML text with one document or several, as they are written: nothing is checked or filled in.

    Raises ConfigError, with `source`, document and line, where it is not YAML, is empty, or holds what JSON cannot.
    """
    found = []
    for number, document in enumerate(load_yaml_documents(text, source=source), start=1):
        where = f"{source}, document {number} (line {document.line})"
        if not isinstance(document.value, dict):
            raise ConfigError(f"{where}: expected a {KIND}, found {_type_name(document.value)}")
        try:
            # Kubernetes knows JSON only: keys become texts, and what YAML has beyond it is refused.
            found.append(json.loads(json.dumps(document.value, allow_nan=False)))
        except (TypeError, ValueError, RecursionError):
            raise ConfigError(f"{where}: holds a value that JSON has no words for; write it as text") from None
    if not found:
        raise ConfigError(f"{source}: holds no {KIND}")
    return found


def with_defaults(obj: Mapping[str, Any]) -> dict[str, Any]:
    """The object as the API server would keep it, with every default filled in. `obj` stays as it is."""
    filled: dict[str, Any] = _filled(copy.deepcopy(dict(obj)), open_api_schema())
    return filled


def validate(new: Mapping[str, Any], old: Mapping[str, Any] | None = None) -> list[Violation]:
    """What is wrong with `new`; with `old`, also what is wrong with changing that into `new`.

    Neither needs its defaults filled in. A status is not looked at: what a person writes there is ignored.
    """
    found = list(_kind(new))
    if found:
        return found
    spoken = {name: value for name, value in new.items() if name != "status"}
    found = [*_unknown(new, open_api_schema(), ""), *_metadata(new.get("metadata"))]
    filled = with_defaults(spoken)
    errors = list(_schema_validator().iter_errors(filled))
    found += [violation for error in errors for violation in _of_schema(error)]
    # As the server does: a rule is not asked about a value of the wrong type or of a size that it was not made for.
    if not any(error.validator in _HIDES_RULES for error in errors):
        before = None if old is None else with_defaults(old)
        found += _broken_rules(filled, before, open_api_schema(), "")
    return list(dict.fromkeys(found))


# Defaults.


def _filled(value: Any, schema: Schema) -> Any:
    if isinstance(value, dict):
        properties: dict[str, Schema] = schema.get("properties", {})
        for name, below in properties.items():
            if value.get(name) is None and name in value and not below.get("nullable"):
                del value[name]  # nothing was said
            if name not in value and "default" in below:
                value[name] = copy.deepcopy(below["default"])
            if name in value:
                value[name] = _filled(value[name], below)
        return value
    if isinstance(value, list) and "items" in schema:
        return [_filled(item, schema["items"]) for item in value]
    if isinstance(value, float) and schema.get("type") == "integer" and value.is_integer():
        return int(value)
    return value


# What is not a matter of the schema.


def _kind(obj: Mapping[str, Any]) -> Iterator[Violation]:
    for name, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        if not obj.get(name):
            yield Violation(name, "Required value")
        elif obj[name] != wanted:
            yield Violation(name, f"Unsupported value: {_shown(obj[name])}: supported values: {_shown(wanted)}")


_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_NAME_PART = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_NAMES = "must consist of {} alphanumeric characters, {}, and must start and end with an alphanumeric character"
_METADATA = frozenset(
    {
        *("name", "generateName", "namespace", "labels", "annotations", "finalizers", "ownerReferences"),
        *("uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp"),
        *("deletionGracePeriodSeconds", "managedFields", "selfLink"),
    }
)


def _metadata(metadata: Any) -> Iterator[Violation]:
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, Mapping):
        yield _wrong_type("metadata", metadata, "object")
        return
    for name in metadata:
        if name not in _METADATA:
            yield _unknown_field(f"metadata.{name}")
    yield from _dns_name("metadata.name", metadata.get("name"), _SUBDOMAIN, 253, "subdomain", "'-' or '.'")
    if metadata.get("namespace") is not None:
        yield from _dns_name("metadata.namespace", metadata["namespace"], _LABEL, 63, "label", "'-'")
    for name in ("labels", "annotations"):
        yield from _marks(f"metadata.{name}", metadata.get(name), is_label=name == "labels")


def _dns_name(path: str, name: Any, pattern: str, longest: int, what: str, others: str) -> Iterator[Violation]:
    if name is None or name == "":
        yield Violation(path, "Required value: name or generateName is required")
    elif not isinstance(name, str):
        yield _wrong_type(path, name, "string")
    elif len(name) > longest:
        yield Violation(path, f"Invalid value: {_shown(name)}: must be no more than {longest} bytes")
    elif not re.fullmatch(pattern, name):
        must = _NAMES.format("lower case", others)
        yield Violation(path, f"Invalid value: {_shown(name)}: a lowercase RFC 1123 {what} {must}")


def _marks(path: str, marks: Any, *, is_label: bool) -> Iterator[Violation]:
    if marks is None:
        return
    if not isinstance(marks, Mapping):
        yield _wrong_type(path, marks, "object")
        return
    for key, value in marks.items():
        prefix, slash, name = key.rpartition("/")
        if slash and not (len(prefix) <= 253 and re.fullmatch(_SUBDOMAIN, prefix)):  # noqa: PLR2004  # of a domain
            must = _NAMES.format("lower case", "'-' or '.'")
            yield Violation(path, f"Invalid value: {_shown(key)}: prefix part a lowercase RFC 1123 subdomain {must}")
        if not (len(name) <= 63 and re.fullmatch(_NAME_PART, name)):  # noqa: PLR2004  # of a label
            must = _NAMES.format("", "'-', '_' or '.'").replace("  ", " ")
            yield Violation(path, f"Invalid value: {_shown(key)}: name part {must}")
        if not isinstance(value, str):
            yield _wrong_type(f"{path}.{key}", value, "string")
        elif is_label and not (len(value) <= 63 and re.fullmatch(f"({_NAME_PART})?", value)):  # noqa: PLR2004  # the same
            must = (
                _NAMES.format("", "'-', '_' or '.'").replace("  ", " ").replace("must", "must be an empty string or", 1)
            )
            yield Violation(path, f"Invalid value: {_shown(value)}: a valid label {must}")


def _unknown(value: Any, schema: Schema, path: str) -> Iterator[Violation]:
    """What the schema does not know: most often a misspelt name, whose value would be lost in silence."""
    if isinstance(value, Mapping) and "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        for name, item in value.items():
            below = schema["properties"].get(name)
            if below is None:
                yield _unknown_field(_join(path, name))
            else:
                yield from _unknown(item, below, _join(path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unknown(item, schema.get("items", {}), f"{path}[{index}]")


# The schema.

# As the server: after one of these it leaves the rules unasked.
_HIDES_RULES = frozenset({"type", "required", "enum", "maxLength", "maxItems"})
_BOUNDS = {
    "minimum": "greater than or equal to",
    "exclusiveMinimum": "greater than",
    "maximum": "less than or equal to",
    "exclusiveMaximum": "less than",
}


def _of_schema(error: "jsonschema.ValidationError") -> Iterator[Violation]:
    path = _path(error.absolute_path)
    limit: Any = error.validator_value
    value: Any = error.instance
    schema: Any = error.schema
    match error.validator:
        case "required":
            yield from (Violation(_join(path, name), "Required value") for name in limit if name not in value)
        case "type":
            yield _wrong_type(path, value, next(name for name in _listed(limit) if name != "null"))
        case "enum":
            allowed = ", ".join(_shown(item) for item in limit if item is not None)
            yield Violation(path, f"Unsupported value: {_shown(value)}: supported values: {allowed}")
        case "maxLength":
            yield Violation(path, f"Too long: may not be more than {limit} bytes")
        case "maxItems":
            yield Violation(path, f"Too many: {len(value)}: must have at most {limit} items")
        case "pattern" if len(value) > schema.get("maxLength", len(value)):
            pass  # too long, and said so
        case "pattern":
            yield Violation(path, f"Invalid value: {_shown(value)}: {path} in body should match '{limit}'")
        case str() as bound if bound in _BOUNDS:
            yield Violation(path, f"Invalid value: {_shown(value)}: {path} in body should be {_BOUNDS[bound]} {limit}")
        case _:
            yield Violation(path, f"Invalid value: {_shown(value)}: {error.message}")


@cache
def _schema_validator() -> "Validator":
    from jsonschema import Draft202012Validator, ValidationError
    from jsonschema.validators import extend

    def pattern(_: Any, expected: str, value: Any, __: Any) -> "Iterator[jsonschema.ValidationError]":
        if isinstance(value, str) and not _expression(expected).search(value):
            yield ValidationError("does not match")

    validator: Validator = extend(Draft202012Validator, {"pattern": pattern})(_json_schema(open_api_schema()))  # type: ignore[no-untyped-call]  # theirs
    return validator


@cache
def _expression(pattern: str) -> re.Pattern[str]:
    r"""As Go reads it: `\s` and `\w` are ASCII's, and `$` is the end, not the place before a last newline."""
    return re.compile(re.sub(r"(?<!\\)\$$", r"\\Z", pattern), re.ASCII)


def _json_schema(schema: Schema) -> dict[str, Any]:
    """A structural schema in JSON Schema's words; what is about Kubernetes is left out."""
    result = {name: schema[name] for name in ("required", "enum", "pattern", "maxLength", "maxItems") if name in schema}
    if kind := schema.get("type"):
        result["type"] = [kind, "null"] if schema.get("nullable") else kind
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if bound in schema:
            result[exclusive if schema.get(exclusive) else bound] = schema[bound]
    if "properties" in schema:
        result["properties"] = {name: _json_schema(below) for name, below in schema["properties"].items()}
    if "items" in schema:
        result["items"] = _json_schema(schema["items"])
    return result


# Rules.


@dataclass(frozen=True, slots=True)
class _Rule:
    text: str
    program: "cel.Program"
    is_about_change: bool
    field_path: str
    message: str | None
    message_program: "cel.Program | None"

    def broken(self, values: dict[str, Any]) -> str | None:
        """What is wrong, or nothing."""
        try:
            if self.program.execute(values):
                return None
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            return f"{error} evaluating rule: {self.message or self.text}"
        return self._said(values) or self.message or f"failed rule: {self.text}"

    def _said(self, values: dict[str, Any]) -> str | None:
        """Of the message's own expression. As the server: where it fails, the plain message has to do."""
        try:
            said = self.message_program.execute(values) if self.message_program else None
        except (KeyError, ValueError, TypeError, RuntimeError):
            return None
        return said.strip() or None if isinstance(said, str) and "\n" not in said else None


def _broken_rules(value: Any, old: Any, schema: Schema, path: str) -> Iterator[Violation]:
    if value is None:
        return
    for rule in _rules(json.dumps(schema.get("x-kubernetes-validations", []))):
        if rule.is_about_change and old is None:
            continue
        values = {"self": value, "oldSelf": old} if rule.is_about_change else {"self": value}
        if (message := rule.broken(values)) is not None:
            shown = "" if isinstance(value, dict | list) else f"{_shown(value)}: "
            yield Violation(f"{path}{rule.field_path}".lstrip("."), f"Invalid value: {shown}{message}")
    if isinstance(value, Mapping):
        for name, below in schema.get("properties", {}).items():
            if name in value:
                before = old.get(name) if isinstance(old, Mapping) else None
                yield from _broken_rules(value[name], before, below, _join(path, name))
    elif isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            # Nobody can say which item of before an item is: rules about change do not reach into lists.
            yield from _broken_rules(item, None, schema["items"], f"{path}[{index}]")


@cache
def _rules(validations: str) -> tuple[_Rule, ...]:
    """Compiled once. Takes JSON because a dictionary is no key."""
    rules = json.loads(validations)
    if not rules:
        return ()
    import cel  # takes a third of a second: only who has a rule to ask pays

    return tuple(
        _Rule(
            text=rule["rule"],
            program=(program := cel.compile(rule["rule"])),
            is_about_change="oldSelf" in program.variables(),
            field_path=rule.get("fieldPath", ""),
            message=rule.get("message"),
            message_program=cel.compile(rule["messageExpression"]) if "messageExpression" in rule else None,
        )
        for rule in rules
    )


# Words.


def _wrong_type(path: str, value: Any, wanted: str) -> Violation:
    kind = _type_name(value)
    return Violation(path, f'Invalid value: "{kind}": {path} in body must be of type {wanted}: "{kind}"')


def _unknown_field(path: str) -> Violation:
    return Violation(path, f'unknown field "{path}"')


_TYPE_NAMES: tuple[tuple[type, str], ...] = (
    (bool, "boolean"),
    (int, "integer"),
    (float, "number"),
    (str, "string"),
    (list, "array"),
    (dict, "object"),
    (type(None), "null"),
)


def _type_name(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return "integer"  # JSON's 1.0 and 1 are one number
    return next((name for kind, name in _TYPE_NAMES if isinstance(value, kind)), type(value).__name__)


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _path(parts: Any) -> str:
    path = ""
    for part in parts:
        path = f"{path}[{part}]" if isinstance(part, int) else _join(path, part)
    return path
