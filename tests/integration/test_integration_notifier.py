"""From app_messages to a channel, on a real broker: whoever dies, all that a rule selects arrives at least once, and
nothing else does.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.env.kafka import RealKafka
from tests.env.notifier import NotifierWorld, Receiver


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
    assert notifier.metric("predictions_total") == {"": 12}
    assert notifier.metric("skipped_records_total") == {"": 2}
    assert notifier.metric("notifications_total")['channel="log",state="sent"'] == 4
    world.wait(lambda: notifier.metric("outbox_open") == {'channel="log"': 0}, "all is sent")
    assert notifier.terminate() == 0
    receipts = world.receipts()
    assert [receipt.state for receipt in receipts if receipt.request_id == "r-9"] == ["queued", "sent"]
    assert {receipt.receiver for receipt in receipts} == {"log:ann"}
    assert len(receipts) == 8
    assert world.receipts("notifications_failed") == []
    assert notifier.events("notifier ended")
