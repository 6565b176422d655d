"""With exactly the rights that `rollcast acls` prints every part does its work, and with any other it is refused."""

import argparse
import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicCollection, TopicPartition
from confluent_kafka.admin._acl import AclBinding, AclOperation, AclPermissionType  # where their types are
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType  # the same
from tests.env.certificates import Authority
from tests.env.kafka import SecureKafka, secure_kafka
from tests.env.predictor import MODEL, Requests, Slot, World
from tests.env.s3 import S3

from rollcast_cli.asking import ask
from rollcast_cli.connection import Connection
from rollcast_cli.dead_letters import read_letters, replay
from rollcast_cli.local.processes import wait_until
from rollcast_cli.results import ResultReader
from rollcast_cli.status import collect_status
from rollcast_common.contracts import Assignment, ModelTrained
from rollcast_common.errors import KafkaDenied
from rollcast_common.identity import ModelIdentity
from rollcast_common.kafka import (
    ErrorWatch,
    KafkaParams,
    Right,
    Role,
    Scope,
    TableFollower,
    check_topics,
    create_topics,
    load_kafka_params,
    make_admin,
    make_consumer,
    make_producer,
    reach_broker,
    read_to_end,
    rights,
    topic_specs,
)
from rollcast_control.bridge_loop import Bridge
from rollcast_control.control_topics import ControlTopics
from rollcast_trainer.publishing import announce

_COMMAND = str(Path(sys.executable).with_name("rollcast"))
_SECONDS = 180.0  # on a machine with much else to do a slot has been seen to take 70 s to start
_OF_ONE_MODEL = ("--namespace", "default", "--model", MODEL)


def principal(role: Role) -> str:
    return f"User:{role}"


@dataclass(frozen=True, slots=True)
class Guarded:
    """A broker with a user for each role; none of them may do anything yet."""

    kafka: SecureKafka
    users: Mapping[Role, Mapping[str, str]]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with secure_kafka(tmp_path_factory.mktemp("secure-kafka")) as kafka:
        yield Guarded(kafka, {role: kafka.add_user(role) for role in Role})


