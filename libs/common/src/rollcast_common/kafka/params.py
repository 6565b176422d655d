"""How to reach Kafka: `kafka_config.yaml`, laid under the environment."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from rollcast_common.config import Settings, environment_overrides, load_yaml, merged
from rollcast_common.errors import ConfigError
from rollcast_common.kafka.topics import TopicNames

__all__ = [
    "ENVIRONMENT",
    "KafkaBrokerParams",
    "KafkaConsumerParams",
    "KafkaParams",
    "KafkaProducerParams",
    "load_kafka_params",
]

Property = str | int | float | bool

_SERVER = re.compile(r"[^\s,]+:([0-9]{1,5})")
_HIGHEST_PORT = 65_535

ENVIRONMENT: Mapping[str, tuple[str, ...]] = {
    "ROLLCAST_KAFKA_SERVERS": ("broker", "servers"),
    "ROLLCAST_KAFKA_SECURITY_PROTOCOL": ("broker", "security_protocol"),
    "ROLLCAST_KAFKA_SASL_MECHANISM": ("broker", "sasl_mechanism"),
    "ROLLCAST_KAFKA_USERNAME": ("broker", "username"),
    "ROLLCAST_KAFKA_USERNAME_FILE": ("broker", "username_file"),
    "ROLLCAST_KAFKA_PASSWORD": ("broker", "password"),
    "ROLLCAST_KAFKA_PASSWORD_FILE": ("broker", "password_file"),
    "ROLLCAST_KAFKA_SSL_CA_FILE": ("broker", "ssl_ca_file"),
    "ROLLCAST_KAFKA_SSL_CERTIFICATE_FILE": ("broker", "ssl_certificate_file"),
    "ROLLCAST_KAFKA_SSL_KEY_FILE": ("broker", "ssl_key_file"),
    "ROLLCAST_KAFKA_GROUP_ID": ("consumer", "group_id"),
    "ROLLCAST_KAFKA_AUTO_OFFSET_RESET": ("consumer", "auto_offset_reset"),
    "ROLLCAST_TOPIC_PREFIX": ("topics", "prefix"),
    **{f"ROLLCAST_TOPIC_{name.upper()}": ("topics", name) for name in TopicNames.model_fields if name != "prefix"},
}

# What the guarantees rest on is not for a configuration file to change.
_OWNED = {
    "bootstrap.servers": "broker.servers",
    "metadata.broker.list": "broker.servers",
    "security.protocol": "broker.security_protocol",
    "sasl.mechanism": "broker.sasl_mechanism",
    "sasl.mechanisms": "broker.sasl_mechanism",
    "sasl.username": "broker.username",
    "sasl.password": "broker.password or broker.password_file",
    "ssl.ca.location": "broker.ssl_ca_file",
    "ssl.certificate.location": "broker.ssl_certificate_file",
    "ssl.key.location": "broker.ssl_key_file",
    "group.id": "consumer.group_id",
    "auto.offset.reset": "consumer.auto_offset_reset",
    "group.instance.id": None,
    "transactional.id": None,
    "enable.auto.commit": None,
    "enable.auto.offset.store": None,
    "isolation.level": None,
    "partitioner": None,
    "partition.assignment.strategy": None,
    "group.protocol": None,
    # Python objects, which no file can hold.
    **dict.fromkeys(
        (
            "error_cb",
            "log_cb",
            "logger",
            "oauth_cb",
            "on_commit",
            "on_delivery",
            "stats_cb",
            "throttle_cb",
            "default.topic.config",
        )
    ),
}


def _check_properties(properties: dict[str, Property]) -> dict[str, Property]:
    for name in properties:
        if name in _OWNED:
            place = _OWNED[name]
            raise ValueError(
                f"{name} is set through {place}" if place else f"{name} is Rollcast's own and cannot be set"
            )
    return properties


class _WithProperties(Settings):
    properties: dict[str, Property] = Field(default_factory=dict, repr=False)
    """Any other librdkafka property, passed through. Never shown: some hold secrets."""

    _properties_are_free = field_validator("properties")(_check_properties)


class KafkaBrokerParams(_WithProperties):
    """Where the brokers are and how a client proves who it is. Passwords come from a file or the environment."""

    servers: str
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = None
    username: str | None = None
    username_file: Path | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    ssl_ca_file: Path | None = None
    ssl_certificate_file: Path | None = None
    ssl_key_file: Path | None = None

    @field_validator("servers", mode="before")
    @classmethod
    def _servers(cls, value: object) -> object:
        joined = ",".join(str(item) for item in value) if isinstance(value, list) else value
        if not isinstance(joined, str):
            return joined
        servers = [server.strip() for server in joined.split(",")]
        for server in servers:
            found = _SERVER.fullmatch(server)
            if found is None or not 0 < int(found[1]) <= _HIGHEST_PORT:
                raise ValueError(f"was {server!r}, may be host:port, several separated by commas")
        return ",".join(servers)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.security_protocol.startswith("SASL"):
            if self.sasl_mechanism is None:
                raise ValueError(
                    f"security_protocol {self.security_protocol} needs sasl_mechanism: "
                    "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER"
                )
            if self.sasl_mechanism != "OAUTHBEARER" and not (
                (self.username or self.username_file) and (self.password or self.password_file)
            ):
                raise ValueError(
                    f"sasl_mechanism {self.sasl_mechanism} needs username (or username_file) and "
                    "password_file (or ROLLCAST_KAFKA_PASSWORD)"
                )
        elif self.sasl_mechanism or self.username or self.username_file or self.password or self.password_file:
            raise ValueError(
                f"credentials are given, but security_protocol is {self.security_protocol}, "
                "which would not send them; it may be SASL_SSL"
            )
        for setting in ("username", "password"):
            if getattr(self, setting) and getattr(self, f"{setting}_file"):
                raise ValueError(f"{setting} and {setting}_file are both given; give one of them")
        if not self.security_protocol.endswith("SSL") and (
            self.ssl_ca_file or self.ssl_certificate_file or self.ssl_key_file
        ):
            raise ValueError(
                f"ssl_… files are given, but security_protocol is {self.security_protocol}, "
                "which would not use them; it may be SSL or SASL_SSL"
            )
        return self

    def client_properties(self) -> dict[str, Property]:
        """Librdkafka properties that every kind of client needs.

        Raises ConfigError when a credential file cannot be read.
        """
        username = _from_file(self.username_file) if self.username_file else self.username
        if self.password_file:
            password: str | None = _from_file(self.password_file)
        else:
            password = self.password.get_secret_value() if self.password else None
        candidates: dict[str, Property | Path | None] = {
            "bootstrap.servers": self.servers,
            "security.protocol": self.security_protocol,
            "sasl.mechanism": self.sasl_mechanism,
            "sasl.username": username,
            "sasl.password": password,
            "ssl.ca.location": self.ssl_ca_file,
            "ssl.certificate.location": self.ssl_certificate_file,
            "ssl.key.location": self.ssl_key_file,
        }
        for name, value in candidates.items():
            if isinstance(value, Path) and not value.is_file():
                raise ConfigError(f"{_OWNED[name]} was {str(value)!r}: no such file")
        own = {
            name: str(value) if isinstance(value, Path) else value
            for name, value in candidates.items()
            if value is not None
        }
        return own | self.properties


class KafkaConsumerParams(_WithProperties):
    group_id: Annotated[str, Field(min_length=1)] | None = None  # on an empty one the client kills the process
    """Replaces the group that the predictor would name after its model; seldom needed."""

    auto_offset_reset: Literal["earliest", "latest"] = "earliest"
    """Where a group begins that has committed nothing yet."""


class KafkaProducerParams(_WithProperties):
    pass


class KafkaParams(Settings):
    """All of `kafka_config.yaml`."""

    broker: KafkaBrokerParams
    consumer: KafkaConsumerParams = KafkaConsumerParams()
    producer: KafkaProducerParams = KafkaProducerParams()
    topics: TopicNames = TopicNames()


def load_kafka_params(path: Path | None, environ: Mapping[str, str] | None = None) -> KafkaParams:
    """Read `path` (optional: the environment may say everything) and lay the environment over it.

    Raises ConfigError naming the setting, what it was and what it may be.
    """
    environ = os.environ if environ is None else environ
    loaded: dict[str, Any] = load_yaml(path) if path else {}
    values = {name: value for name, value in loaded.items() if value is not None}  # a section all commented out
    overrides = environment_overrides(ENVIRONMENT, environ)
    broker = overrides.get("broker", {})
    for setting in ("password", "username"):  # whichever of value and file the environment names wins
        other = f"{setting}_file"
        if isinstance(values.get("broker"), dict):
            if setting in broker:
                values["broker"] = {k: v for k, v in values["broker"].items() if k != other}
            elif other in broker:
                values["broker"] = {k: v for k, v in values["broker"].items() if k != setting}
    if not values and not broker:
        raise ConfigError(
            "Kafka is not configured: give --kafka-config kafka_config.yaml or set ROLLCAST_KAFKA_SERVERS=host:port"
        )
    sources = [str(path)] if path else []
    if overrides:
        sources.append(f"environment ({', '.join(name for name in ENVIRONMENT if name in environ)})")
    return KafkaParams.from_mapping(merged(values, overrides), source=" and ".join(sources))


def _from_file(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").rstrip("\r\n")  # spaces may belong to a password
    except UnicodeDecodeError:
        raise ConfigError(f"credential file {path}: cannot be read: it is not UTF-8 text") from None
    except OSError as error:
        raise ConfigError(f"credential file {path}: cannot be read: {error.strerror or error}") from None
    if not text:
        raise ConfigError(f"credential file {path}: is empty")
    return text
