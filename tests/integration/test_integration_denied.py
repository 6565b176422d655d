"""A user who may see but not do all that a slot does: the slot ends, says what is missing, and loses nothing by it."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions
from tests.env.kafka import SecureKafka, secure_kafka
from tests.env.predictor import MODEL, World
from tests.env.s3 import S3

from rollcast_cli.acl_formats import Grant
from rollcast_cli.acls import bindings
from rollcast_common.identity import ModelIdentity
from rollcast_common.kafka import Operation, Resource, Right, Role, Scope, rights

_SOON_SECONDS = 180.0
"""On a machine with much else to do a slot has been seen to take 70 s to start."""

_USER = "predictor"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    with secure_kafka(tmp_path_factory.mktemp("guarded-kafka")) as kafka:
        yield kafka


@pytest.fixture(scope="module")
def login(guarded: SecureKafka) -> dict[str, str]:
    return guarded.add_user(_USER)


@pytest.fixture
def world(guarded: SecureKafka, s3: S3, topic_prefix: str, tmp_path: Path) -> Iterator[World]:
    made = World(guarded.inside, guarded.create_topics(topic_prefix), s3.params(), tmp_path)
    # Rights are given by the installation's name, and a group remembers what its last members read.
    made.identity = ModelIdentity(f"i{uuid4().hex[:8]}", "default", MODEL)
    made.group = made.identity.consumer_group
    yield made
    made.stop()
    guarded.forbid(f"User:{_USER}")


def allow(kafka: SecureKafka, given: list[Right]) -> None:
    kafka.allow(bindings([Grant(Role.PREDICTOR, f"User:{_USER}", tuple(given))]))


def has_committed_nothing(kafka: SecureKafka, world: World) -> bool:
    """Asked so that a transaction that the slot left open is not waited for: it is, until the broker ends it."""
    request = [ConsumerGroupTopicPartitions(world.group)]
    (future,) = kafka.admin.list_consumer_group_offsets(request, require_stable=False).values()
    committed = future.result(_SOON_SECONDS).topic_partitions or ()
    return not any(place.topic == world.names.full("requests") and place.offset > 0 for place in committed)


@pytest.mark.parametrize(
    ("resource", "topic", "named"),
    [
        (Resource.TOPIC, "app_messages", r"Topic authorization failed"),
        (Resource.TOPIC, "requests", r"requests: not allowed .*Topic authorization failed"),
        (Resource.GROUP, None, r"Group authorization failed"),
        (Resource.TRANSACTIONAL_ID, None, r"Transactional Id authorization failed"),
    ],
)
def test_a_missing_permission_is_told_and_once_it_is_given_all_is_answered(
    guarded: SecureKafka, login: dict[str, str], world: World, resource: Resource, topic: str | None, named: str
) -> None:
    needed = rights(Role.PREDICTOR, Scope(world.names, world.identity.installation, world.identity.namespace, MODEL))
    name = world.names.full(topic) if topic else None
    (withheld,) = [right for right in needed if right.resource is resource and name in (None, right.name)]
    only_seen = replace(withheld, operations=(Operation.DESCRIBE,))
    allow(guarded, [only_seen if right is withheld else right for right in needed])
    world.publish("v1", 2)
    requests = world.requests()
    requests.send_x(range(100))
    requests.flush()
    slot = world.start(environ=login)
    assert slot.wait_for_end(_SOON_SECONDS) == 1
    [line] = slot.events("predictor stopped")
    assert line["kind"] == "KafkaDenied"
    assert re.search(named, line["problem"])
    assert "an ACL is missing: add it for this user" in line["problem"]
    assert has_committed_nothing(guarded, world)

    allow(guarded, [withheld])
    slot = world.start(environ=login)
    slot.wait(lambda: slot.health().get("version") == "v1", "v1 serves", _SOON_SECONDS)
    world.wait_answered(requests, [slot], _SOON_SECONDS)
    world.check_exactly_once(requests)
