"""Which broker the local stack runs on, why, and the two as one protocol."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from rollcast_cli.local import kafka_jars
from rollcast_cli.local.embedded_kafka import EmbeddedKafka
from rollcast_cli.local.kafka_jars import Progress
from rollcast_cli.local.processes import Child
from rollcast_common.errors import ConfigError
from rollcast_common.kafka.topics import TopicSpec

__all__ = ["Broker", "BrokerChoice", "choose_broker", "start_broker"]

_INSTALL = "install Java 17 or later and Maven (Debian: openjdk-17-jre-headless maven)"


class Broker(Protocol):
    """A broker that runs. `guarantee` is what the predictor can promise on it."""

    @property
    def kind(self) -> Literal["kafka", "embedded"]: ...
    @property
    def guarantee(self) -> Literal["exactly_once", "at_least_once"]: ...
    @property
    def servers(self) -> str: ...
    @property
    def child(self) -> Child: ...
    def create_topics(self, specs: list[TopicSpec]) -> None:
        """Create what is missing. Raises KafkaProblem."""

    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class BrokerChoice:
    kind: Literal["kafka", "embedded"]
    reason: str
    """A sentence for the person at the terminal."""


def choose_broker(wanted: str, *, progress: Progress = lambda _: None) -> BrokerChoice:
    """`auto` takes a real Kafka where Java and Maven work and its jars are here or can be downloaded, else the mock.

    The jars are downloaded here, so that a choice can be kept. Raises ConfigError when `wanted` is none of
    auto, kafka, embedded, and when it is kafka and that cannot be had.
    """
    if wanted not in ("auto", "kafka", "embedded"):
        raise ConfigError(f"BROKER was {wanted!r}, may be auto, kafka or embedded")
    if wanted == "embedded":
        return BrokerChoice("embedded", "broker: librdkafka's embedded one, as asked; delivery is at least once")
    why_not = _why_no_kafka(progress)
    if not why_not:
        because = "as asked" if wanted == "kafka" else "because Java and Maven work here"
        return BrokerChoice("kafka", f"broker: Apache Kafka {kafka_jars.KAFKA_VERSION}, {because}; exactly once")
    if wanted == "kafka":
        raise ConfigError(
            f"BROKER=kafka cannot be had: {why_not}; {_INSTALL}, or use BROKER=embedded, which needs neither"
        )
    return BrokerChoice(
        "embedded",
        f"broker: librdkafka's embedded one, because {why_not}; delivery is at least once "
        f"(for exactly once {_INSTALL})",
    )


def start_broker(choice: BrokerChoice, folder: Path, *, progress: Progress = lambda _: None) -> Broker:
    """Start what was chosen; data and logs go into `folder`. Raises ChildDied, NotInTime, JarsUnavailable."""
    if choice.kind == "embedded":
        return EmbeddedKafka(folder)
    broker = kafka_jars.KafkaBroker(folder, kafka_jars.fetch_jars(progress))
    broker.start()
    return broker


def _why_no_kafka(progress: Progress) -> str:
    here = kafka_jars.available()
    if not here.works:
        return here.why_not
    try:
        kafka_jars.fetch_jars(progress)
    except kafka_jars.JarsUnavailable as error:
        return str(error)
    return ""
