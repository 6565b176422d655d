"""The topics: their names, how they are created, and the check at start that they are there."""

import time
from contextlib import suppress
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from rollcast_common.config import Settings
from rollcast_common.errors import KafkaDenied, TopicMissing
from rollcast_common.kafka.errors import problem_from

__all__ = ["TopicNames", "TopicSpec", "check_topics", "create_topics", "topic_specs"]

MAX_REQUEST_BYTES = 1_048_576
MAX_DEAD_LETTER_BYTES = 8_388_608

_DAY_MS = 86_400_000
_KNOWN_SECONDS = 5.0
_KNOWN_AGAIN_SECONDS = 0.05
_COMPACTED = {"cleanup.policy": "compact", "segment.ms": "3600000", "min.cleanable.dirty.ratio": "0.1"}
"""Of each key the last record counts. A slot reads these topics to their end before it serves, so they stay short."""


class TopicNames(Settings):
    """What the topics are called here; `prefix` goes before each of them."""

    prefix: str = ""
    requests: str = "requests"
    app_messages: str = "app_messages"
    dead_letters: str = "dead_letters"
    train: str = "train"
    assignments: str = "assignments"
    predictor_status: str = "predictor_status"
    shadow_predictions: str = "shadow_predictions"
    feedback: str = "feedback"
    notifications: str = "notifications"
    notifications_failed: str = "notifications_failed"

    def full(self, name: str) -> str:
        """The name on the broker of the topic that Rollcast calls `name`."""
        return f"{self.prefix}{getattr(self, name)}"

    def all_full(self) -> list[str]:
        return [self.full(name) for name in type(self).model_fields if name != "prefix"]


@dataclass(frozen=True, slots=True)
class TopicSpec:
    name: str
    partitions: int
    config: dict[str, str] = field(default_factory=dict)


def topic_specs(names: TopicNames, *, partitions: int) -> list[TopicSpec]:
    """Every topic with `partitions` partitions where order is per key, and one where it is total."""
    return [
        TopicSpec(names.full("requests"), partitions, {"max.message.bytes": str(MAX_REQUEST_BYTES)}),
        # A prediction carries its request, so it may be larger.
        TopicSpec(names.full("app_messages"), partitions, {"max.message.bytes": str(2 * MAX_REQUEST_BYTES)}),
        TopicSpec(names.full("dead_letters"), partitions, {"max.message.bytes": str(MAX_DEAD_LETTER_BYTES)}),
        TopicSpec(names.full("train"), 1, {"retention.ms": "-1"}),
        TopicSpec(names.full("assignments"), 1, _COMPACTED),
        TopicSpec(names.full("predictor_status"), 1, _COMPACTED),
        TopicSpec(
            names.full("shadow_predictions"),
            partitions,
            {"max.message.bytes": str(2 * MAX_REQUEST_BYTES), "retention.ms": str(_DAY_MS)},
        ),
        # Labels are what the next model learns from: they stay.
        TopicSpec(names.full("feedback"), partitions, {"retention.ms": "-1"}),
        TopicSpec(names.full("notifications"), partitions),
        TopicSpec(names.full("notifications_failed"), partitions),
    ]


def create_topics(
    admin: AdminClient,
    specs: list[TopicSpec],
    *,
    replication: int,
    servers: str,
    timeout_seconds: float = 30.0,
) -> dict[str, bool]:
    """Create what is missing. The result says of each topic whether it was created (else it was there).

    A broker's port opens a moment before topics can be created, so a refusal that may pass is tried again.
    Raises KafkaProblem.
    """
    result: dict[str, bool] = {}
    deadline = time.monotonic() + timeout_seconds
    todo = list(specs)
    while todo:
        futures = admin.create_topics(
            [NewTopic(s.name, s.partitions, replication, config=s.config) for s in todo], request_timeout=10
        )
        again = []
        for spec in todo:
            try:
                futures[spec.name].result()
                result[spec.name] = True
            except KafkaException as error:
                cause: KafkaError = error.args[0]
                if cause.code() == KafkaError.TOPIC_ALREADY_EXISTS:
                    result[spec.name] = result.get(spec.name, False)
                elif cause.retriable() and time.monotonic() < deadline:
                    again.append(spec)
                else:
                    raise problem_from(cause, f"creating topic {spec.name}", servers) from None
        todo = again
        if todo:
            time.sleep(0.1)
    _wait_until_known(admin, [name for name, created in result.items() if created])
    return result


def _wait_until_known(admin: AdminClient, names: list[str]) -> None:
    """A controller answers that a topic is created a moment before its brokers know it, and whoever asks one in
    between is told that there is none. Who may create a topic need not be allowed to see it: then this gives up.
    """
    deadline = time.monotonic() + _KNOWN_SECONDS
    with suppress(KafkaException):
        while names and time.monotonic() < deadline:
            topics = admin.list_topics(timeout=_KNOWN_SECONDS).topics
            names = [name for name in names if name not in topics or topics[name].error is not None]
            time.sleep(_KNOWN_AGAIN_SECONDS if names else 0)


def check_topics(
    admin: AdminClient, wanted: list[str], *, servers: str, timeout_seconds: float = 10.0
) -> dict[str, int]:
    """How many partitions each has.

    Raises TopicMissing naming every topic that is not there, KafkaDenied naming those that this user may not see,
    KafkaProblem when the broker does not say.
    """
    try:
        present = admin.list_topics(timeout=timeout_seconds).topics
    except KafkaException as error:
        raise problem_from(error.args[0], "listing topics", servers) from None
    missing = [name for name in wanted if name not in present]
    if hidden := [name for name in missing if _is_hidden(admin, name, timeout_seconds)]:
        raise KafkaDenied(
            f"Kafka at {servers}: this user may not even see topic {', '.join(hidden)}, if there is one; "
            "an ACL is missing: add it for this user (`rollcast acls` prints what is needed)"
        )
    if missing:
        raise TopicMissing(
            f"Kafka at {servers}: no topic {', '.join(missing)}; create with `rollcast topics create`, "
            "or set the names under `topics:` in kafka_config.yaml"
        )
    return {name: len(present[name].partitions) for name in wanted}


def _is_hidden(admin: AdminClient, name: str, timeout_seconds: float) -> bool:
    """A list leaves out what the user may not see; who asks for it by name is told so."""
    (future,) = admin.describe_topics(TopicCollection([name]), request_timeout=timeout_seconds).values()
    try:
        future.result()
    except KafkaException as error:
        cause: KafkaError = error.args[0]
        return cause.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    return False
