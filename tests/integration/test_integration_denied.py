"""A user who may not do all that a slot does: the slot ends and says what is missing, and loses nothing by it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
)  # where their types are
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType  # the same
from tests.env.kafka import SaslKafka, sasl_kafka
from tests.env.predictor import World
from tests.env.s3 import S3

from rollcast_common.kafka import ErrorWatch, TopicNames, create_topics, make_admin, topic_specs

_SOON_SECONDS = 90.0
_TRANSACTIONAL_ID = "a transactional id of its own"
_GROUP = "its group"
_NEEDED = {
    "assignments": [AclOperation.READ, AclOperation.DESCRIBE],
    "predictor_status": [AclOperation.WRITE, AclOperation.DESCRIBE],
    "shadow_predictions": [AclOperation.WRITE, AclOperation.DESCRIBE],
    "requests": [AclOperation.READ, AclOperation.DESCRIBE],
    "app_messages": [AclOperation.WRITE, AclOperation.DESCRIBE],
    "dead_letters": [AclOperation.WRITE, AclOperation.DESCRIBE],
    _GROUP: [AclOperation.READ, AclOperation.DESCRIBE],
    _TRANSACTIONAL_ID: [AclOperation.WRITE, AclOperation.DESCRIBE],
}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SaslKafka]:
    with sasl_kafka(tmp_path_factory.mktemp("guarded-kafka")) as kafka:
        yield kafka


@pytest.fixture
def world(guarded: SaslKafka, s3: S3, topic_prefix: str, tmp_path: Path) -> Iterator[World]:
    names = TopicNames(prefix=topic_prefix)
    create_topics(_admin(guarded), topic_specs(names, partitions=2), replication=1, servers=guarded.servers)
    made = World(guarded.inside, names, s3.params(), tmp_path)
    yield made
    made.stop()
    # Slots of all tests have the same transactional id.
    admin = _admin(guarded)
    everything = AclBindingFilter(
        ResourceType.ANY,
        None,  # type: ignore[arg-type]  # any name
        ResourcePatternType.ANY,
        f"User:{guarded.username}",
        "*",
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    for future in admin.delete_acls([everything]).values():
        future.result(10)


def _admin(kafka: SaslKafka) -> AdminClient:
    return make_admin(kafka.inside, ErrorWatch(kafka.servers), client_id="test-acls")


def allow(kafka: SaslKafka, world: World, what: str, operations: list[AclOperation]) -> None:
    if what == _GROUP:
        kind, name, pattern = ResourceType.GROUP, world.group, ResourcePatternType.LITERAL
    elif what == _TRANSACTIONAL_ID:
        kind, name, pattern = ResourceType.TRANSACTIONAL_ID, "rollcast.", ResourcePatternType.PREFIXED
    else:
        kind, name, pattern = ResourceType.TOPIC, world.names.full(what), ResourcePatternType.LITERAL
    user = f"User:{kafka.username}"
    bindings = [
        AclBinding(kind, name, pattern, user, "*", operation, AclPermissionType.ALLOW) for operation in operations
    ]
    admin = _admin(kafka)
    for future in admin.create_acls(bindings).values():
        future.result(10)


@pytest.mark.parametrize(
    ("what", "operation", "named"),
    [
        ("app_messages", AclOperation.WRITE, r"Topic authorization failed"),
        ("requests", AclOperation.READ, r"Topic authorization failed"),
        (_GROUP, AclOperation.READ, r"Group authorization failed"),
        (_TRANSACTIONAL_ID, AclOperation.WRITE, r"Transactional Id authorization failed"),
    ],
)
def test_a_missing_permission_is_told_and_once_it_is_given_all_is_answered(
    guarded: SaslKafka, world: World, what: str, operation: AclOperation, named: str
) -> None:
    for needed, operations in _NEEDED.items():
        allow(guarded, world, needed, [o for o in operations if (needed, o) != (what, operation)])
    environ = {
        "ROLLCAST_KAFKA_SERVERS": guarded.servers,
        "ROLLCAST_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "ROLLCAST_KAFKA_SASL_MECHANISM": "PLAIN",
        "ROLLCAST_KAFKA_USERNAME": guarded.username,
        "ROLLCAST_KAFKA_PASSWORD": guarded.password,
    }
    world.publish("v1", 2)
    requests = world.requests()
    requests.send_x(range(100))
    requests.flush()
    slot = world.start(environ=environ)
    assert slot.wait_for_end(_SOON_SECONDS) == 1
    [line] = slot.events("predictor stopped")
    assert line["kind"] == "KafkaDenied"
    assert re.search(named, line["problem"])
    assert "an ACL is missing: add it for this user" in line["problem"]
    assert all(offset <= 0 for offset in world.committed().values())

    allow(guarded, world, what, [operation])
    slot = world.serve("v1", environ=environ)
    world.wait_answered(requests, [slot])
    world.check_exactly_once(requests)
