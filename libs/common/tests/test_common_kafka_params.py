"""kafka_config.yaml: what a file and the environment may say, and which librdkafka properties come of it."""

import contextlib
from pathlib import Path
from typing import Any

import pytest

from rollcast_common.errors import ConfigError
from rollcast_common.kafka import ErrorWatch, KafkaParams, load_kafka_params, make_admin, make_consumer, make_producer
from rollcast_common.kafka.params import ENVIRONMENT

SECRET = "hunter2-T0p"

MANAGED_CLUSTER = f"""
broker:
  servers: pkc-1.eu-west-1.aws.example:9092, pkc-2.eu-west-1.aws.example:9092
  security_protocol: SASL_SSL
  sasl_mechanism: PLAIN
  username: API7KEY
  password: "{SECRET}"
  properties:
    socket.keepalive.enable: true
    client.dns.lookup: use_all_dns_ips
consumer:
  auto_offset_reset: latest
  properties: {{session.timeout.ms: 45000}}
producer:
  properties: {{linger.ms: 20, compression.type: zstd}}
topics:
  prefix: wines.
"""


def load(tmp_path: Path, text: str, **environ: str) -> KafkaParams:
    path = tmp_path / "kafka_config.yaml"
    path.write_text(text, encoding="utf-8")
    return load_kafka_params(path, environ)


def refusal(tmp_path: Path, text: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, text, **environ)
    message = str(refused.value)
    assert SECRET not in message
    assert "\n" not in message
    return message


def consumer_of(params: KafkaParams) -> Any:
    watch = ErrorWatch(params.broker.servers)
    return contextlib.closing(make_consumer(params, watch, client_id="test", group_id="test"))


class TestAccepted:
    def test_a_managed_cluster(self, tmp_path: Path) -> None:
        params = load(tmp_path, MANAGED_CLUSTER)
        assert params.broker.client_properties() == {
            "bootstrap.servers": "pkc-1.eu-west-1.aws.example:9092,pkc-2.eu-west-1.aws.example:9092",
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "PLAIN",
            "sasl.username": "API7KEY",
            "sasl.password": SECRET,
            "socket.keepalive.enable": True,
            "client.dns.lookup": "use_all_dns_ips",
        }
        assert params.consumer.auto_offset_reset == "latest"
        assert params.consumer.properties == {"session.timeout.ms": 45000}
        assert params.producer.properties == {"linger.ms": 20, "compression.type": "zstd"}
        assert params.topics.full("requests") == "wines.requests"

    def test_real_clients_take_it(self, tmp_path: Path) -> None:
        # The port is closed here: a client connects in the background, and nothing waits for that.
        params = load(tmp_path, MANAGED_CLUSTER, ROLLCAST_KAFKA_SERVERS="127.0.0.1:1")
        watch = ErrorWatch(params.broker.servers)
        with consumer_of(params) as consumer:
            assert consumer.assignment() == []
        make_producer(params, watch, client_id="test")
        make_admin(params, watch, client_id="test")

    def test_plaintext_is_the_default(self, tmp_path: Path) -> None:
        params = load(tmp_path, "broker: {servers: 'localhost:9092'}")
        assert params.broker.client_properties() == {
            "bootstrap.servers": "localhost:9092",
            "security.protocol": "PLAINTEXT",
        }
        assert params.consumer.auto_offset_reset == "earliest"

    def test_ssl_with_files(self, tmp_path: Path) -> None:
        for name in ("ca.pem", "cert.pem", "key.pem"):
            (tmp_path / name).touch()
        params = load(
            tmp_path,
            f"""
            broker:
              servers: [a:9093, "[::1]:9093"]
              security_protocol: SSL
              ssl_ca_file: {tmp_path}/ca.pem
              ssl_certificate_file: {tmp_path}/cert.pem
              ssl_key_file: {tmp_path}/key.pem
            """,
        )
        assert params.broker.client_properties() == {
            "bootstrap.servers": "a:9093,[::1]:9093",
            "security.protocol": "SSL",
            "ssl.ca.location": f"{tmp_path}/ca.pem",
            "ssl.certificate.location": f"{tmp_path}/cert.pem",
            "ssl.key.location": f"{tmp_path}/key.pem",
        }

    def test_sections_that_are_all_commented_out(self, tmp_path: Path) -> None:
        params = load(tmp_path, "broker: {servers: 'a:1'}\nconsumer:\n  # group_id: x\ntopics:\n")
        assert params.consumer.group_id is None
        assert params.topics.full("train") == "train"

    def test_the_environment_alone(self) -> None:
        params = load_kafka_params(
            None,
            {
                "ROLLCAST_KAFKA_SERVERS": "a:9092",
                "ROLLCAST_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
                "ROLLCAST_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
                "ROLLCAST_KAFKA_USERNAME": "bob",
                "ROLLCAST_KAFKA_PASSWORD": SECRET,
                "ROLLCAST_KAFKA_GROUP_ID": "mine",
                "ROLLCAST_TOPIC_PREFIX": "x-",
            },
        )
        assert params.broker.client_properties()["sasl.password"] == SECRET
        assert params.broker.client_properties()["sasl.mechanism"] == "SCRAM-SHA-512"
        assert params.consumer.group_id == "mine"
        assert params.topics.full("requests") == "x-requests"

    def test_oauthbearer_needs_no_password(self, tmp_path: Path) -> None:
        params = load(
            tmp_path,
            """
            broker:
              servers: a:9092
              security_protocol: SASL_SSL
              sasl_mechanism: OAUTHBEARER
              properties: {sasl.oauthbearer.method: oidc}
            """,
        )
        assert params.broker.client_properties()["sasl.oauthbearer.method"] == "oidc"


