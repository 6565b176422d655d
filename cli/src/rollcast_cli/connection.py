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
    """None when the user named a Kafka."""


def connect(kafka_config: Path | None, *, environ: dict[str, str]) -> Connection:
    """Raises ConfigError when neither a configuration nor a local stack is there."""
    if kafka_config is not None or "ROLLCAST_KAFKA_SERVERS" in environ:
        return Connection(load_kafka_params(kafka_config, environ), None)
    try:
        stack = StateFolder().read_stack()
    except ConfigError as error:
        raise ConfigError(f"{error}; or name a Kafka with --kafka-config or ROLLCAST_KAFKA_SERVERS") from None
    return Connection(stack.kafka_params(), stack)
