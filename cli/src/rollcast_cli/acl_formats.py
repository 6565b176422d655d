"""The rights on Kafka as other tools want them written. Nothing here talks to anybody."""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from rollcast_common.errors import ConfigError
from rollcast_common.kafka import Operation, Pattern, Resource, Right, Role

__all__ = ["Grant", "as_json", "kafka_acls", "parse_principals", "strimzi"]

_KUBERNETES_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_TYPES = {Resource.TOPIC: "topic", Resource.GROUP: "group", Resource.TRANSACTIONAL_ID: "transactionalId"}
_PATTERNS = {Pattern.LITERAL: "literal", Pattern.PREFIXED: "prefix"}


@dataclass(frozen=True, slots=True)
class Grant:
    """What one principal gets."""

    role: Role
    principal: str
    rights: tuple[Right, ...]


def parse_principals(given: Iterable[str]) -> dict[Role, str]:
    """`ROLE=User:name` each; what is left out is `User:rollcast-ROLE`. Raises ConfigError."""
    principals = {role: f"User:rollcast-{role}" for role in Role}
    for text in given:
        role, _, principal = text.partition("=")
        if role not in list(Role):
            raise ConfigError(
                f"--principal was {text!r}, may be ROLE=User:NAME, such as predictor=User:rollcast-predictor; "
                f"roles: {', '.join(Role)}"
            )
        if not re.fullmatch(r"[A-Za-z]+:\S.*", principal):
            raise ConfigError(
                f"--principal {role}: was {principal!r}, may be User:NAME, such as User:rollcast-{role}, "
                f"or with client certificates their subject, such as User:CN=rollcast-{role}"
            )
        principals[Role(role)] = principal
    return principals


def kafka_acls(grants: Iterable[Grant], *, servers: str | None, command_config: str) -> str:
    """A shell script of Kafka's own kafka-acls.sh; to run it twice does no harm."""
    where = shlex.quote(servers) if servers else '"$SERVERS"'
    command = f"kafka-acls.sh --bootstrap-server {where} --command-config {shlex.quote(command_config)} --add"
    parts = [] if servers else ["# SERVERS=broker:9092"]
    for grant in grants:
        parts.append(f"# {grant.role}: {grant.principal}")
        for (resource, pattern, operations), names in _alike(grant.rights).items():
            options = [
                *("--allow-principal", grant.principal),
                *(part for operation in operations for part in ("--operation", operation.capitalize())),
                *("--resource-pattern-type", pattern.value),
                *(part for name in names for part in (f"--{resource}", name)),
            ]
            parts.append(" \\\n  ".join([command, *_pairs(options)]))
    return "\n".join(parts) + "\n"


def strimzi(grants: Iterable[Grant], *, cluster: str) -> str:
    """A KafkaUser each: with a password, or with a certificate where the principal is the subject of one.

    Raises ConfigError for a principal that Strimzi makes no user for.
    """
    return "---\n".join(
        yaml.safe_dump(_kafka_user(grant, cluster), sort_keys=False, default_flow_style=False) for grant in grants
    )


def as_json(grants: Iterable[Grant]) -> list[dict[str, Any]]:
    return [
        {
            "role": grant.role.value,
            "principal": grant.principal,
            "resource": right.resource.value,
            "name": right.name,
            "pattern": right.pattern.value,
            "operations": [operation.value for operation in right.operations],
            "why": right.why,
        }
        for grant in grants
        for right in grant.rights
    ]


def _alike(rights: Iterable[Right]) -> Mapping[tuple[Resource, Pattern, tuple[Operation, ...]], list[str]]:
    """Names that one command can give the same operations on."""
    found: dict[tuple[Resource, Pattern, tuple[Operation, ...]], list[str]] = {}
    for right in rights:
        found.setdefault((right.resource, right.pattern, right.operations), []).append(right.name)
    return found


def _pairs(options: Sequence[str]) -> Iterator[str]:
    for name, value in zip(options[::2], options[1::2], strict=True):
        yield f"{name} {shlex.quote(value)}"


def _kafka_user(grant: Grant, cluster: str) -> dict[str, Any]:
    kind, _, user = grant.principal.partition(":")
    name = user.removeprefix("CN=")
    if kind != "User" or not _KUBERNETES_NAME.fullmatch(name):
        raise ConfigError(
            f"{grant.role}: the principal was {grant.principal!r}; Strimzi makes users called User:NAME or "
            "User:CN=NAME, where NAME may be lower-case letters, digits, '-' and '.'"
        )
    return {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaUser",
        "metadata": {"name": name, "labels": {"strimzi.io/cluster": cluster}},
        "spec": {
            "authentication": {"type": "tls" if user != name else "scram-sha-512"},
            "authorization": {
                "type": "simple",
                "acls": [
                    {
                        "resource": {
                            "type": _TYPES[right.resource],
                            "name": right.name,
                            "patternType": _PATTERNS[right.pattern],
                        },
                        "operations": [operation.capitalize() for operation in right.operations],
                    }
                    for right in grant.rights
                ],
            },
        },
    }