SASL = """
broker:
  servers: a:9092
  security_protocol: SASL_SSL
  sasl_mechanism: SCRAM-SHA-256
  username: bob
"""


class TestPasswords:
    def test_from_a_file_without_its_line_end(self, tmp_path: Path) -> None:
        (tmp_path / "password").write_text(f" {SECRET} \r\n")
        params = load(tmp_path, f"{SASL}  password_file: {tmp_path}/password")
        assert params.broker.client_properties()["sasl.password"] == f" {SECRET} "

    def test_username_from_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "user").write_text("alice\n")
        params = load(
            tmp_path, SASL.replace("username: bob", f"username_file: {tmp_path}/user"), ROLLCAST_KAFKA_PASSWORD=SECRET
        )
        assert params.broker.client_properties()["sasl.username"] == "alice"

    @pytest.mark.parametrize("in_file", ["password: other", "password_file: /nowhere"])
    def test_the_environment_overrides_the_file(self, tmp_path: Path, in_file: str) -> None:
        params = load(tmp_path, f"{SASL}  {in_file}", ROLLCAST_KAFKA_PASSWORD=SECRET)
        assert params.broker.client_properties()["sasl.password"] == SECRET

    @pytest.mark.parametrize("in_file", ["password: other", "password_file: /nowhere"])
    def test_a_file_named_by_the_environment_overrides_too(self, tmp_path: Path, in_file: str) -> None:
        (tmp_path / "password").write_text(SECRET)
        params = load(tmp_path, f"{SASL}  {in_file}", ROLLCAST_KAFKA_PASSWORD_FILE=f"{tmp_path}/password")
        assert params.broker.client_properties()["sasl.password"] == SECRET

    @pytest.mark.parametrize(
        ("content", "what"),
        [(None, "No such file"), (b"\n", "is empty"), (b"\xff" + SECRET.encode(), "not UTF-8")],
        ids=["missing", "empty", "not UTF-8"],
    )
    def test_a_file_that_cannot_be_read(self, tmp_path: Path, content: bytes | None, what: str) -> None:
        path = tmp_path / "password"
        if content is not None:
            path.write_bytes(content)
        params = load(tmp_path, f"{SASL}  password_file: {path}")
        with pytest.raises(ConfigError, match=what) as refused:
            params.broker.client_properties()
        assert str(path) in str(refused.value)
        assert SECRET not in str(refused.value)

    def test_they_are_never_shown(self, tmp_path: Path) -> None:
        params = load(tmp_path, MANAGED_CLUSTER.replace("use_all_dns_ips", f'x\n    ssl.key.password: "{SECRET}"'))
        assert params.broker.client_properties()["ssl.key.password"] == SECRET
        for shown in (repr(params), str(params), repr(params.broker), f"{params.broker.password}"):
            assert SECRET not in shown


