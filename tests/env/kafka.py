"""A real Kafka for tests, and the embedded one, seen alike."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from confluent_kafka.admin._acl import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
)  # where their types are
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType  # the same
from confluent_kafka.admin._scram import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion  # the same
from tests.env.certificates import Authority
from tests.env.missing import missing

from rollcast_cli.local.embedded_kafka import EmbeddedKafka
from rollcast_cli.local.kafka_jars import JarsUnavailable, KafkaBroker, available, fetch_jars
from rollcast_cli.local.ports import free_ports
from rollcast_cli.local.processes import wait_until
from rollcast_common.errors import KafkaDenied
from rollcast_common.kafka import (
    ErrorWatch,
    KafkaBrokerParams,
    KafkaParams,
    TopicNames,
    create_topics,
    load_kafka_params,
    make_admin,
    reach_broker,
    topic_specs,
)

_ADMIN_SECONDS = 120.0


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


class SecureKafka:
    """A broker as production has it: SASL_SSL with SCRAM-SHA-512, another listener that wants client certificates, and
    nobody may do anything but what ACLs say.
    """

    def __init__(self, inside: KafkaParams, authority: Authority, sasl: str, certificates: str) -> None:
        self.inside = inside
        """Without a password, for those who prepare it; they may do anything."""

        self.authority = authority
        self.sasl_servers = sasl
        self.certificate_servers = certificates
        self.admin = make_admin(inside, ErrorWatch(inside.broker.servers), client_id="test-security")

    def create_topics(self, prefix: str, partitions: int = 2) -> TopicNames:
        names = TopicNames(prefix=prefix)
        create_topics(
            self.admin, topic_specs(names, partitions=partitions), replication=1, servers=self.inside.broker.servers
        )
        return names

    def delete_topics(self, names: list[str]) -> None:
        for future in self.admin.delete_topics(names).values():
            future.result(_ADMIN_SECONDS)

    def add_user(self, name: str) -> dict[str, str]:
        """The settings of a client who logs in as `name`, whose password is new."""
        password = f"right-{uuid4().hex}"
        credential = UserScramCredentialUpsertion(
            name, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), password.encode()
        )
        for future in self.admin.alter_user_scram_credentials([credential]).values():
            future.result(_ADMIN_SECONDS)
        settings = {
            "ROLLCAST_KAFKA_SERVERS": self.sasl_servers,
            "ROLLCAST_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "ROLLCAST_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "ROLLCAST_KAFKA_USERNAME": name,
            "ROLLCAST_KAFKA_PASSWORD": password,
            "ROLLCAST_KAFKA_SSL_CA_FILE": str(self.authority.ca),
        }
        wait_until(lambda: _may_log_in(settings), what=f"{name} is known", timeout_seconds=_ADMIN_SECONDS)
        return settings

    def allow(self, bindings: list[AclBinding]) -> None:
        for future in self.admin.create_acls(bindings).values():
            future.result(_ADMIN_SECONDS)

        def are_known() -> bool:
            """The broker learns of them a moment after its controller."""
            known = {binding for who in {each.principal for each in bindings} for binding in self.allowed(who)}
            return known >= set(bindings)

        wait_until(are_known, what="the broker knows what is allowed", timeout_seconds=_ADMIN_SECONDS)

    def allowed(self, principal: str) -> list[AclBinding]:
        found: list[AclBinding] = self.admin.describe_acls(_everything_of(principal)).result(_ADMIN_SECONDS)
        return found

    def forbid(self, principal: str) -> None:
        """Take back all that `allow` gave."""
        for future in self.admin.delete_acls([_everything_of(principal)]).values():
            future.result(_ADMIN_SECONDS)
        wait_until(lambda: not self.allowed(principal), what="all is forbidden", timeout_seconds=_ADMIN_SECONDS)


def _may_log_in(settings: Mapping[str, str]) -> bool:
    """The broker learns of a new user a moment after its controller."""
    try:
        reach_broker(load_kafka_params(None, settings), client_id="test-login")
    except KafkaDenied:
        return False
    return True


def _everything_of(principal: str) -> AclBindingFilter:
    return AclBindingFilter(
        ResourceType.ANY,
        None,  # type: ignore[arg-type]  # any name
        ResourcePatternType.ANY,
        principal,
        "*",
        AclOperation.ANY,
        AclPermissionType.ANY,
    )


@contextmanager
def secure_kafka(folder: Path) -> Iterator[SecureKafka]:
    """As `real_kafka` else."""
    client, controller, sasl, certificates = free_ports(4)
    authority = Authority(folder / "certificates")
    certificate, key = authority.sign("broker")
    keystore = folder / "certificates" / "keystore.pem"
    keystore.write_bytes(key.read_bytes() + certificate.read_bytes())
    listeners = [
        f"PLAINTEXT://127.0.0.1:{client}",
        f"SASL_SSL://127.0.0.1:{sasl}",
        f"SSL://127.0.0.1:{certificates}",
    ]
    extra = {
        "listeners": ",".join([*listeners, f"CONTROLLER://127.0.0.1:{controller}"]),
        "advertised.listeners": ",".join(listeners),
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(keystore),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.ca),
        "listener.name.ssl.ssl.client.auth": "required",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "allow.everyone.if.no.acl.found": "false",
    }
    with real_kafka(folder, ports=(client, controller), extra_properties=extra) as kafka:
        yield SecureKafka(kafka.params, authority, f"127.0.0.1:{sasl}", f"127.0.0.1:{certificates}")


@contextmanager
def mock_kafka(folder: Path) -> Iterator[MockKafka]:
    broker = EmbeddedKafka(folder)
    try:
        yield MockKafka(broker)
    finally:
        broker.stop()
