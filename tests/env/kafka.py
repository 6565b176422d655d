"""A real Kafka for tests, and the embedded one, seen alike."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from tests.env.missing import missing

from rollcast_cli.local.embedded_kafka import EmbeddedKafka
from rollcast_cli.local.kafka_jars import JarsUnavailable, KafkaBroker, available, fetch_jars
from rollcast_cli.local.ports import free_ports
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
def real_kafka(
    folder: Path, *, ports: tuple[int, int] | None = None, extra_properties: Mapping[str, str] | None = None
) -> Iterator[RealKafka]:
    """Skips where Java or Maven is missing. The options are `KafkaBroker`'s."""
    here = available()
    if not here.works:
        missing(f"needs Java 17 and Maven: {here.why_not}")
    try:
        jars = fetch_jars()
    except JarsUnavailable as error:
        missing(f"needs Java 17 and Maven: {error}")
    broker = KafkaBroker(folder, jars, ports=ports, extra_properties=extra_properties)
    broker.start()
    try:
        yield RealKafka(broker)
    finally:
        broker.stop()


@dataclass(frozen=True, slots=True)
class SaslKafka:
    """A broker that wants a password on the listener that its clients are told of, and allows them what ACLs say."""

    inside: KafkaParams
    """Without a password, for those who prepare it; they may do anything."""

    servers: str
    username: str
    password: str


@contextmanager
def sasl_kafka(folder: Path) -> Iterator[SaslKafka]:
    """SASL_PLAINTEXT with PLAIN, as `real_kafka` else."""
    client, controller, guarded = free_ports(3)
    username, password = "predictor", f"right-{uuid4().hex}"
    module = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    plain, sasl = f"PLAINTEXT://127.0.0.1:{client}", f"SASL_PLAINTEXT://127.0.0.1:{guarded}"
    extra = {
        "listeners": f"{plain},{sasl},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"{plain},{sasl}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "listener.name.sasl_plaintext.plain.sasl.jaas.config": f'{module} user_{username}="{password}";',
    }
    with real_kafka(folder, ports=(client, controller), extra_properties=extra) as kafka:
        yield SaslKafka(kafka.params, f"127.0.0.1:{guarded}", username, password)


@contextmanager
def mock_kafka(folder: Path) -> Iterator[MockKafka]:
    broker = EmbeddedKafka(folder)
    try:
        yield MockKafka(broker)
    finally:
        broker.stop()
