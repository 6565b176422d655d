"""Which Kafka a command talks to: the one it is told, else the local stack's."""

from dataclasses import dataclass
from pathlib import Path

from rollcast_cli.local.state import Stack, StateFolder
from rollcast_common.errors import ConfigError
from rollcast_common.kafka import KafkaParams, load_kafka_params

__all__ = ["Connection", "connect"]


@dataclass(frozen=True, slots=True)
class Connection:
    kafka: KafkaParams
    stack: Stack | None
    """None when the user named another Kafka."""


def connect(kafka_config: Path | None, *, environ: dict[str, str]) -> Connection:
    """Raises ConfigError when neither a configuration nor a local stack is there."""
    named = None
    if kafka_config is not None or "ROLLCAST_KAFKA_SERVERS" in environ:
        named = load_kafka_params(kafka_config, environ)
    try:
        stack = StateFolder().read_stack()
    except ConfigError as error:
        if named is not None:
            return Connection(named, None)
        raise ConfigError(f"{error}; or name a Kafka with --kafka-config or ROLLCAST_KAFKA_SERVERS") from None
    if named is None:
        return Connection(stack.kafka_params(), stack)
    # After `eval $(rollcast env)` the Kafka that is named is the stack's.
    return Connection(named, stack if named.broker.servers == stack.servers else None)
