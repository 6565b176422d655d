"""From an announcement to an order, and topic train as a slot reads it, on the embedded broker."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.env.kafka import MockKafka

from rollcast_common.contracts import ModelTrained
from rollcast_common.contracts.model_trained import encode_model_trained
from rollcast_common.errors import ConfigError
from rollcast_common.kafka import ErrorWatch, KafkaParams, TopicNames, make_producer
from rollcast_predictor.orders import Order
from rollcast_predictor.train_orders import TrainOrders, order_from

DIGEST = "ab" * 32
EVENT = ModelTrained(model="wine", version="v1", uri="s3://b/models/v1.skops", format="skops")


def changed(**values: Any) -> ModelTrained:
    return ModelTrained(**{name: getattr(EVENT, name) for name in EVENT.__struct_fields__} | values)


def test_an_order_is_pinned_to_what_was_announced() -> None:
    event = changed(
        sha256=DIGEST,
        size_bytes=12,
        version_id="x1",
        card_uri="s3://cards/v1.card.json",
        card_sha256="cd" * 32,
    )
    order = order_from(event, generation=8, bucket="mine")
    assert (order.generation, order.name, order.format) == (8, "wine@v1", "skops")
    assert (order.artifact.uri, order.artifact.sha256) == ("s3://b/models/v1.skops", DIGEST)
    assert (order.artifact.size_bytes, order.artifact.version_id) == (12, "x1")
    assert order.card is not None
    assert (order.card.uri, order.card.sha256) == ("s3://cards/v1.card.json", "cd" * 32)


def test_a_bare_key_lies_in_our_bucket_and_has_no_digest_yet() -> None:
    order = order_from(changed(uri="models/v1.skops"), generation=1, bucket="mine")
    assert order.artifact.uri == "s3://mine/models/v1.skops"
    assert (order.artifact.sha256, order.card) == (None, None)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"uri": "https://elsewhere/v1.skops"}, "artifact uri was"),
        ({"card_uri": "s3://"}, "artifact uri was"),
        ({"sha256": "ab"}, "sha256 was 'ab'"),
        ({"sha256": DIGEST.upper()}, "lower case"),
        ({"sha256": "../../../etc/passwd"}, "sha256 was '../../../etc/passwd'"),
        ({"sha256": DIGEST + "\n"}, "64 hexadecimal digits"),
        ({"card_uri": "c.json", "card_sha256": "/etc/passwd"}, "card_sha256 was '/etc/passwd'"),
    ],
)
def test_what_cannot_be_a_place_or_a_digest_is_no_order(wrong: dict[str, Any], named: str) -> None:
    """A digest names a file of the cache, so a path in its place would reach outside it."""
    with pytest.raises(ConfigError, match=named):
        order_from(changed(**wrong), generation=1, bucket="mine")


Announce = Callable[..., None]


@pytest.fixture
def params(embedded_kafka: MockKafka, topic_prefix: str) -> KafkaParams:
    names: TopicNames = embedded_kafka.create_topics(topic_prefix)
    return embedded_kafka.params.model_copy(update={"topics": names})


@pytest.fixture
def announce(params: KafkaParams) -> Announce:
    producer = make_producer(params, ErrorWatch(params.broker.servers), client_id="test")

    def announced(event: ModelTrained | bytes, key: bytes = b"wine", **where: int) -> None:
        value = event if isinstance(event, bytes) else encode_model_trained(event)
        producer.produce(params.topics.full("train"), value, key, **where)  # type: ignore[arg-type]  # partition, timestamp
        assert producer.flush(10) == 0

    return announced


def orders_of(params: KafkaParams) -> TrainOrders:
    return TrainOrders(params, model="wine", bucket="mine", client_id="test-slot")


def wait_for(orders: TrainOrders, condition: Callable[[list[Order]], bool]) -> list[Order]:
    deadline = time.monotonic() + 20
    while not condition(found := orders.newer_than(-1)):
        assert orders.failure is None
        assert time.monotonic() < deadline, found
        orders.wait(0.2)
    return found


def test_orders_come_newest_first_once_all_of_the_past_is_read(params: KafkaParams, announce: Announce) -> None:
    for number in range(30):
        announce(changed(version=f"v{number}"), timestamp=1_700_000_000_000 + number)
    with orders_of(params) as orders:
        found = wait_for(orders, bool)
        assert [order.version for order in found] == [f"v{number}" for number in range(29, 9, -1)]
        assert orders.newer_than(found[1].generation) == found[:1]
        assert not orders.wait(0)
        announce(changed(version="v30"))
        assert orders.wait(20)
        assert wait_for(orders, lambda found: found[0].version == "v30")


def test_junk_and_other_models_are_no_orders_and_do_no_harm(params: KafkaParams, announce: Announce) -> None:
    with orders_of(params) as orders:
        announce(b"\xff\x00")
        announce(b"")
        announce(b'{"model": "wine"}')
        announce(b"two words")
        announce(changed(sha256="../../x"))
        announce(changed(model="beer"))
        announce(b"models/beer.skops", key=b"beer")
        announce(b"models/by-hand.skops", key=b"")
        found = wait_for(orders, bool)
        assert [order.version for order in found] == ["by-hand"]


def test_on_several_partitions_the_later_announcement_is_the_newer_order(
    params: KafkaParams, announce: Announce
) -> None:
    """A producer without keys may write anywhere; offsets of different partitions say nothing about time."""
    announce(changed(version="second"), partition=3, timestamp=1_700_000_000_002)
    announce(changed(version="first"), partition=1, timestamp=1_700_000_000_001)
    announce(changed(version="third"), partition=0, timestamp=1_700_000_000_003)
    with orders_of(params) as orders:
        found = wait_for(orders, lambda found: len(found) == 3)
        assert [order.version for order in found] == ["third", "second", "first"]


def test_a_topic_of_models_that_nobody_trained_yet_is_read_to_its_end(params: KafkaParams) -> None:
    with orders_of(params) as orders:
        deadline = time.monotonic() + 20
        while not orders.caught_up:
            assert time.monotonic() < deadline
            orders.wait(0.1)
        assert orders.newer_than(-1) == []


def test_a_property_that_the_client_does_not_know_is_told_at_once(params: KafkaParams) -> None:
    wrong = params.consumer.model_copy(update={"properties": {"fetch.wurst.ms": 1}})
    with pytest.raises(ConfigError, match=r"fetch\.wurst\.ms"):
        orders_of(params.model_copy(update={"consumer": wrong}))
