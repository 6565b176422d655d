"""From app_messages to a channel, on a real broker: whoever dies, all that a rule selects arrives at least once, and
nothing else does.
"""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaException, TopicPartition
from tests.chaos.notifier_saboteur import NOTIFIER_DEATHS, NOTIFIER_ORDER_VARIABLE
from tests.env.kafka import RealKafka
from tests.env.notifier import Answer, Arrival, Notifier, NotifierWorld, Receiver

from rollcast_cli.local.processes import wait_until
from rollcast_common.kafka import ErrorWatch, make_admin, make_consumer


@pytest.fixture
def world(kafka: RealKafka, topic_prefix: str, tmp_path: Path) -> Iterator[NotifierWorld]:
    made = NotifierWorld(kafka.params, kafka.create_topics(topic_prefix), tmp_path)
    yield made
    made.stop()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def test_what_a_rule_selects_is_in_the_log_and_each_step_is_a_receipt(world: NotifierWorld) -> None:
    world.write_rules(
        "channels: {log: {type: log}}\n"
        "subscriptions:\n"
        "  - name: dear\n"
        "    when: prediction > 7\n"
        "    to: ['log:ann']\n"
        "    template: 'number {{ features.x }}'\n"
    )
    notifier = world.serve()
    world.predictions.send(10)
    world.predictions.send_raw(b"no prediction")
    world.predictions.send_raw(None)
    world.predictions.send(2)
    world.predictions.flush()
    wanted = {"number 8", "number 9", "number 10", "number 11"}
    world.wait(lambda: {line["text"] for line in notifier.events("notification")} == wanted, "all are told")
    world.wait(lambda: notifier.metric("lag_records") == {"": 0}, "all is read")
    # Each is counted after what is counted was done, and by other threads than those that say it.
    world.wait(lambda: notifier.metric("predictions_total") == {"": 12}, "all predictions are counted")
    world.wait(lambda: notifier.metric("skipped_records_total") == {"": 2}, "what is none is counted")
    sent = 'channel="log",state="sent"'
    world.wait(lambda: notifier.metric("notifications_total").get(sent) == 4, "all that is told is counted")
    world.wait(lambda: notifier.metric("outbox_open") == {'channel="log"': 0}, "all is sent")
    assert notifier.terminate() == 0
    receipts = world.receipts()
    assert [receipt.state for receipt in receipts if receipt.request_id == "r-9"] == ["queued", "sent"]
    assert {receipt.receiver for receipt in receipts} == {"log:ann"}
    assert len(receipts) == 8
    assert world.receipts("notifications_failed") == []
    assert notifier.events("notifier ended")


_MANY = 20_000

# Deaths.

_SABOTEUR = ("-m", "tests.chaos.notifier_saboteur", "die", "none")


def wait_told(world: NotifierWorld, receiver: Receiver, numbers: range) -> None:
    """Until both receivers know all of it, and the outbox, too, knows that they do."""
    wanted = {(name, f"test/default/line:r-{number}") for name in ("ann", "ben") for number in numbers}

    def all_told() -> bool:
        return {(arrival.receiver, arrival.prediction_id) for arrival in list(receiver.arrivals)} >= wanted

    world.wait(all_told, f"{len(numbers)} predictions are told")
    world.wait(lambda: world.open_in_outbox() == 0, "all is sent")


def check_told(receiver: Receiver, numbers: range, *, deaths: int = 0) -> None:
    """Each to both receivers, in order; twice at most one for each death."""
    arrivals = sorted(receiver.arrivals, key=lambda arrival: arrival.time)  # they are noted after they are answered
    times = Counter((arrival.receiver, arrival.prediction_id) for arrival in arrivals)
    assert len(times) == 2 * len(numbers), "lost, or told to nobody's wish"
    assert sum(count - 1 for count in times.values()) <= deaths, "doubled without a reason"
    for name in ("ann", "ben"):
        for lane in range(8):  # as many keys, each of which lies in one partition
            found = [a.prediction_id for a in arrivals if a.receiver == name and _number(a) % 8 == lane]
            order = [int(id_.rpartition("-")[2]) for id_ in dict.fromkeys(found)]
            assert order == sorted(order)


def _number(arrival: Arrival) -> int:
    return int(arrival.prediction_id.rpartition("-")[2])


def kill(notifier: Notifier) -> None:
    os.kill(notifier.pid, signal.SIGKILL)
    notifier.wait_for_end()


