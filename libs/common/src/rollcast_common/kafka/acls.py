"""The least rights on Kafka: of each part of Rollcast what it may do to which topics, groups and transactional ids.

Kafka adds the right to describe to each right to read or write, so it stands here only where there is no other.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from rollcast_common.errors import ConfigError
from rollcast_common.identity import ModelIdentity
from rollcast_common.kafka.topics import TopicNames

__all__ = ["ABOUT_ROLES", "Operation", "Pattern", "Resource", "Right", "Role", "Scope", "rights"]


class Role(StrEnum):
    TRAINER = "trainer"
    PREDICTOR = "predictor"
    OPERATOR = "operator"
    NOTIFIER = "notifier"
    CLIENT = "client"
    AUTOSCALER = "autoscaler"
    ADMIN = "admin"


ABOUT_ROLES: Mapping[Role, str] = {
    Role.TRAINER: "`rollcast-trainer fit`: announces models.",
    Role.PREDICTOR: "The slots of a model, or of all models of an installation.",
    Role.OPERATOR: "`rollcast-operator run`: leads the slots, and hears of new models.",
    Role.NOTIFIER: "`rollcast-notifier run`: tells people, and writes down what they answer.",
    Role.CLIENT: "A program of yours that asks and reads the answers.",
    Role.AUTOSCALER: "KEDA, where a ModelVersion scales by lag: looks, and reads nothing.",
    Role.ADMIN: "A person with `rollcast topics`, `tail`, `predict`, `status` and `dead-letters`.",
}


class Resource(StrEnum):
    TOPIC = "topic"
    GROUP = "group"
    TRANSACTIONAL_ID = "transactional-id"


class Pattern(StrEnum):
    LITERAL = "literal"
    PREFIXED = "prefixed"


class Operation(StrEnum):
    READ = "read"
    WRITE = "write"
    CREATE = "create"
    DESCRIBE = "describe"


@dataclass(frozen=True, slots=True)
class Right:
    resource: Resource
    name: str
    pattern: Pattern
    operations: tuple[Operation, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Scope:
    """Of whom the rights speak. Without `namespace` and `model`: of all models of the installation."""

    topics: TopicNames = field(default_factory=TopicNames)
    installation: str = "rollcast"
    namespace: str | None = None
    model: str | None = None
    client_groups: str | None = None
    """What the groups of clients begin with; None: `rollcast-client.<installation>.`"""

    def __post_init__(self) -> None:
        if self.model is not None and self.namespace is None:
            raise ConfigError("a model is named without its namespace; name both, or neither for all models")
        namespace = "default" if self.namespace is None else self.namespace
        ModelIdentity(self.installation, namespace, "model" if self.model is None else self.model)  # or ConfigError
        if self.client_groups == "":
            raise ConfigError("what the groups of clients begin with was '', may be any text that is not empty")

    @property
    def _of_the_installation(self) -> str:
        return f"rollcast.{self.installation}."

    def own_group(self, name: str) -> str:
        return f"{self._of_the_installation}{name}"

    def model_groups(self) -> tuple[str, Pattern]:
        if self.namespace is None:
            return self._of_the_installation, Pattern.PREFIXED
        if self.model is None:
            return f"{self._of_the_installation}{self.namespace}.", Pattern.PREFIXED
        return ModelIdentity(self.installation, self.namespace, self.model).consumer_group, Pattern.LITERAL

    def slots(self) -> str:
        """What the transactional ids of the slots begin with."""
        name, pattern = self.model_groups()
        return name if pattern is Pattern.PREFIXED else f"{name}-"


def rights(role: Role, scope: Scope) -> tuple[Right, ...]:
    """All that the role needs. Without any one of them it does not do its work; it needs no other."""
    return _RIGHTS[role](scope)


def _topic(scope: Scope, name: str, operations: tuple[Operation, ...], why: str) -> Right:
    return Right(Resource.TOPIC, scope.topics.full(name), Pattern.LITERAL, operations, why)


_READ = (Operation.READ,)
_WRITE = (Operation.WRITE,)
_READ_WRITE = (Operation.READ, Operation.WRITE)
_DESCRIBE = (Operation.DESCRIBE,)


def _trainer(scope: Scope) -> tuple[Right, ...]:
    return (_topic(scope, "train", _WRITE, "announces a model"),)


def _predictor(scope: Scope) -> tuple[Right, ...]:
    return (
        _topic(scope, "assignments", _READ, "follows its orders"),
        _topic(scope, "requests", _READ, "takes requests, and commits how far it is"),
        _topic(scope, "app_messages", _WRITE, "answers"),
        _topic(scope, "dead_letters", _WRITE, "puts aside what has no answer"),
        _topic(scope, "shadow_predictions", _WRITE, "shows what a candidate would have said"),
        _topic(scope, "predictor_status", _WRITE, "reports"),
        Right(Resource.GROUP, *scope.model_groups(), _READ, "shares the requests among slots, and commits"),
        Right(Resource.TRANSACTIONAL_ID, scope.slots(), Pattern.PREFIXED, _WRITE, "answers exactly once"),
    )


def _operator(scope: Scope) -> tuple[Right, ...]:
    return (
        _topic(scope, "assignments", _READ_WRITE, "orders, and knows after a restart what it ordered"),
        _topic(scope, "predictor_status", _READ, "hears of its slots"),
        _topic(scope, "train", _READ, "hears of new models (`bridge`)"),
        Right(Resource.GROUP, scope.own_group("bridge"), Pattern.LITERAL, _READ, "hears of each model once"),
    )


def _notifier(scope: Scope) -> tuple[Right, ...]:
    return (
        _topic(scope, "app_messages", _READ, "tells people"),
        _topic(scope, "dead_letters", _READ, "shows them on its console"),
        _topic(scope, "assignments", _READ, "knows the models, and shows what is rolled out"),
        _topic(scope, "predictor_status", _READ, "shows what the slots report"),
        _topic(scope, "feedback", _READ_WRITE, "writes down what people answer, and shows it"),
        _topic(scope, "requests", _WRITE, "asks for a person"),
        _topic(scope, "notifications", _WRITE, "receipts"),
        _topic(scope, "notifications_failed", _WRITE, "puts aside what could not be delivered"),
        Right(Resource.GROUP, scope.own_group("notifier"), Pattern.LITERAL, _READ, "tells of each prediction once"),
        Right(
            Resource.GROUP, scope.own_group("notifier.console"), Pattern.LITERAL, _DESCRIBE, "the console's; no commits"
        ),
    )


def _client(scope: Scope) -> tuple[Right, ...]:
    groups = scope.client_groups or f"rollcast-client.{scope.installation}."
    return (
        _topic(scope, "requests", _WRITE, "asks"),
        _topic(scope, "app_messages", _READ, "reads the answers"),
        Right(Resource.GROUP, groups, Pattern.PREFIXED, _READ, "remembers how far it has read"),
    )


def _autoscaler(scope: Scope) -> tuple[Right, ...]:
    return (
        _topic(scope, "requests", _DESCRIBE, "sees how many there are"),
        Right(Resource.GROUP, *scope.model_groups(), _DESCRIBE, "sees how many are done"),
    )


def _admin(scope: Scope) -> tuple[Right, ...]:
    create = (Operation.CREATE, Operation.DESCRIBE)
    more = {
        "requests": (Operation.CREATE, Operation.WRITE),
        "app_messages": (Operation.CREATE, Operation.READ),
        "dead_letters": (Operation.CREATE, Operation.READ, Operation.WRITE),
    }
    why = {
        "requests": "`topics`, `predict`, `dead-letters replay`",
        "app_messages": "`topics`, `tail`, `predict`",
        "dead_letters": "`topics`, `tail`, `predict`, `dead-letters`",
    }
    names = [name for name in type(scope.topics).model_fields if name != "prefix"]
    return (
        *(_topic(scope, name, more.get(name, create), why.get(name, "`topics`, `status`")) for name in names),
        Right(
            Resource.TRANSACTIONAL_ID,
            f"rollcast-replay.{scope.topics.full('dead_letters')}",
            Pattern.LITERAL,
            _WRITE,
            "`dead-letters replay`",
        ),
    )


_RIGHTS: Mapping[Role, Callable[[Scope], tuple[Right, ...]]] = {
    Role.TRAINER: _trainer,
    Role.PREDICTOR: _predictor,
    Role.OPERATOR: _operator,
    Role.NOTIFIER: _notifier,
    Role.CLIENT: _client,
    Role.AUTOSCALER: _autoscaler,
    Role.ADMIN: _admin,
}
