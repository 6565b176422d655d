"""Producers, consumers and admin clients with our settings in them.

Two quirks of the client are dealt with here. A wrong password or certificate is only ever told to
`error_cb`; calls just time out. So each client has an ErrorWatch that its owner asks. And its log lines go
to stderr unless a logger is given, so each gets ours.
"""

import logging
import time
from collections.abc import Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from rollcast_common.errors import ConfigError, KafkaDenied, KafkaUnavailable
from rollcast_common.kafka.errors import is_denied, problem_from
from rollcast_common.kafka.params import KafkaParams, Property

__all__ = ["ErrorWatch", "make_admin", "make_consumer", "make_producer", "reach_broker"]

_log = logging.getLogger("rollcast.kafka")
_log.addFilter(lambda record: record.levelno >= logging.WARNING)


class ErrorWatch:
    """Remembers what `error_cb` was told. Called from librdkafka's poll, read from the owner's loop."""

    def __init__(self, servers: str) -> None:
        self._servers = servers
        self._denied: KafkaError | None = None
        self.last: KafkaError | None = None

    def __call__(self, error: KafkaError) -> None:
        self.last = error
        if is_denied(error):
            self._denied = error

    def check(self, doing: str) -> None:
        """Raises KafkaDenied once the broker has refused this client."""
        if self._denied is not None:
            raise problem_from(self._denied, doing, self._servers)


def _client_config(params: KafkaParams, watch: ErrorWatch, client_id: str) -> dict[str, Property | object]:
    return {
        "client.id": client_id,
        "error_cb": watch,
        "logger": _log,
        **params.broker.client_properties(),
    }


def make_producer(
    params: KafkaParams,
    watch: ErrorWatch,
    *,
    client_id: str,
    settings: Mapping[str, Property] | None = None,
) -> Producer:
    """An idempotent producer that places keys as Java's default does, so all writers agree on partitions.

    Raises ConfigError when librdkafka does not accept a property.
    """
    config = _client_config(params, watch, client_id) | {
        "partitioner": "murmur2_random",
        "enable.idempotence": True,
        "compression.type": "lz4",
        **(settings or {}),
        **params.producer.properties,
    }
    try:
        return Producer(config)
    except (KafkaException, TypeError, ValueError) as error:
        raise _bad_config(error, params, "producer", params.producer.properties) from None


def make_consumer(
    params: KafkaParams,
    watch: ErrorWatch,
    *,
    client_id: str,
    group_id: str,
    settings: Mapping[str, Property] | None = None,
) -> Consumer:
    """A consumer that sees only committed records and commits nothing by itself.

    Raises ConfigError when librdkafka does not accept a property.
    """
    if not group_id:  # librdkafka's wrapper ends the process on it
        raise ConfigError("consumer.group_id was '', may be any name that is not empty")
    config = _client_config(params, watch, client_id) | {
        "group.id": group_id,
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
        "auto.offset.reset": params.consumer.auto_offset_reset,
        **(settings or {}),
        **params.consumer.properties,
    }
    try:
        return Consumer(config)
    except (KafkaException, TypeError, ValueError) as error:
        raise _bad_config(error, params, "consumer", params.consumer.properties) from None


def make_admin(params: KafkaParams, watch: ErrorWatch, *, client_id: str) -> AdminClient:
    """Keep the client as long as the futures that it returns: they die with it."""
    try:
        return AdminClient(_client_config(params, watch, client_id))  # type: ignore[arg-type]  # callbacks are accepted too
    except (KafkaException, TypeError, ValueError) as error:
        raise _bad_config(error, params, "broker", {}) from None


def reach_broker(params: KafkaParams, *, client_id: str, timeout_seconds: float = 10.0) -> None:
    """Return once a broker answers with metadata.

    Raises KafkaDenied as soon as it refuses us, KafkaUnavailable when none answers in time.
    """
    watch = ErrorWatch(params.broker.servers)
    admin = make_admin(params, watch, client_id=client_id)
    deadline = time.monotonic() + timeout_seconds
    doing = "connecting"
    while True:
        admin.poll(0)
        watch.check(doing)
        remaining = deadline - time.monotonic()
        try:
            admin.list_topics(timeout=max(0.05, min(1.0, remaining)))
        except KafkaException as error:
            admin.poll(0)
            watch.check(doing)
            if time.monotonic() >= deadline:
                cause = watch.last or error.args[0]
                problem = problem_from(cause, doing, params.broker.servers)
                if isinstance(problem, KafkaDenied | KafkaUnavailable):
                    raise problem from None
                raise KafkaUnavailable(str(problem)) from None
        else:
            return


def _bad_config(error: Exception, params: KafkaParams, section: str, own: Mapping[str, Property]) -> ConfigError:
    """Names the properties that were given: librdkafka may call one by its other name (linger.ms by a longer one)."""
    cause = error.args[0] if error.args else error
    text = cause.str() if isinstance(cause, KafkaError) else str(cause)
    given = [f"broker.properties.{name}" for name in params.broker.properties]
    given += [f"{section}.properties.{name}" for name in own]
    return ConfigError(f"Kafka client settings: {text}; given in kafka_config.yaml: {', '.join(given) or 'none'}")