@dataclass(frozen=True, slots=True)
class Place:
    """Topics, a bucket and an installation of one test's own."""

    guarded: Guarded
    world: World

    @property
    def installation(self) -> str:
        return self.world.identity.installation

    @property
    def scope(self) -> Scope:
        return Scope(self.world.names, self.installation, "default", MODEL)

    def topic(self, name: str) -> str:
        return self.world.names.full(name)

    def environ(self, role: Role) -> dict[str, str]:
        return {**self.guarded.users[role], "ROLLCAST_TOPIC_PREFIX": self.world.names.prefix}

    def params(self, role: Role) -> KafkaParams:
        return load_kafka_params(None, self.environ(role))

    def command(self, *arguments: str, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """`rollcast acls` for this installation, with a principal named after each role."""
        principals = [part for role in Role for part in ("--principal", f"{role}={principal(role)}")]
        return subprocess.run(
            [_COMMAND, "acls", "--installation", self.installation, *principals, *arguments],
            env={**os.environ, "ROLLCAST_TOPIC_PREFIX": self.world.names.prefix, **(environ or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )

    def print_and_allow(self, *arguments: str) -> list[AclBinding]:
        """Carry out the command lines as kafka-acls.sh would."""
        result = self.command(*arguments)
        assert result.returncode == 0, result.stderr
        bindings = as_kafka_acls_would(result.stdout)
        self.guarded.kafka.allow(bindings)
        return bindings

    def start_slot(self, **options: Any) -> Slot:
        return self.world.start(environ=self.environ(Role.PREDICTOR), **options)


def place_for(guarded: Guarded, s3: S3, prefix: str, folder: Path) -> Place:
    """Rights stay when a test ends: nobody else's topics and groups are called as its own."""
    world = World(guarded.kafka.inside, guarded.kafka.create_topics(prefix), s3.params(), folder)
    world.identity = ModelIdentity(f"t-{uuid4().hex[:8]}", "default", MODEL)
    world.group = world.identity.consumer_group
    return Place(guarded, world)


@pytest.fixture
def place(guarded: Guarded, s3: S3, topic_prefix: str, tmp_path: Path) -> Iterator[Place]:
    made = place_for(guarded, s3, topic_prefix, tmp_path)
    yield made
    made.world.stop()


def as_kafka_acls_would(script: str) -> list[AclBinding]:
    """What Kafka's tool makes of its options."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("bootstrap-server", "command-config", "allow-principal", "resource-pattern-type"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--add", action="store_true", required=True)
    parser.add_argument("--operation", action="append", required=True)
    kinds = ("topic", "group", "transactional-id")
    for kind in kinds:
        parser.add_argument(f"--{kind}", action="append", default=[])
    bindings = []
    for line in script.replace("\\\n", " ").splitlines():
        if line.startswith("#"):
            continue
        tool, *options = shlex.split(line)
        assert tool == "kafka-acls.sh"
        given = vars(parser.parse_args(options))
        bindings += [
            AclBinding(
                ResourceType[kind.replace("-", "_").upper()],
                name,
                ResourcePatternType[given["resource_pattern_type"].upper()],
                given["allow_principal"],
                "*",
                AclOperation[operation.upper()],
                AclPermissionType.ALLOW,
            )
            for kind in kinds
            for name in given[kind.replace("-", "_")]
            for operation in given["operation"]
        ]
    return bindings


# What each part does with Kafka.


def write(params: KafkaParams, topic: str, *values: bytes) -> KafkaError | None:
    """With a plain idempotent producer; the first refusal."""
    errors: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            errors.append(error)

    producer = make_producer(params, ErrorWatch(params.broker.servers), client_id="test-writer")
    for value in values or (b"{}",):
        producer.produce(topic, value, b"key", on_delivery=delivered)
    try:
        assert producer.flush(_SECONDS) == 0
    except KafkaException as error:  # who may write nowhere is not even given a number
        cause: KafkaError = error.args[0]
        return cause
    return errors[0] if errors else None


def consumer_of(params: KafkaParams, group: str) -> Consumer:
    settings: dict[str, str | int | float | bool] = {"fetch.wait.max.ms": 20, "auto.offset.reset": "earliest"}
    watch = ErrorWatch(params.broker.servers)
    return make_consumer(params, watch, client_id="test-reader", group_id=group, settings=settings)


def read_in_group(params: KafkaParams, topic: str, group: str, count: int) -> list[Message]:
    """As a member of the group, which remembers how far it is. Raises what a reader hears."""
    consumer = consumer_of(params, group)
    found: list[Message] = []

    def has_all() -> bool:
        for message in consumer.consume(500, 0.1):
            if (error := message.error()) is not None:
                raise KafkaException(error)
            found.append(message)
        return len(found) >= count

    try:
        consumer.subscribe([topic])
        wait_until(has_all, what=f"{count} records of {topic} are read", timeout_seconds=_SECONDS)
        consumer.commit(asynchronous=False)
    finally:
        consumer.close()
    return found


def read_all(params: KafkaParams, topic: str, group: str) -> list[Message]:
    """Without joining the group."""
    consumer = consumer_of(params, group)
    servers = params.broker.servers
    try:
        return list(read_to_end(consumer, topic, ErrorWatch(servers), servers, timeout_seconds=_SECONDS))
    finally:
        consumer.close()


def begin_transactions(params: KafkaParams, transactional_id: str) -> None:
    watch = ErrorWatch(params.broker.servers)
    settings: dict[str, str | int | float | bool] = {"transactional.id": transactional_id}
    make_producer(params, watch, client_id="test-thief", settings=settings).init_transactions(30)


def train_and_roll_out(place: Place) -> Slot:
    """A trainer announces, an operator hears of it and assigns, a slot obeys and reports."""
    world = place.world
    operator = place.params(Role.OPERATOR)
    made: list[dict[str, Any]] = []
    heard = threading.Event()

    def create(resource: dict[str, Any]) -> str:
        made.append(resource)
        heard.set()
        return "created"

    served = world.put_model("v1", 2)
    with (
        ControlTopics(
            operator,
            installation=place.installation,
            client_id=f"rollcast.{place.installation}.operator",
            on_news=lambda _: None,
        ) as topics,
        Bridge(
            operator,
            installation=place.installation,
            bucket=world.s3.bucket,
            namespace="default",
            default_model=MODEL,
            template_of=lambda _: {},
            create=create,
        ),
    ):
        trainer = place.params(Role.TRAINER)
        admin = make_admin(trainer, ErrorWatch(trainer.broker.servers), client_id="test-trainer")
        check_topics(admin, [place.topic("train")], servers=trainer.broker.servers)
        announce(trainer, ModelTrained(model=MODEL, version="v1", uri=served.uri, format="skops", sha256=served.sha256))
        assert heard.wait(_SECONDS)
        assert made[0]["spec"]["version"] == "v1"

        slot = place.start_slot()
        wait_until(lambda: topics.problem is None, what="the operator has read its topics", timeout_seconds=_SECONDS)
        topics.publish(world.identity, Assignment(model=MODEL, generation=1, stable=served))

        def is_served() -> bool:
            topics.check()
            report = topics.slots(world.identity).get(0)
            return report is not None and bool(report.status.serving) and report.status.generation == 1

        slot.wait(is_served, "the operator hears that v1 serves", _SECONDS)
        assert topics.problem is None
        assert topics.published(world.identity).generation == 1
    return slot


@pytest.mark.parametrize("of", [_OF_ONE_MODEL, ()], ids=["slots-of-one-model", "slots-of-all-models"])
def test_with_the_printed_rights_everything_works(place: Place, of: tuple[str, ...]) -> None:
    world = place.world
    place.print_and_allow(*of)
    slot = train_and_roll_out(place)

    client = place.params(Role.CLIENT)
    requests = Requests(client, place.topic("requests"))
    requests.send_x(range(200))
    requests.send(b"{not json", b"bad")
    world.wait_answered(requests, [slot], _SECONDS)
    group = f"rollcast-client.{place.installation}.web"
    assert len(read_in_group(client, place.topic("app_messages"), group, 200)) == 200
    answers = world.check_exactly_once(requests)
    assert len(answers.dead_letters) == 1

    notifier = place.params(Role.NOTIFIER)
    own = f"rollcast.{place.installation}.notifier"
    assert len(read_in_group(notifier, place.topic("app_messages"), own, 200)) == 200
    for name in ("requests", "feedback", "notifications", "notifications_failed"):
        assert write(notifier, place.topic(name)) is None
    for name in ("assignments", "predictor_status", "dead_letters", "feedback"):
        assert read_all(notifier, place.topic(name), f"{own}.console"), name

    scaler = consumer_of(place.params(Role.AUTOSCALER), world.group)
    places = [TopicPartition(place.topic("requests"), number) for number in range(2)]
    assert sum(offset.offset for offset in scaler.committed(places, timeout=_SECONDS) if offset.offset > 0) >= 201
    assert sum(scaler.get_watermark_offsets(each, timeout=_SECONDS)[1] for each in places) >= 201
    scaler.close()


def test_with_the_printed_rights_the_tools_work(place: Place) -> None:
    world = place.world
    place.print_and_allow("--role", "predictor", "--role", "admin")
    admin = place.params(Role.ADMIN)
    servers = admin.broker.servers
    reach_broker(admin, client_id="test-admin")
    client = make_admin(admin, ErrorWatch(servers), client_id="test-admin")
    place.guarded.kafka.delete_topics(world.names.all_full())
    created = create_topics(client, topic_specs(world.names, partitions=2), replication=-1, servers=servers)
    assert created == dict.fromkeys(world.names.all_full(), True)
    world.publish("v1", 2)
    slot = place.start_slot()
    slot.wait(lambda: slot.health().get("version") == "v1", "v1 serves", _SECONDS)
    with ResultReader(admin) as reader:
        answer = ask(admin, '{"x": 21}', key=None, model=None, timeout_seconds=_SECONDS)
        assert answer["prediction"] == 42
        wait_until(reader.views, what="tail shows it", timeout_seconds=_SECONDS)
        reader.check()
    requests = world.requests()
    requests.send(b"{not json")
    world.wait_answered(requests, [slot], _SECONDS)
    assert replay(admin, read_letters(admin), again=False, dry_run=False).sent == 1
    assert collect_status(Connection(admin, None))["topics"][place.topic("requests")]["partitions"] == 2


# What each may, as the broker itself says; written down by hand, apart from the table.

_MAY: Mapping[Role, Mapping[str, str]] = {
    Role.TRAINER: {"train": "w"},
    Role.PREDICTOR: {
        "assignments": "r",
        "requests": "r",
        "app_messages": "w",
        "dead_letters": "w",
        "shadow_predictions": "w",
        "predictor_status": "w",
    },
    Role.OPERATOR: {"assignments": "rw", "predictor_status": "r", "train": "r"},
    Role.NOTIFIER: {
        "app_messages": "r",
        "assignments": "r",
        "predictor_status": "r",
        "dead_letters": "r",
        "feedback": "rw",
        "requests": "w",
        "notifications": "w",
        "notifications_failed": "w",
    },
    Role.CLIENT: {"requests": "w", "app_messages": "r"},
    Role.AUTOSCALER: {"requests": ""},
    Role.ADMIN: {"requests": "w", "app_messages": "r", "dead_letters": "rw"},
}
_LETTERS = {AclOperation.READ: "r", AclOperation.WRITE: "w"}
_HARMLESS = {AclOperation.DESCRIBE}


@pytest.fixture(scope="module")
def all_allowed(guarded: Guarded, s3: S3, tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = place_for(guarded, s3, f"all-allowed-{uuid4().hex[:8]}.", tmp_path_factory.mktemp("all-allowed"))
    made.print_and_allow(*_OF_ONE_MODEL)
    return made


def test_the_broker_lets_nobody_do_anything_else_with_topics(all_allowed: Place) -> None:
    place = all_allowed
    for role in Role:
        params = place.params(role)
        reach_broker(params, client_id="test-looks")
        admin = make_admin(params, ErrorWatch(params.broker.servers), client_id="test-looks")
        names = place.world.names.all_full()
        described = admin.describe_topics(TopicCollection(names), include_authorized_operations=True)
        may: dict[str, str] = {}
        for name, future in described.items():
            if (error := future.exception(_SECONDS)) is not None:
                assert "Topic authorization failed" in str(error)
                continue
            operations = set(future.result().authorized_operations)
            more = operations - _HARMLESS - _LETTERS.keys()
            assert more == ({AclOperation.CREATE} if role is Role.ADMIN else set()), (role, name)
            letters = "".join(sorted(_LETTERS[operation] for operation in operations & _LETTERS.keys()))
            if letters or role is not Role.ADMIN:
                may[name.removeprefix(place.world.names.prefix)] = letters
        assert may == _MAY[role], role


@pytest.mark.parametrize(
    ("role", "topic"),
    [
        (Role.TRAINER, "assignments"),
        (Role.TRAINER, "predictor_status"),
        (Role.PREDICTOR, "train"),
        (Role.PREDICTOR, "assignments"),
        (Role.OPERATOR, "train"),
        (Role.OPERATOR, "app_messages"),
        (Role.NOTIFIER, "app_messages"),
        (Role.NOTIFIER, "assignments"),
        (Role.CLIENT, "app_messages"),
        (Role.CLIENT, "assignments"),
        (Role.AUTOSCALER, "requests"),
        (Role.ADMIN, "assignments"),
    ],
)
def test_who_may_not_write_is_refused(all_allowed: Place, role: Role, topic: str) -> None:
    error = write(all_allowed.params(role), all_allowed.topic(topic))
    assert error is not None
    nowhere = role is Role.AUTOSCALER
    refused = KafkaError.CLUSTER_AUTHORIZATION_FAILED if nowhere else KafkaError.TOPIC_AUTHORIZATION_FAILED
    assert error.code() == refused


@pytest.mark.parametrize(
    ("role", "topic"),
    [
        (Role.CLIENT, "dead_letters"),
        (Role.CLIENT, "requests"),
        (Role.TRAINER, "requests"),
        (Role.PREDICTOR, "app_messages"),
        (Role.AUTOSCALER, "requests"),
    ],
)
def test_who_may_not_read_is_refused(all_allowed: Place, role: Role, topic: str) -> None:
    assert write(all_allowed.guarded.kafka.inside, all_allowed.topic(topic)) is None
    with pytest.raises(KafkaDenied, match=r"reading .*: not allowed .*an ACL is missing"):
        read_all(all_allowed.params(role), all_allowed.topic(topic), "test-thief")


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.PREDICTOR])
def test_nobody_else_may_take_a_slots_transactional_id(all_allowed: Place, role: Role) -> None:
    with pytest.raises(KafkaException) as refused:
        begin_transactions(all_allowed.params(role), all_allowed.world.identity.slot(0))
    assert refused.value.args[0].code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED


def test_the_slots_of_one_model_may_not_pass_for_those_of_another(all_allowed: Place) -> None:
    predictor = all_allowed.params(Role.PREDICTOR)
    begin_transactions(predictor, all_allowed.world.identity.slot(7))
    other = ModelIdentity(all_allowed.installation, "default", "other")
    with pytest.raises(KafkaException, match="Transactional Id authorization failed"):
        begin_transactions(predictor, other.slot(0))


@pytest.mark.parametrize(
    ("role", "group", "topic"),
    [
        (Role.CLIENT, "rollcast.{installation}.default.line", "app_messages"),
        (Role.CLIENT, "rollcast.{installation}.notifier", "app_messages"),
        (Role.NOTIFIER, "rollcast.{installation}.notifier.console", "app_messages"),
        (Role.PREDICTOR, "rollcast.{installation}.default.other", "requests"),
        (Role.OPERATOR, "rollcast.{installation}.notifier", "train"),
    ],
)
def test_nobody_may_join_the_group_of_another(all_allowed: Place, role: Role, group: str, topic: str) -> None:
    name = group.format(installation=all_allowed.installation)
    with pytest.raises(KafkaException) as refused:
        read_in_group(all_allowed.params(role), all_allowed.topic(topic), name, 1)
    assert refused.value.args[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED


# What a missing one looks like.


def _of_a_predictor() -> list[Any]:
    example = rights(Role.PREDICTOR, Scope(namespace="default", model=MODEL))
    return [
        pytest.param(number, id=right.name if right.resource == "topic" else right.resource)
        for number, right in enumerate(example)
    ]


@pytest.mark.parametrize("number", _of_a_predictor())
def test_a_predictor_says_which_right_it_lacks(place: Place, number: int) -> None:
    bindings = as_kafka_acls_would(place.command("--role", "predictor", *_OF_ONE_MODEL).stdout)
    dropped: Right = rights(Role.PREDICTOR, place.scope)[number]
    kind = ResourceType[dropped.resource.name]
    kept = [each for each in bindings if (each.restype, each.name) != (kind, dropped.name)]
    assert len(kept) == len(bindings) - 1
    place.guarded.kafka.allow(kept)
    place.world.publish("v1", 2)
    slot = place.start_slot()
    assert slot.wait_for_end(_SECONDS) == 1
    [line] = slot.events("predictor stopped")
    assert line["kind"] == "KafkaDenied"
    assert "an ACL is missing: add it for this user (`rollcast acls` prints what is needed)" in line["problem"]
    named = {"group": "Group authorization", "transactional-id": "Transactional Id authorization"}
    assert named.get(dropped.resource, f"topic {dropped.name}") in line["problem"]


def test_a_topic_that_may_not_be_seen_is_not_said_to_be_missing(place: Place) -> None:
    trainer = place.params(Role.TRAINER)
    reach_broker(trainer, client_id="test-trainer")
    admin = make_admin(trainer, ErrorWatch(trainer.broker.servers), client_id="test-trainer")
    with pytest.raises(KafkaDenied, match=rf"may not even see topic {re.escape(place.topic('train'))}, if there is"):
        check_topics(admin, [place.topic("train")], servers=trainer.broker.servers)


class _Watched(TableFollower):
    """Remembers every problem that it ever had."""

    problems: list[str]

    def __setattr__(self, name: str, value: object) -> None:
        if name == "problem" and value is not None:
            self.__dict__.setdefault("problems", []).append(value)
        super().__setattr__(name, value)


def test_who_follows_a_table_needs_no_right_on_a_group(place: Place) -> None:
    """The client asks for its group's coordinator unasked, and hears that it may not: nobody's problem."""
    place.print_and_allow("--role", "operator")
    with _Watched(place.params(Role.OPERATOR), "predictor_status", client_id="rollcast.elsewhere") as table:
        assert write(place.guarded.kafka.inside, place.topic("predictor_status")) is None
        wait_until(lambda: table.get("key"), what="the table is read", timeout_seconds=_SECONDS)
        table.check()
    assert "problems" not in vars(table)


# Giving them.


def _key(binding: AclBinding) -> tuple[object, ...]:
    return (binding.restype, binding.name, binding.resource_pattern_type, binding.principal, binding.operation)


def _given(place: Place) -> list[str]:
    everything = (each for role in Role for each in place.guarded.kafka.allowed(principal(role)))
    ours = (each for each in everything if place.installation in each.name or place.world.names.prefix in each.name)
    return sorted(map(str, map(_key, ours)))


def test_apply_asks_then_gives_what_is_printed_and_may_be_done_again(place: Place) -> None:
    printed = as_kafka_acls_would(place.command().stdout)
    servers = place.guarded.kafka.inside.broker.servers
    inside = {"ROLLCAST_KAFKA_SERVERS": servers}
    unanswered = place.command("--apply", environ=inside)
    assert unanswered.returncode == 1
    assert f"Give these rights at {servers}? [y/N]" in unanswered.stdout
    assert _given(place) == []
    for _ in range(2):
        result = place.command("--apply", "--yes", environ=inside)
        assert result.returncode == 0, result.stderr
        assert f"{len(printed)} rights given at {servers}" in result.stdout
        assert _given(place) == sorted(map(str, map(_key, printed)))


def test_apply_by_somebody_who_may_not_is_one_clear_line(place: Place) -> None:
    place.print_and_allow("--role", "admin")
    result = place.command("--apply", "--yes", environ=place.environ(Role.ADMIN))
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(
        f"rollcast: error: Kafka at {place.guarded.kafka.sasl_servers}: giving rights (needs Alter on"
    )
    assert "not allowed" in line


# With certificates.


def _certificate_config(place: Place, **settings: object) -> Path:
    lines = "".join(f"  {name}: {value}\n" for name, value in settings.items() if value)
    servers = place.guarded.kafka.certificate_servers
    path = place.world.folder / "kafka_config.yaml"
    path.write_text(
        f"broker:\n  servers: {servers}\n  security_protocol: SSL\n{lines}topics:\n"
        f"  prefix: {place.world.names.prefix}\n",
        encoding="utf-8",
    )
    return path


def test_a_slot_with_a_client_certificate_answers(place: Place) -> None:
    name = f"slots-of-{place.installation}"
    certificate, key = place.guarded.kafka.authority.sign(name)
    who = f"User:CN={name}"
    printed = place.command("--role", "predictor", "--principal", f"predictor={who}", *_OF_ONE_MODEL)
    place.guarded.kafka.allow(as_kafka_acls_would(printed.stdout))
    config = _certificate_config(
        place,
        ssl_ca_file=place.guarded.kafka.authority.ca,
        ssl_certificate_file=certificate,
        ssl_key_file=key,
    )
    place.world.publish("v1", 2)
    environ = {"ROLLCAST_KAFKA_SERVERS": place.guarded.kafka.certificate_servers}
    slot = place.world.start("--kafka-config", str(config), environ=environ)
    requests = place.world.requests()
    requests.send_x(range(20))
    place.world.wait_answered(requests, [slot], _SECONDS)
    place.world.check_exactly_once(requests)


def test_without_its_certificate_a_client_is_refused_in_one_clear_line(place: Place) -> None:
    params = load_kafka_params(_certificate_config(place, ssl_ca_file=place.guarded.kafka.authority.ca), {})
    with pytest.raises(KafkaDenied) as refused:
        reach_broker(params, client_id="test-nobody", timeout_seconds=_SECONDS)
    assert "ssl_certificate_file" in str(refused.value)


def test_a_broker_whose_authority_is_not_known_is_not_trusted(place: Place, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "stranger")
    certificate, key = stranger.sign("client")
    config = _certificate_config(place, ssl_ca_file=stranger.ca, ssl_certificate_file=certificate, ssl_key_file=key)
    with pytest.raises(KafkaDenied, match="ssl_ca_file"):
        reach_broker(load_kafka_params(config, {}), client_id="test-stranger", timeout_seconds=_SECONDS)
