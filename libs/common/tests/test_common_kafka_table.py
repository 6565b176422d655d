"""A topic as a table, on a real broker: its end is known, and so is its end as a topic."""

import contextlib
import time
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, cast

import pytest
from confluent_kafka import KafkaError, KafkaException
from tests.env.goodbye import GoodbyeProxy
from tests.env.kafka import RealKafka, params_for

from rollcast_cli.local.ports import free_ports
from rollcast_cli.local.processes import wait_until
from rollcast_common.errors import KafkaProblem
from rollcast_common.kafka import (
    ErrorWatch,
    KafkaParams,
    TableFollower,
    create_topics,
    make_admin,
    make_producer,
    topic_specs,
)

if TYPE_CHECKING:
    from confluent_kafka import Consumer

SECONDS = 30.0


@pytest.fixture
def params(kafka: RealKafka, topic_prefix: str) -> KafkaParams:
    return kafka.params.model_copy(update={"topics": kafka.create_topics(topic_prefix)})


def put(params: KafkaParams, *rows: tuple[str, bytes | None]) -> None:
    producer = make_producer(params, ErrorWatch(params.broker.servers), client_id="test")
    for key, value in rows:
        producer.produce(params.topics.full("assignments"), value, key)
    assert producer.flush(20) == 0


@pytest.fixture
def table(params: KafkaParams) -> Iterator[TableFollower]:
    with TableFollower(params, "assignments", client_id="test", wanted=lambda key: key != "other") as table:
        yield table


def wait_for(table: TableFollower, key: str, value: bytes | None) -> None:
    def is_there() -> bool:
        table.check()
        row = table.get(key)
        return row is not None and row.value == value

    wait_until(is_there, what=f"{key} is {value!r}", timeout_seconds=SECONDS)


def test_of_each_key_the_last_value_counts(params: KafkaParams) -> None:
    put(params, ("a", b"1"), ("other", b"x"), ("b", b"1"), ("a", b"2"), ("b", None))
    with TableFollower(params, "assignments", client_id="test", wanted=lambda key: key != "other") as table:
        wait_until(lambda: table.caught_up, what="read to its end", timeout_seconds=SECONDS)
        assert {key: row.value for key, row in table.rows().items()} == {"a": b"2", "b": None}
        # Nobody knows how old it is.
        assert {row.received for row in table.rows().values()} == {None}
        before = time.monotonic()
        put(params, ("a", b"3"))
        wait_for(table, "a", b"3")
        row = table.get("a")
        assert row is not None
        assert row.received is not None
        assert before <= row.received <= time.monotonic()


def test_an_empty_topic_is_read_to_its_end_too(table: TableFollower) -> None:
    wait_until(lambda: table.caught_up, what="read to its end", timeout_seconds=SECONDS)
    assert table.rows() == {}


def test_a_topic_that_is_deleted_and_created_again_is_followed_on(params: KafkaParams, table: TableFollower) -> None:
    put(params, *[("a", b"%d" % number) for number in range(50)])
    wait_for(table, "a", b"49")
    name = params.topics.full("assignments")
    servers = params.broker.servers
    admin = make_admin(params, ErrorWatch(servers), client_id="test")
    admin.delete_topics([name])[name].result()
    specs = [spec for spec in topic_specs(params.topics, partitions=1) if spec.name == name]

    def created() -> bool:
        with contextlib.suppress(KafkaProblem):
            return create_topics(admin, specs, replication=1, servers=servers)[name]
        return False

    wait_until(created, what="created again", timeout_seconds=SECONDS)
    wait_until(lambda: table.reading == 1 and table.caught_up, what="read again", timeout_seconds=SECONDS)
    put(params, ("b", b"new"))
    wait_for(table, "b", b"new")
    new, old = table.get("b"), table.get("a")
    assert new is not None
    assert old is not None
    assert (new.reading, old.reading) == (1, 0)
    # What is known stays until something newer is read.
    wait_for(table, "a", b"49")


def test_a_broker_that_is_away_is_waited_for(params: KafkaParams, table: TableFollower, kafka: RealKafka) -> None:
    put(params, ("a", b"1"))
    wait_for(table, "a", b"1")
    kafka.restart()
    put(params, ("a", b"2"))
    wait_for(table, "a", b"2")


def test_a_broker_that_goes_when_all_is_read_is_missed_and_found_again(
    params: KafkaParams, table: TableFollower, kafka: RealKafka
) -> None:
    put(params, ("a", b"1"))
    wait_for(table, "a", b"1")
    assert table.problem is None
    kafka.kill()
    try:
        wait_until(lambda: table.problem is not None, what="it is missed", timeout_seconds=10)
    finally:
        kafka.restart()
    # Nothing new is written, and it is known all the same that it would be read.
    wait_until(lambda: table.problem is None, what="it is found", timeout_seconds=20)
    assert table.caught_up


def test_a_row_that_was_read_ends_the_problem(params: KafkaParams, kafka: RealKafka) -> None:
    put(params, *[("a", b"%d" % number) for number in range(3000)])  # of which the first come without the end
    told: list[tuple[Collection[str], str | None]] = []
    (port,) = free_ports(1)
    far = params_for(f"127.0.0.1:{port}").model_copy(update={"topics": params.topics})
    follower = TableFollower(
        far, "assignments", client_id="test", on_change=lambda keys: told.append((keys, follower.problem))
    )
    with follower:
        wait_until(lambda: follower.problem is not None, what="nobody listens there", timeout_seconds=SECONDS)
        with GoodbyeProxy(port, int(kafka.servers.rpartition(":")[2])).running():
            wait_for(follower, "a", b"2999")
            wait_until(lambda: follower.caught_up, what="read to its end", timeout_seconds=SECONDS)
    assert {problem for keys, problem in told if keys} == {None}


class CutOff:
    """A consumer that was left without brokers before it could begin, of which only statistics tell, and only who
    polls: librdkafka loses that race too seldom to be waited for.
    """

    def __init__(self, take_statistics: Callable[[str], None]) -> None:
        self._take_statistics = take_statistics
        self.closed = False

    def list_topics(self, _: str, **__: float) -> None:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    def poll(self, _: float) -> None:
        self._take_statistics('{"name": "cut-off", "brokers": {}}')

    def close(self) -> None:
        self.closed = True


def test_who_was_cut_off_before_the_first_look_begins_anew(params: KafkaParams) -> None:
    put(params, ("a", b"1"))
    follower = TableFollower(params, "assignments", client_id="test")
    follower._consumer.close()
    cut_off = CutOff(follower._watch.take_statistics)
    follower._consumer = cast("Consumer", cut_off)
    with follower:
        wait_for(follower, "a", b"1")
    assert cut_off.closed


def test_somebody_is_told_of_changes(params: KafkaParams) -> None:
    told: list[Collection[str]] = []
    with TableFollower(params, "assignments", client_id="test", on_change=told.append) as table:
        wait_until(lambda: table.caught_up, what="read to its end", timeout_seconds=SECONDS)
        told.clear()
        put(params, ("a", b"1"))
        wait_until(lambda: {"a"} in told, what="told", timeout_seconds=SECONDS)