REFUSED = {
    "credentials that would not be sent": (
        "broker: {servers: 'a:1', username: bob, password: hunter2-T0p}",
        ["credentials are given", "PLAINTEXT", "SASL_SSL"],
    ),
    "a user file that would not be used": (
        "broker: {servers: 'a:1', username_file: /x}",
        ["credentials are given", "PLAINTEXT"],
    ),
    "certificates that would not be used": (
        "broker: {servers: 'a:1', ssl_ca_file: /ca.pem}",
        ["ssl_… files are given", "PLAINTEXT", "SSL or SASL_SSL"],
    ),
    "no mechanism": (
        "broker: {servers: 'a:1', security_protocol: SASL_SSL}",
        ["needs sasl_mechanism", "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER"],
    ),
    "no password": (
        "broker: {servers: 'a:1', security_protocol: SASL_SSL, sasl_mechanism: PLAIN, username: bob}",
        ["PLAIN needs username", "password_file", "ROLLCAST_KAFKA_PASSWORD"],
    ),
    "two passwords": (
        f"{SASL}  password: hunter2-T0p\n  password_file: /x",
        ["password and password_file are both given"],
    ),
    "a password that is a number": (f"{SASL}  password: 123456", ["broker.password should be a valid string"]),
    "an unknown protocol": (
        "broker: {servers: 'a:1', security_protocol: TLS}",
        ["broker.security_protocol", "was 'TLS'", "'PLAINTEXT', 'SSL', 'SASL_PLAINTEXT' or 'SASL_SSL'"],
    ),
    "an unknown offset": (
        "broker: {servers: 'a:1'}\nconsumer: {auto_offset_reset: newest}",
        ["consumer.auto_offset_reset", "was 'newest'", "'earliest' or 'latest'"],
    ),
    "an empty group": ("broker: {servers: 'a:1'}\nconsumer: {group_id: ''}", ["consumer.group_id", "was ''"]),
    "an unknown setting": (
        "broker: {servers: 'a:1', sevrers: b}",
        ["broker.sevrers is not a setting here; check the spelling"],
    ),
    "an unknown section": ("broker: {servers: 'a:1'}\nbrokers: {}", ["brokers is not a setting here"]),
    "no servers": ("broker: {}", ["broker.servers is missing"]),
    "no broker": ("topics: {prefix: x}", ["broker is missing"]),
    "a section that is a list": (
        "broker:\n  - servers: a:1\n  - password: hunter2-T0p",
        ["broker was a list, should be a mapping"],
    ),
    "a section that is a text": ("broker: a:1", ["broker was 'a:1', should be a mapping"]),
    "a property that is a list": (
        "broker: {servers: 'a:1', properties: {linger.ms: [1]}}",
        ["broker.properties.linger.ms was a list, should be a text, a number, true or false"],
    ),
    "a secret property that is null": (
        "broker: {servers: 'a:1', properties: {ssl.key.password: }}",
        ["broker.properties.ssl.key.password should be a text"],
    ),
    "a password that YAML takes for an alias": (f"{SASL}  password: *hunter2-T0p", ["line 7", "quote a text"]),
    "a password that YAML takes for a tag": (f"{SASL}  password: !hunter2-T0p", ["line 7", "quote a text"]),
    "a password that is a list": (f"{SASL}  password: [hunter2-T0p]", ["broker.password should be"]),
    "not YAML": ("broker: [", ["line 1", "expected"]),
    "a list at the top": ("- a\n- b", ["expected a mapping at the top, found list"]),
    "nesting without end": ("[" * 5000, ["not YAML that can be read"]),
    "an impossible number": ("broker: {servers: !!int x}", ["not YAML that can be read"]),
}


@pytest.mark.parametrize(("text", "says"), REFUSED.values(), ids=REFUSED)
def test_refused(tmp_path: Path, text: str, says: list[str]) -> None:
    message = refusal(tmp_path, text)
    assert message.startswith(str(tmp_path / "kafka_config.yaml"))
    for words in says:
        assert words in message


@pytest.mark.parametrize(
    "servers",
    ["localhost", "localhost:", ":9092", "a:0", "a:65536", "a:9092,,b:9092", "a:9092,b", "a b:9092", "a:²", "a:x", ""],
)
def test_bad_servers(tmp_path: Path, servers: str) -> None:
    message = refusal(tmp_path, f"broker: {{servers: '{servers}'}}")
    assert "broker.servers was " not in message  # named once
    assert "broker.servers: was " in message
    assert "may be host:port, several separated by commas" in message


OWNED = {
    "bootstrap.servers": "is set through broker.servers",
    "sasl.password": "is set through broker.password or broker.password_file",
    "ssl.ca.location": "is set through broker.ssl_ca_file",
    "group.id": "is set through consumer.group_id",
    "auto.offset.reset": "is set through consumer.auto_offset_reset",
    "transactional.id": "is Rollcast's own and cannot be set",
    "group.instance.id": "is Rollcast's own and cannot be set",
    "isolation.level": "is Rollcast's own and cannot be set",
    "enable.auto.commit": "is Rollcast's own and cannot be set",
    "partitioner": "is Rollcast's own and cannot be set",
    "error_cb": "is Rollcast's own and cannot be set",
    "default.topic.config": "is Rollcast's own and cannot be set",
}