def test_killed_at_random_nothing_is_lost(world: NotifierWorld, receiver: Receiver) -> None:
    world.write_hook_rules(receiver.url, when="prediction < 1000")
    moments = random.Random(5)  # noqa: S311  # no secret: the same again in each run
    notifier = world.serve()
    deaths = 4
    for _ in range(deaths):
        world.predictions.send(60, lambda number: number % 2 * 1000)
        world.predictions.flush()
        before = receiver.tries
        world.wait(lambda: receiver.tries > before, "something is told")  # noqa: B023  # called at once
        time.sleep(moments.uniform(0, 0.3))  # the fault itself: at any moment
        kill(notifier)
        notifier = world.serve()
    numbers = range(0, world.predictions.count, 2)
    wait_told(world, receiver, numbers)
    check_told(receiver, numbers, deaths=deaths)


def test_killed_at_each_step_nothing_is_lost(world: NotifierWorld, receiver: Receiver) -> None:
    world.write_hook_rules(receiver.url)
    order = world.folder / "die-at"
    environ = {NOTIFIER_ORDER_VARIABLE: str(order)}
    notifier = world.serve(module=_SABOTEUR, environ=environ)
    for point in NOTIFIER_DEATHS:
        order.write_text(point, encoding="utf-8")
        world.predictions.send(20)
        world.predictions.flush()
        assert notifier.wait_for_end(180) == -signal.SIGKILL, point
        assert not order.exists()
        notifier = world.serve(module=_SABOTEUR, environ=environ)
    numbers = range(world.predictions.count)
    wait_told(world, receiver, numbers)
    world.wait(lambda: notifier.metric("lag_records") == {"": 0}, "all is read")
    assert notifier.terminate() == 0
    # Wherever one thread dies, the dispatcher may be in a call.
    check_told(receiver, numbers, deaths=len(NOTIFIER_DEATHS))
    receipts = world.receipts()
    for state in ("queued", "sent"):
        published = {r.notification_id for r in receipts if r.state == state}
        assert len(published) == 2 * len(numbers), "a receipt is lost"


def test_held_where_twice_is_worse_a_person_decides(world: NotifierWorld, receiver: Receiver) -> None:
    world.write_hook_rules(receiver.url, more="    on_unknown: hold\n")
    order = world.folder / "die-at"
    environ = {NOTIFIER_ORDER_VARIABLE: str(order)}
    notifier = world.serve(module=_SABOTEUR, environ=environ)
    order.write_text("after-send", encoding="utf-8")
    world.predictions.send(1)
    world.predictions.flush()
    assert notifier.wait_for_end() == -signal.SIGKILL
    notifier = world.serve(module=_SABOTEUR, environ=environ)
    world.wait(lambda: len(receiver.arrivals) == 2, "the other receiver is told")
    assert world.command("held", "list", "--json").count('"number"') == 1
    assert notifier.metric("unknown_outcomes_total") == {'channel="hook"': 1}
    assert "1 to be sent again" in world.command("held", "resend", "--all")
    world.wait(lambda: len(receiver.arrivals) == 3, "it is sent again")
    assert world.command("held", "list") == "nothing is held\n"
    world.wait(lambda: world.open_in_outbox() == 0, "all is sent")
    assert '"sent": 2' in world.command("outbox", "--json")


# Outages.


def test_a_channel_that_fails_in_every_way_is_waited_for(world: NotifierWorld, receiver: Receiver) -> None:
    def moody(number: int) -> Answer:
        if number % 9 == 3:
            return Answer(503, taken=False)
        if number % 9 == 5:
            return Answer(429, taken=False, headers={"Retry-After": "1"})
        return Answer(cut=True) if number % 9 == 7 else Answer()

    receiver.answer = moody
    world.write_hook_rules(receiver.url)
    notifier = world.serve()
    world.predictions.send(10)
    world.predictions.flush()
    wait_told(world, receiver, range(10))
    unknown = int(notifier.metric("unknown_outcomes_total")['channel="hook"'])
    assert unknown > 0
    check_told(receiver, range(10), deaths=unknown)


