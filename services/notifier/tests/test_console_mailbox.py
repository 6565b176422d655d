"""The mailbox and the channel on it: stored once, its steps in order, each person their own."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from tests.env.console import Heard
from tests.env.notifications import a_notification

from rollcast_common.errors import CacheProblem
from rollcast_notifier.channels.channel import Refused, Unavailable
from rollcast_notifier.console.channel import ConsoleChannel
from rollcast_notifier.console.mailbox import Mailbox
from rollcast_notifier.notification import reference_of


@pytest.fixture
def mailbox(tmp_path: Path) -> Iterator[Mailbox]:
    mailbox = Mailbox(tmp_path / "outbox.db.console", keep_days=1_000_000)
    yield mailbox
    mailbox.close()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def channel(mailbox: Mailbox, heard: Heard) -> ConsoleChannel:
    channel = ConsoleChannel("console", mailbox, knows=lambda user: user in ("ann", "bob"))
    channel.start(heard)
    return channel


def test_what_is_sent_twice_is_there_once(mailbox: Mailbox, channel: ConsoleChannel) -> None:
    notification = a_notification("console:ann")
    assert channel.send(notification).external_id == notification.id
    revision = mailbox.revision("ann")
    assert channel.send(notification).external_id == notification.id
    assert mailbox.revision("ann") == revision
    _, (message,) = mailbox.changed("ann", 0, 10)
    assert message["text"] == notification.text
    assert message["reference"] == reference_of(notification.id)
    assert message["sent"] >= message["queued"] > 0
    assert message["delivered"] is message["read"] is None


@pytest.mark.parametrize("to", ["console:carl", "console:group:all"])
def test_who_is_not_there_is_refused(channel: ConsoleChannel, to: str) -> None:
    with pytest.raises(Refused, match=to):
        channel.send(a_notification(to))


def test_receipts_are_told_once_and_in_order(mailbox: Mailbox, channel: ConsoleChannel, heard: Heard) -> None:
    first, second = (a_notification("console:ann", prediction_id=f"p:{n}") for n in range(2))
    channel.send(first)
    channel.send(second)
    channel.mark("ann", [first.id], "delivered")
    channel.mark("ann", [first.id], "delivered")
    channel.mark("ann", [first.id], "read")
    # Who reads what was never marked as delivered has it nevertheless.
    channel.mark("ann", [second.id], "read")
    assert heard.receipts == [(first.id, "delivered"), (first.id, "read"), (second.id, "read")]
    messages = {message["id"]: message for message in mailbox.changed("ann", 0, 10)[1]}
    assert all(message["delivered"] <= message["read"] for message in messages.values())
    assert mailbox.unread("ann") == 0


def test_each_person_has_their_own(mailbox: Mailbox, channel: ConsoleChannel, heard: Heard) -> None:
    theirs = a_notification("console:bob")
    channel.send(theirs)
    assert mailbox.changed("ann", 0, 10) == (0, [])
    channel.mark("ann", [theirs.id], "read")
    assert heard.receipts == []
    assert mailbox.unread("bob") == 1


def test_a_page_gets_what_has_changed_since(mailbox: Mailbox, channel: ConsoleChannel) -> None:
    sent = [a_notification("console:ann", prediction_id=f"p:{n}", created=n) for n in range(5)]
    for notification in sent:
        channel.send(notification)
    place, messages = mailbox.changed("ann", 0, 3)
    assert [message["id"] for message in messages] == [n.id for n in sent[2:]]
    assert mailbox.changed("ann", place, 10) == (place, [])
    channel.mark("ann", [sent[3].id], "delivered")
    newer, (changed,) = mailbox.changed("ann", place, 10)
    assert newer > place
    assert changed["id"] == sent[3].id


def test_what_a_person_says_is_queued_then_sent(mailbox: Mailbox) -> None:
    assert mailbox.say("ann", "1", "help")
    assert not mailbox.say("ann", "1", "help")
    (message,) = mailbox.changed("ann", 0, 10)[1]
    assert (message["is_mine"], message["sent"], message["reference"]) == (True, None, None)
    mailbox.said("ann", "1")
    (message,) = mailbox.changed("ann", 0, 10)[1]
    assert message["sent"] is not None
    assert mailbox.unread("ann") == 0  # one's own words are read
    assert mailbox.say("ann", "2", "help")
    mailbox.said("ann", "2", problem="Kafka is away")
    failed = mailbox.changed("ann", 0, 10)[1][-1]
    assert (failed["sent"], failed["problem"]) == (None, "Kafka is away")


def test_it_outlives_the_process(tmp_path: Path, mailbox: Mailbox, channel: ConsoleChannel) -> None:
    channel.send(a_notification("console:ann"))
    again = Mailbox(tmp_path / "outbox.db.console", keep_days=1_000_000)
    try:
        assert again.revision("ann") == mailbox.revision("ann") > 0
        assert len(again.changed("ann", 0, 10)[1]) == 1
    finally:
        again.close()


def test_what_is_old_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mailbox = Mailbox(tmp_path / "m", keep_days=1)
    try:
        for number in range(2):
            now = 1_700_000_000_000 + number * 86_400_001
            monkeypatch.setattr("rollcast_notifier.console.mailbox._now", lambda now=now: now)
            mailbox._purge_at = 0.0
            mailbox.deliver(a_notification("console:ann", prediction_id=f"p:{number}"))
        assert [message["prediction_id"] for message in mailbox.changed("ann", 0, 10)[1]] == ["p:1"]
    finally:
        mailbox.close()


def test_what_is_told_late_is_kept(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path / "m", keep_days=7)
    try:
        mailbox.deliver(a_notification("console:ann", created=1))  # a prediction of 1970
        assert len(mailbox.changed("ann", 0, 10)[1]) == 1
    finally:
        mailbox.close()


def test_a_disk_that_does_not_take_it_is_tried_again(mailbox: Mailbox, channel: ConsoleChannel) -> None:
    mailbox.close()
    with pytest.raises(Unavailable, match="mailbox"):
        channel.send(a_notification("console:ann"))


def test_what_came_after_a_full_disk_is_not_taken_for_seen(
    mailbox: Mailbox, channel: ConsoleChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page asks for what is newer than it has; while something fails, it may look."""
    with monkeypatch.context() as patch:

        def full() -> NoReturn:
            raise sqlite3.OperationalError("database or disk is full")

        patch.setattr(mailbox, "_purge", full)
        with pytest.raises(Unavailable, match="disk is full"):
            channel.send(a_notification("console:ann"))
    has, _ = mailbox.changed("ann", 0, 10)
    channel.send(a_notification("console:ann"))
    assert mailbox.revision("ann") != has
    assert len(mailbox.changed("ann", has, 10)[1]) == 1


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"this is no database, it is a text" * 100)
    with pytest.raises(CacheProblem, match="mailbox"):
        Mailbox(tmp_path / "m")


def test_words_reach_the_service_with_who_said_them(channel: ConsoleChannel, heard: Heard) -> None:
    channel.say("ann", "1", "actual 28.5", about="n", time=7)
    (inbound,) = heard.messages
    assert (str(inbound.sender), inbound.text, inbound.about, inbound.time) == ("console:ann", "actual 28.5", "n", 7)
    channel.stop()
    with pytest.raises(Unavailable):
        channel.say("ann", "2", "help", about=None, time=8)
