"""A real Kafka for tests, and the embedded one, seen alike."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.env.missing import missing

from rollcast_cli.local.embedded_kafka import EmbeddedKafka
from rollcast_cli.local.kafka_jars import JarsUnavailable, KafkaBroker, available, fetch_jars
from rollcast_common.kafka import KafkaBrokerParams, KafkaParams, TopicNames, topic_specs


class RealKafka:
    """One broker with a folder and ports of its own. A test that kills it also restarts it: others share it."""

    def __init__(self, broker: KafkaBroker) -> None:
        self._broker = broker

    @property
    def servers(self) -> str:
        return self._broker.servers

    @property
    def params(self) -> KafkaParams:
        return params_for(self.servers)

    @property
    def pid(self) -> int:
        return self._broker.child.pid

    def create_topics(self, prefix: str, partitions: int = 4) -> TopicNames:
        """Every topic of Rollcast, its names beginning with `prefix`."""
        names = TopicNames(prefix=prefix)
        self._broker.create_topics(topic_specs(names, partitions=partitions))
        return names

    def kill(self) -> None:
        """SIGKILL, as the kernel would."""
        self._broker.kill()

    def restart(self) -> None:
        """On the same data and port, after `kill` or from running; takes about 3 s after a kill."""
        self._broker.stop()
        self._broker.start()


class MockKafka:
    """librdkafka's mock cluster: 4 partitions each, at least once only."""

    def __init__(self, broker: EmbeddedKafka) -> None:
        self._broker = broker

    @property
    def servers(self) -> str:
        return self._broker.servers

    @property
    def params(self) -> KafkaParams:
        return params_for(self.servers)

    def create_topics(self, prefix: str) -> TopicNames:
        names = TopicNames(prefix=prefix)
        self._broker.create_topics(topic_specs(names, partitions=4))
        return names


def params_for(servers: str) -> KafkaParams:
    return KafkaParams(broker=KafkaBrokerParams(servers=servers))


@contextmanager
def real_kafka(folder: Path) -> Iterator[RealKafka]:
    """Skips where Java or Maven is missing."""
    here = available()
    if not here.works:
        missing(f"needs Java 17 and Maven: {here.why_not}")
    try:
        jars = fetch_jars()
    except JarsUnavailable as error:
        missing(f"needs Java 17 and Maven: {error}")
    broker = KafkaBroker(folder, jars)
    broker.start()
    try:
        yield RealKafka(broker)
    finally:
        broker.stop()


@contextmanager
def mock_kafka(folder: Path) -> Iterator[MockKafka]:
    broker = EmbeddedKafka(folder)
    try:
        yield MockKafka(broker)
    finally:
        broker.stop()