def test_twenty_thousand_with_a_dead_channel_none_is_lost(world: NotifierWorld, receiver: Receiver) -> None:
    """The living channel has a few of them, the dead one all; bench/notifier_delivery.py does it with a million."""
    world.write_rules(
        f"channels:\n  hook: {{type: webhook, url: '{receiver.url}'}}\n"
        "  dead: {type: webhook, url: 'http://127.0.0.1:9/in'}\n"
        "subscriptions:\n"
        "  - {name: all, to: ['dead:ann']}\n"
        "  - {name: some, when: prediction % 1000 = 0, to: ['hook:ann']}\n"
    )
    notifier = world.serve()
    world.predictions.send(_MANY)
    world.predictions.flush()
    world.wait(lambda: notifier.metric("predictions_total") == {"": _MANY}, "all are read", seconds=300.0)
    world.wait(lambda: len(receiver.arrivals) == _MANY // 1000, "some are told")
    assert notifier.terminate() == 0
    assert world.counts() == {("dead", "queued"): _MANY, ("hook", "sent"): _MANY // 1000}


def test_a_dead_channel_holds_up_neither_the_stream_nor_another(world: NotifierWorld, receiver: Receiver) -> None:
    world.write_rules(
        f"channels:\n  hook: {{type: webhook, url: '{receiver.url}'}}\n"
        "  dead: {type: webhook, url: 'http://127.0.0.1:9/in'}\n"
        "subscriptions:\n  - {name: all, to: ['hook:ann', 'dead:ann']}\n"
    )
    notifier = world.serve()
    world.predictions.send(50)
    world.predictions.flush()
    world.wait(lambda: len(receiver.arrivals) == 50, "the living one has all")
    world.wait(lambda: notifier.metric("outbox_open").get('channel="dead"') == 50, "50 wait for the dead one")
    world.wait(lambda: notifier.metric("channel_up") == {'channel="hook"': 1, 'channel="dead"': 0}, "it says so")
    assert notifier.health()["ready"]


def test_a_broker_that_is_away_delays_and_loses_nothing(
    world: NotifierWorld, receiver: Receiver, kafka: RealKafka
) -> None:
    world.write_hook_rules(receiver.url)
    notifier = world.serve()
    world.predictions.send(20)
    world.predictions.flush()
    wait_told(world, receiver, range(20))
    kafka.restart()
    world.predictions.send(20)
    world.predictions.flush()
    wait_told(world, receiver, range(40))
    assert notifier.terminate() == 0
    check_told(receiver, range(40))
    assert Counter(r.state for r in world.receipts()) == {"queued": 80, "sent": 80}


# Where it begins.


def test_the_outbox_knows_better_than_the_group_where_to_read_on(world: NotifierWorld, receiver: Receiver) -> None:
    """Whatever Kafka has of the group: nothing that was committed too early is lost, nothing is told again."""
    world.write_hook_rules(receiver.url)
    notifier = world.serve()
    world.predictions.send(20)
    world.predictions.flush()
    wait_told(world, receiver, range(20))
    assert notifier.terminate() == 0
    world.predictions.send(20)
    world.predictions.flush()
    topic = world.names.full("app_messages")
    watch = ErrorWatch(world.kafka.broker.servers)
    consumer = make_consumer(world.kafka, watch, client_id="test-mover", group_id=world.group)
    ends = [
        TopicPartition(topic, number, consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=60)[1])
        for number in range(4)
    ]

    def moved() -> bool:
        """Refused for as long as the group waits for its member to come back."""
        try:
            consumer.commit(offsets=ends, asynchronous=False)
        except KafkaException:
            return False
        return True

    wait_until(moved, what="the group stands elsewhere", timeout_seconds=180)
    consumer.close()
    notifier = world.serve()
    wait_told(world, receiver, range(40))
    check_told(receiver, range(40))
    assert notifier.events("the group has committed more than the outbox knows, which is read again: an older outbox?")


def test_a_topic_that_was_created_anew_is_read_from_its_beginning(
    world: NotifierWorld, receiver: Receiver, kafka: RealKafka
) -> None:
    world.write_hook_rules(receiver.url)
    notifier = world.serve()
    world.predictions.send(20)
    world.predictions.flush()
    wait_told(world, receiver, range(20))
    assert notifier.terminate() == 0
    topic = world.names.full("app_messages")
    admin = make_admin(world.kafka, ErrorWatch(world.kafka.broker.servers), client_id="test-admin")
    admin.delete_topics([topic])[topic].result(30)
    world.wait_gone(topic)
    kafka.create_topics(world.names.prefix)
    world.predictions.send(40)
    world.predictions.flush()
    notifier = world.serve()
    wait_told(world, receiver, range(60))
    check_told(receiver, range(60))
    assert notifier.events("the topic was created anew: the places that the outbox knew are forgotten")


# What is said at once.


def test_a_second_notifier_with_the_same_outbox_is_refused(world: NotifierWorld, receiver: Receiver) -> None:
    world.write_hook_rules(receiver.url)
    world.serve()
    second = world.start()
    assert second.wait_for_end() == 1
    (stopped,) = second.events("notifier stopped")
    assert "is sending from it already; stop that notifier, or name another file" in stopped["problem"]


def test_a_second_notifier_with_an_outbox_of_its_own_ends_the_first(world: NotifierWorld, receiver: Receiver) -> None:
    world.write_hook_rules(receiver.url)
    first = world.serve()
    world.serve(environ={"ROLLCAST_OUTBOX": str(world.folder / "other.db")})
    assert first.wait_for_end() == 75
    (stopped,) = first.events("notifier stopped")
    assert "another process runs as the same slot" in stopped["problem"]
