"""Producers, consumers and admin clients with our settings in them.

Three quirks of the client are dealt with here. A wrong password or certificate is only ever told to
`error_cb`; calls just time out. So each client has an ErrorWatch that its owner asks. Its log lines go
to stderr unless a logger is given, so each gets ours. And it may forget every broker for good, without a word to
anyone but `stats_cb`: see LifeWatch.
"""

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from rollcast_common.errors import ConfigError, KafkaDenied, KafkaUnavailable
from rollcast_common.kafka.errors import is_denied, problem_from
from rollcast_common.kafka.params import KafkaParams, Property

__all__ = ["ErrorWatch", "LifeWatch", "close_consumer", "make_admin", "make_consumer", "make_producer", "reach_broker"]

_log = logging.getLogger("rollcast.kafka")
_log.addFilter(lambda record: record.levelno >= logging.WARNING)

_STATISTICS_MS = 5000
_ALONE_TIMES = 2
_FIRST_PATIENCE_SECONDS = 1.0
_LONGEST_PATIENCE_SECONDS = 8.0


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

    def properties(self) -> dict[str, Property | object]:
        """What a client needs to be watched."""
        return {"error_cb": self}


class LifeWatch(ErrorWatch):
    """For clients that live as long as their process: notices, too, that one has lost its way to the cluster for good.

    A broker that shuts down when no other is left names no broker at all in its last answer. librdkafka then forgets
    all it knew, the bootstrap servers among them, and never asks anyone again (2.10 up to 2.16, issue 5301 of
    confluentinc/librdkafka). Only its statistics show it. They wait in memory until they are taken, so this is for
    clients whose owner polls them all the time.
    """

    def __init__(self, servers: str) -> None:
        super().__init__(servers)
        self._alone: Counter[str] = Counter()

    @property
    def is_cut_off(self) -> bool:
        """Whether a client must be made anew, with a new watch. Twice in a row: it may be about to look again."""
        return any(times >= _ALONE_TIMES for times in self._alone.values())

    def check(self, doing: str) -> None:
        """Raises KafkaDenied as ErrorWatch, and KafkaUnavailable when `is_cut_off`."""
        super().check(doing)
        if self.is_cut_off:
            raise KafkaUnavailable(
                f"Kafka at {self._servers}: {doing}: the client was left without any broker to ask; it must begin anew"
            )

    def properties(self) -> dict[str, Property | object]:
        return super().properties() | {"stats_cb": self.take_statistics, "statistics.interval.ms": _STATISTICS_MS}

    def take_statistics(self, text: str) -> None:
        """`text` is what librdkafka's STATISTICS.md describes. Coordinators are listed, too, as logical brokers."""
        found = json.loads(text)
        if any(broker["source"] != "logical" for broker in found["brokers"].values()):
            self._alone.pop(found["name"], None)
        else:
            self._alone[found["name"]] += 1


def _client_config(params: KafkaParams, watch: ErrorWatch, client_id: str) -> dict[str, Property | object]:
    return {
        "client.id": client_id,
        "logger": _log,
        **watch.properties(),
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


def close_consumer(consumer: Consumer, *, timeout_seconds: float = 5.0) -> None:
    """`close`, but not for ever: after the last broker's goodbye it waits for the answer to a commit that nobody gives.

    What is left behind then ends with the process. Raises what `close` raises. Callbacks are called in another thread,
    while this one waits.
    """
    raised: list[BaseException] = []

    def close() -> None:
        try:
            consumer.close()
        except BaseException as error:  # noqa: BLE001  # it is raised where it was asked for
            raised.append(error)

    thread = threading.Thread(target=close, name="closing", daemon=True)
    thread.start()
    thread.join(timeout_seconds)
    if raised:
        raise raised[0]
    if thread.is_alive():
        _log.warning("a consumer did not close within %g s and is left behind", timeout_seconds)


def make_admin(params: KafkaParams, watch: ErrorWatch, *, client_id: str) -> AdminClient:
    """Keep the client as long as the futures that it returns: they die with it."""
    try:
        return AdminClient(_client_config(params, watch, client_id))  # type: ignore[arg-type]  # callbacks are accepted too
    except (KafkaException, TypeError, ValueError) as error:
        raise _bad_config(error, params, "broker", {}) from None


def reach_broker(params: KafkaParams, *, client_id: str, timeout_seconds: float = 10.0) -> None:
    """Return once a broker answers with metadata.

    Raises KafkaDenied soon after it refuses us, KafkaUnavailable when none answers in time.
    """
    watch = ErrorWatch(params.broker.servers)
    admin = make_admin(params, watch, client_id=client_id)
    deadline = time.monotonic() + timeout_seconds
    doing = "connecting"
    patience = _FIRST_PATIENCE_SECONDS
    while True:
        admin.poll(0)
        watch.check(doing)
        remaining = deadline - time.monotonic()
        try:
            admin.list_topics(timeout=max(0.05, min(patience, remaining)))
        except KafkaException as error:
            admin.poll(0)
            watch.check(doing)
            if time.monotonic() >= deadline:
                cause = watch.last or error.args[0]
                problem = problem_from(cause, doing, params.broker.servers)
                if isinstance(problem, KafkaDenied | KafkaUnavailable):
                    raise problem from None
                raise KafkaUnavailable(str(problem)) from None
            # An answer that comes later than this is lost: a slow broker would never be heard.
            patience = min(2 * patience, _LONGEST_PATIENCE_SECONDS)
        else:
            return


def _bad_config(error: Exception, params: KafkaParams, section: str, own: Mapping[str, Property]) -> ConfigError:
    """Names the properties that were given: librdkafka may call one by its other name (linger.ms by a longer one)."""
    cause = error.args[0] if error.args else error
    text = cause.str() if isinstance(cause, KafkaError) else str(cause)
    given = [f"broker.properties.{name}" for name in params.broker.properties]
    given += [f"{section}.properties.{name}" for name in own]
    return ConfigError(f"Kafka client settings: {text}; given in kafka_config.yaml: {', '.join(given) or 'none'}")
