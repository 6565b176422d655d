"""The last broker says goodbye and names nobody else: librdkafka may never find back by itself, and we begin anew.

Whether it finds back is a race within librdkafka that it loses once in about ten goodbyes: hence several clients of
each kind, and several goodbyes.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.env.goodbye import GoodbyeProxy
from tests.env.kafka import params_for, real_kafka
from tests.env.predictor import World
from tests.env.s3 import S3

from rollcast_cli.local.ports import free_ports
from rollcast_cli.local.processes import wait_until
from rollcast_common.errors import KafkaUnavailable
from rollcast_common.identity import ModelIdentity
from rollcast_common.kafka import KafkaParams, TableFollower
from rollcast_control.bridge_loop import Bridge
from rollcast_control.control_topics import ControlTopics
from rollcast_notifier.inbound.writing import Writer

_GOODBYES = 4
_OF_EACH_KIND = 6
_SECONDS = 180.0
_PREFIX = "goodbye."


@pytest.fixture(scope="module")
def way(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GoodbyeProxy, KafkaParams]]:
    """A broker of this file's own, and the only way to it."""
    proxy_port, broker_port, controller_port = free_ports(3)
    address = f"127.0.0.1:{proxy_port}"
    with (
        GoodbyeProxy(proxy_port, broker_port).running() as proxy,
        real_kafka(
            tmp_path_factory.mktemp("kafka"),
            ports=(broker_port, controller_port),
            extra_properties={"advertised.listeners": f"PLAINTEXT://{address}"},
        ) as kafka,
    ):
        names = kafka.create_topics(_PREFIX)
        yield proxy, params_for(address).model_copy(update={"topics": names})


@pytest.fixture
def proxy(way: tuple[GoodbyeProxy, KafkaParams]) -> GoodbyeProxy:
    return way[0]


@pytest.fixture
def params(way: tuple[GoodbyeProxy, KafkaParams]) -> KafkaParams:
    return way[1]


def say_goodbye(proxy: GoodbyeProxy, *, times: int = _GOODBYES, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Each lasts until somebody was told."""
    for _ in range(times):
        proxy.begin_goodbye()
        meanwhile()
        wait_until(lambda: proxy.heard().total() > 0, what="somebody asked", timeout_seconds=_SECONDS)
        proxy.end_goodbye()


def test_a_slot_serves_and_swaps_on(proxy: GoodbyeProxy, params: KafkaParams, s3: S3, tmp_path: Path) -> None:
    world = World(params, params.topics, s3.params(), tmp_path)
    try:
        world.publish("v1", 2)
        slot = world.serve("v1")
        first = world.requests()
        first.send_x(range(100))
        world.wait_answered(first, [slot])
        for number in range(1, 1 + _GOODBYES):
            say_goodbye(proxy, times=1)
            later = world.requests()
            later.send_x(range(100 * number, 100 * number + 100))
            world.wait_answered(later, [slot])
            first.sent += later.sent
        world.check_exactly_once(first)
        world.publish("v2", 3)
        slot.wait_for_version("v2")
    finally:
        world.stop()


def test_who_follows_a_topic_goes_on(proxy: GoodbyeProxy, params: KafkaParams) -> None:
    writer = Writer(params, client_id="test-writer")
    with ExitStack() as running:
        followers = [
            running.enter_context(TableFollower(params, "predictor_status", client_id=f"test-{number}"))
            for number in range(_OF_EACH_KIND)
        ]
        for follower in followers:
            wait_until(lambda: follower.caught_up, what="all is read", timeout_seconds=_SECONDS)  # noqa: B023  # called at once
        say_goodbye(proxy)
        until_written(writer, "predictor_status", "news")
        for follower in followers:
            wait_until(lambda: follower.get("news"), what="the news are read", timeout_seconds=_SECONDS)  # noqa: B023  # called at once
            follower.check()


def test_who_writes_now_and_then_can_write_again(proxy: GoodbyeProxy, params: KafkaParams) -> None:
    writers = [Writer(params, client_id=f"test-{number}") for number in range(_OF_EACH_KIND)]

    def in_vain(number: int) -> None:
        with pytest.raises(KafkaUnavailable):
            writers[number].write("feedback", "", b"lost")

    def all_in_vain() -> None:
        threads = [threading.Thread(target=in_vain, args=(number,)) for number in range(_OF_EACH_KIND)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    say_goodbye(proxy, times=1, meanwhile=all_in_vain)
    for writer in writers:
        until_written(writer, "feedback", "")


def test_assignments_are_published_again(proxy: GoodbyeProxy, params: KafkaParams) -> None:
    identity = ModelIdentity("test", "default", "line")
    with ExitStack() as running:
        all_topics = [
            running.enter_context(
                ControlTopics(params, installation="test", client_id=f"test-{number}", on_news=lambda _: None)
            )
            for number in range(2)
        ]
        say_goodbye(proxy)
        for topics in all_topics:
            until(lambda: topics.publish(identity, None))  # noqa: B023  # called at once
            wait_until(lambda: topics.problem is None, what="it reads again", timeout_seconds=_SECONDS)  # noqa: B023  # called at once


def test_announcements_are_heard_again(proxy: GoodbyeProxy, params: KafkaParams) -> None:
    heard: dict[int, threading.Event] = {number: threading.Event() for number in range(_OF_EACH_KIND)}

    def create(number: int) -> Callable[[dict[str, object]], str]:
        def heard_it(_: dict[str, object]) -> str:
            heard[number].set()
            return "created"

        return heard_it

    with ExitStack() as running:
        for number in heard:
            bridge = Bridge(
                params,
                installation=f"test-{number}",
                bucket="models",
                namespace="default",
                default_model="line",
                template_of=lambda _: {},
                create=create(number),
            )
            running.enter_context(bridge)
        writer = Writer(params, client_id="test-writer")
        for _ in range(2):
            until_written(writer, "train", "line", b"s3://models/line/v1.skops")
            for event in heard.values():
                assert event.wait(_SECONDS)
                event.clear()
            say_goodbye(proxy)


def until(done: Callable[[], object]) -> None:
    """Again and again, as those who call it do."""
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            done()
        except KafkaUnavailable:
            assert time.monotonic() < deadline
        else:
            return


def until_written(writer: Writer, topic: str, key: str, value: bytes = b"there") -> None:
    until(lambda: writer.write(topic, key, value))