@pytest.mark.parametrize("section", ["broker", "consumer", "producer"])
@pytest.mark.parametrize(("name", "says"), OWNED.items(), ids=OWNED)
def test_properties_that_the_guarantees_rest_on_are_refused(tmp_path: Path, section: str, name: str, says: str) -> None:
    properties = f"properties: {{{name}: {SECRET}}}"
    sections = {"broker": "servers: 'a:1'"}
    sections[section] = ", ".join(filter(None, [sections.get(section), properties]))
    text = "\n".join(f"{key}: {{{value}}}" for key, value in sections.items())
    assert f"{section}.properties: {name} {says}" in refusal(tmp_path, text)


class TestSources:
    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"nowhere\.yaml: no such file"):
            load_kafka_params(tmp_path / "nowhere.yaml", {})

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
            load_kafka_params(tmp_path, {})

    def test_not_utf8(self, tmp_path: Path) -> None:
        (tmp_path / "k.yaml").write_bytes(b"broker: \xff")
        with pytest.raises(ConfigError, match="not UTF-8"):
            load_kafka_params(tmp_path / "k.yaml", {})

    def test_nothing_at_all(self) -> None:
        with pytest.raises(ConfigError, match=r"--kafka-config kafka_config\.yaml or set ROLLCAST_KAFKA_SERVERS"):
            load_kafka_params(None, {})

    def test_a_mistake_in_the_environment_names_the_environment(self, tmp_path: Path) -> None:
        message = refusal(tmp_path, "broker: {servers: 'a:1'}", ROLLCAST_KAFKA_SERVERS="nonsense")
        assert "environment (ROLLCAST_KAFKA_SERVERS): broker.servers: was 'nonsense'" in message

    def test_the_process_environment_is_the_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ENVIRONMENT:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("ROLLCAST_KAFKA_SERVERS", "from-environment:9092")
        assert load_kafka_params(None).broker.servers == "from-environment:9092"


class TestClients:
    """What librdkafka does not take is one line, for each kind of client."""

    @pytest.mark.parametrize(
        ("properties", "says"),
        [
            ({"linger.msx": 5}, "linger.msx"),
            ({"linger.ms": "soon"}, "producer.properties.linger.ms"),
            ({"compression.type": "best"}, "producer.properties.compression.type"),
            ({"ssl.key.pem": SECRET}, "ssl.key.pem"),
        ],
    )
    def test_a_producer_property(self, properties: dict[str, Any], says: str) -> None:
        params = KafkaParams.from_mapping(
            {
                "broker": {"servers": "127.0.0.1:1", "security_protocol": "SSL"},
                "producer": {"properties": properties},
            },
            source="test",
        )
        with pytest.raises(ConfigError) as refused:
            make_producer(params, ErrorWatch("127.0.0.1:1"), client_id="test")
        assert says in str(refused.value)
        assert SECRET not in str(refused.value)
        assert "\n" not in str(refused.value)

    def test_a_consumer_property(self) -> None:
        params = KafkaParams.from_mapping(
            {"broker": {"servers": "127.0.0.1:1"}, "consumer": {"properties": {"fetch.min": 1}}}, source="test"
        )
        with pytest.raises(
            ConfigError, match=r'"fetch\.min"; given in kafka_config\.yaml: consumer\.properties\.fetch\.min'
        ):
            consumer_of(params)

    def test_a_broker_property(self) -> None:
        params = KafkaParams.from_mapping(
            {"broker": {"servers": "127.0.0.1:1", "properties": {"sockets": 1}}}, source="test"
        )
        with pytest.raises(ConfigError, match=r'"sockets"; given in kafka_config\.yaml: broker\.properties\.sockets'):
            make_admin(params, ErrorWatch("127.0.0.1:1"), client_id="test")

    def test_an_empty_group_does_not_end_the_process(self) -> None:
        params = KafkaParams.from_mapping({"broker": {"servers": "127.0.0.1:1"}}, source="test")
        with pytest.raises(ConfigError, match=r"consumer\.group_id was ''"):
            make_consumer(params, ErrorWatch("127.0.0.1:1"), client_id="test", group_id="")

    def test_a_file_that_is_not_there(self) -> None:
        params = KafkaParams.from_mapping(
            {"broker": {"servers": "a:1", "security_protocol": "SSL", "ssl_ca_file": "/nowhere/ca.pem"}}, source="test"
        )
        with pytest.raises(ConfigError, match=r"broker\.ssl_ca_file was '/nowhere/ca\.pem': no such file"):
            params.broker.client_properties()
