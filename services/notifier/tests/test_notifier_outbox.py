"""The outbox: what is recorded is there after any death, is sent at least once, and is recorded once."""

import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.env.outboxes import ANN, Clock, made

from rollcast_common.errors import ConfigError, RollcastError
from rollcast_notifier import outbox_file
from rollcast_notifier.notification import Notification, OnUnknown, Receiver, reference_of
from rollcast_notifier.outbox import Outbox, OutboxProblem, Outcome, Queued

TOPIC = "app_messages"
BEN = Receiver("hook", "ben")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened(tmp_path: Path, clock: Clock) -> Iterator[Callable[[], Outbox]]:
    """Opens the same file again. The one before ends without a word: what it had not written is gone."""
    outboxes: list[Outbox] = []

    def open_() -> Outbox:
        while outboxes:
            outboxes.pop().close()
        outboxes.append(Outbox(tmp_path / "outbox.db", clock=clock))
        return outboxes[-1]

    yield open_
    while outboxes:
        outboxes.pop().close()


@pytest.fixture
def outbox(opened: Callable[[], Outbox]) -> Outbox:
    return opened()


def due(outbox: Outbox, channel: str = "hook") -> list[Notification]:
    return [queued.notification for queued in outbox.due(channel, 100)]


def first(outbox: Outbox) -> Queued:
    return outbox.due("hook", 1)[0]


def send(outbox: Outbox, count: int = 1) -> None:
    for _ in range(count):
        queued = first(outbox)
        assert outbox.settle(None, queued)
        outbox.settle(Outcome(queued, "sent", external_id=f"x-{queued.notification.id}"))


def receipts(outbox: Outbox) -> list[tuple[str, str]]:
    return [(t.receipt.request_id, t.receipt.state) for t in outbox.transitions(1000)]


# Recording.


def test_a_notification_comes_back_as_it_was_recorded(outbox: Outbox) -> None:
    group = Receiver("mesibo", "102529", "group")
    notification = Notification(
        id="0" * 32,
        prediction_id="i/n/m:1",
        request_id="1",
        key=None,
        model="m",
        version="2022-08-19",
        prediction=b'["a",1.5]',
        subscription="s",
        receiver=group,
        text="größer",
        created=5,
        expires=2_000_000,
        wants=frozenset({"read", "delivered"}),
        on_unknown=OnUnknown.HOLD,
    )
    outbox.record([notification])
    assert due(outbox, "mesibo") == [notification]
    assert outbox.by_id(notification.id) == notification


def test_the_same_prediction_read_again_is_the_same_notification(opened: Callable[[], Outbox]) -> None:
    assert opened().record([made(1), made(2)], {(TOPIC, 0): 2}) == 2
    assert opened().record([made(2), made(3)], {(TOPIC, 0): 3}) == 1
    assert due(opened()) == [made(1), made(2), made(3)]


def test_what_was_sent_is_not_sent_again_when_its_prediction_is_read_again(outbox: Outbox) -> None:
    outbox.record([made(1)])
    send(outbox)
    assert outbox.record([made(1)]) == 0
    assert due(outbox) == []


def test_places_go_with_the_records_before_them(opened: Callable[[], Outbox]) -> None:
    outbox = opened()
    outbox.record([made(1)], {(TOPIC, 0): 5, (TOPIC, 3): 7})
    with pytest.raises(AttributeError):
        outbox.record([made(2), None], {(TOPIC, 0): 6})  # type: ignore[list-item]  # a batch that fails half-way
    outbox = opened()
    assert outbox.places(TOPIC) == {0: 5, 3: 7}
    assert due(outbox) == [made(1)]


def test_what_is_incomplete_is_an_error_and_not_passed_over(outbox: Outbox) -> None:
    whole = made(1)
    object.__setattr__(whole, "model", None)
    with pytest.raises(RollcastError, match=r"NOT NULL.*a bug of the notifier"):
        outbox.record([made(2), whole], {(TOPIC, 0): 2})
    assert due(outbox) == []
    assert outbox.places(TOPIC) == {}


def test_what_a_rule_drops_is_recorded_as_failed_and_stays_so(outbox: Outbox) -> None:
    outbox.record([made(1, dropped="rate limit")])
    outbox.record([made(1)])
    assert due(outbox) == []
    (transition,) = outbox.transitions(10)
    assert (transition.receipt.state, transition.receipt.reason) == ("failed", "rate limit")
    assert transition.receipt.text == "number 1"


# Whose turn it is.


def test_what_is_for_one_receiver_comes_in_order(outbox: Outbox) -> None:
    outbox.record([made(n) for n in (3, 1, 2)])
    assert due(outbox) == [made(3), made(1), made(2)]


def test_a_receiver_who_waits_keeps_no_other_waiting(outbox: Outbox, clock: Clock) -> None:
    outbox.record([made(1), made(2), made(3, BEN)])
    queued = first(outbox)
    outbox.settle(None, queued)
    outbox.settle(Outcome(queued, "queued", due=clock.now + 500))
    assert due(outbox) == [made(3, BEN)]
    assert outbox.next_due("hook") == clock.now
    clock.now += 500
    assert sorted(n.text for n in due(outbox)) == ["number 1", "number 2", "number 3"]


def test_receivers_take_turns(outbox: Outbox, clock: Clock) -> None:
    outbox.record([made(n) for n in range(50)])
    clock.now += 1
    outbox.record([made(100, BEN)])
    seen = []
    for _ in range(3):
        clock.now += 1
        queued = first(outbox)
        seen.append(queued.notification.receiver.name)
        outbox.settle(Outcome(queued, "sent"))
    assert seen == ["ann", "ben", "ann"]


def test_channels_know_nothing_of_each_other(outbox: Outbox) -> None:
    outbox.record([made(1), made(2, Receiver("other", "ann"))])
    assert due(outbox, "other") == [made(2, Receiver("other", "ann"))]


def test_nobody_looks_at_more_than_asked_for(outbox: Outbox) -> None:
    outbox.record([made(n, Receiver("hook", f"r{n % 7}")) for n in range(700)])
    assert len(outbox.due("hook", 10)) <= 10
    assert len(outbox.due("hook", 3)) == 3


# What came of it.


def test_steps_only_go_forward_and_each_is_one_receipt(outbox: Outbox) -> None:
    outbox.record([made(1)])
    send(outbox)
    name = f"x-{made(1).id}"
    for state in ("delivered", "delivered", "sent", "read", "delivered"):
        outbox.receipt("hook", name, state)
    assert receipts(outbox) == [("r-1", "queued"), ("r-1", "sent"), ("r-1", "delivered"), ("r-1", "read")]


def test_a_receipt_that_comes_before_its_sending_is_recorded_counts(outbox: Outbox) -> None:
    outbox.record([made(1)])
    outbox.receipt("hook", f"x-{made(1).id}", "read")
    outbox.receipt("hook", f"x-{made(1).id}", "delivered")
    send(outbox)
    assert receipts(outbox)[1:] == [("r-1", "sent"), ("r-1", "delivered"), ("r-1", "read")]


def test_a_receipt_of_another_channel_with_the_same_name_means_another_message(outbox: Outbox) -> None:
    outbox.record([made(1)])
    send(outbox)
    outbox.receipt("other", f"x-{made(1).id}", "read")
    assert receipts(outbox)[-1] == ("r-1", "sent")


def test_a_message_may_fail_after_it_was_sent(outbox: Outbox) -> None:
    outbox.record([made(1)])
    send(outbox)
    outbox.receipt("hook", f"x-{made(1).id}", "failed", "no such user")
    receipt = outbox.transitions(10)[-1].receipt
    assert (receipt.state, receipt.reason, receipt.text) == ("failed", "no such user", "number 1")


def test_what_came_too_late_expires(outbox: Outbox, clock: Clock) -> None:
    outbox.record([made(1, expires=clock.now + 10), made(2)])
    assert outbox.expire() == 0
    clock.now += 10
    assert outbox.expire() == 1
    assert due(outbox) == [made(2)]
    assert receipts(outbox)[-1] == ("r-1", "expired")


def test_what_is_queued_for_too_long_is_given_up(outbox: Outbox, clock: Clock) -> None:
    outbox.record([made(1)])
    clock.now += 100
    outbox.record([made(2)])
    assert outbox.give_up("hook", clock.now - 50, "not sent in 3 days") == 1
    assert due(outbox) == [made(2)]


def test_receipts_are_there_until_they_are_published(opened: Callable[[], Outbox]) -> None:
    outbox = opened()
    outbox.record([made(1), made(2)])
    one, two = outbox.transitions(10)
    outbox.published(one.number)
    assert opened().transitions(10) == [two]


# Deaths.


def test_a_death_while_sending_is_an_unknown_outcome(opened: Callable[[], Outbox]) -> None:
    outbox = opened()
    outbox.record([made(1, on_unknown=OnUnknown.RESEND), made(2, BEN, on_unknown=OnUnknown.HOLD)])
    for queued in outbox.due("hook", 10):
        outbox.settle(None, queued)
    assert outbox.due("hook", 10) == []
    outbox = opened()
    assert outbox.unknown == {"hook": 2}
    assert [(q.notification, q.attempts) for q in outbox.due("hook", 10)] == [(made(1), 1)]
    ((_, held, why, _),) = outbox.held()
    assert held == made(2, BEN, on_unknown=OnUnknown.HOLD)
    assert why == "the notifier ended while it was being sent"
    assert opened().unknown == {}


@pytest.mark.parametrize(("resend", "state"), [(True, "queued"), (False, "failed")])
def test_a_person_decides_about_what_is_held(outbox: Outbox, *, resend: bool, state: str) -> None:
    outbox.record([made(1), made(2)])
    queued = first(outbox)
    outbox.settle(None, queued)
    outbox.settle(Outcome(queued, "held", reason="who knows"))
    assert due(outbox) == [made(2)]
    assert outbox.release([queued.number, 99], resend=resend) == 1
    assert (made(1) in due(outbox)) == resend
    assert receipts(outbox)[-1] == ("r-1", state)
    assert outbox.release([queued.number], resend=resend) == 0


def test_another_process_may_look_and_decide_but_not_send(outbox: Outbox, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"process \d+ is sending from it already; stop that notifier"):
        Outbox(tmp_path / "outbox.db")
    outbox.record([made(1)])
    beside = Outbox(tmp_path / "outbox.db", sending=False)
    assert beside.counts() == {("hook", "queued"): 1}
    beside.close()
    assert due(outbox) == [made(1)]


# The file.


def test_a_newer_file_is_refused(opened: Callable[[], Outbox]) -> None:
    opened()._db.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigError, match=r"a newer notifier wrote it \(schema 99, this one knows up to 1\); run that"):
        opened()


def test_an_older_file_becomes_a_newer_one_and_keeps_what_it_holds(
    opened: Callable[[], Outbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened().record([made(1)], {(TOPIC, 0): 1})
    step = "ALTER TABLE notifications ADD COLUMN urgency INTEGER NOT NULL DEFAULT 0;"
    monkeypatch.setattr(outbox_file, "MIGRATIONS", [*outbox_file.MIGRATIONS, step])
    outbox = opened()
    assert due(outbox) == [made(1)]
    assert outbox._read("SELECT urgency FROM notifications") == [(0,)]
    assert opened().places(TOPIC) == {0: 1}


def test_a_step_that_fails_has_not_happened(opened: Callable[[], Outbox], monkeypatch: pytest.MonkeyPatch) -> None:
    opened().record([made(1)])
    with monkeypatch.context() as patch:
        patch.setattr(
            outbox_file, "MIGRATIONS", [*outbox_file.MIGRATIONS, "DROP TABLE places; INSERT INTO nowhere VALUES (1);"]
        )
        with pytest.raises(Exception, match="nowhere"):
            opened()
    outbox = opened()
    outbox.record([made(2)], {(TOPIC, 0): 2})
    assert due(outbox) == [made(1), made(2)]


def test_what_is_no_outbox_is_refused_and_left_alone(tmp_path: Path) -> None:
    text, other = tmp_path / "text.db", tmp_path / "other.db"
    text.write_text("no database at all, but long enough to be taken for a header " * 20)
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE theirs (x)")
    db.close()
    with pytest.raises(ConfigError, match="not a file of the notifier, or damaged"):
        Outbox(text)
    with pytest.raises(ConfigError, match="an SQLite file of something else"):
        Outbox(other)
    with pytest.raises(ConfigError, match=r"cannot be (written|opened)"):
        Outbox(tmp_path / "no folder" / "outbox.db")
    with pytest.raises(ConfigError, match="no such file"):
        Outbox(tmp_path / "none.db", sending=False)
    assert text.read_text().startswith("no database")


def test_a_full_disk_is_said_and_nothing_of_the_batch_is_there(outbox: Outbox) -> None:
    """The most pages that the file may have stands for the disk: SQLite says the same."""
    outbox.record([made(1)], {(TOPIC, 0): 1})
    pages = outbox._db.execute("PRAGMA page_count").fetchone()[0]
    outbox._db.execute(f"PRAGMA max_page_count = {pages}")
    many = [made(n, text="long " * 200) for n in range(2, 200)]
    with pytest.raises(OutboxProblem, match="the disk is full; make room, nothing is lost"):
        outbox.record(many, {(TOPIC, 0): 200})
    assert outbox.places(TOPIC) == {0: 1}
    assert due(outbox) == [made(1)]
    outbox._db.execute("PRAGMA max_page_count = 1000000")
    assert outbox.record(many, {(TOPIC, 0): 200}) == len(many)
    assert outbox.places(TOPIC) == {0: 200}


def test_what_is_done_is_forgotten_in_time_and_its_room_is_given_back(outbox: Outbox, clock: Clock) -> None:
    for start in range(0, 3000, 500):
        outbox.record([made(n, Receiver("hook", f"r{n % 40}"), text="long " * 100) for n in range(start, start + 500)])
    outbox.record([made(9999, BEN)])
    while queued := [queued for queued in outbox.due("hook", 100) if queued.notification.receiver != BEN]:
        for one in queued:
            outbox.settle(Outcome(one, "sent"))
    clock.now += 1000
    assert outbox.purge(500) == 0, "its receipts are not published"
    while waiting := outbox.transitions(1000):
        outbox.published(waiting[-1].number)
    outbox._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = outbox.size_bytes
    steps = 0
    while outbox.purge(500):
        steps += 1
    outbox._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert steps > 1
    assert outbox.counts() == {("hook", "queued"): 1}
    assert due(outbox) == [made(9999, BEN)]
    assert outbox.size_bytes < before / 5
    assert outbox._read("SELECT count(*) FROM lanes") == [(1,)]


# Answers to people.


def test_what_a_person_answers_to_is_found(outbox: Outbox) -> None:
    outbox.record([made(1), made(2), made(3), made(1, BEN)])
    send(outbox, 2)
    conversation = made(4)
    assert outbox.last_sent_to(BEN) is None
    assert outbox.last_sent_to(ANN) in (made(1), made(2))
    assert outbox.find(ANN, reference_of(made(3).id)) == made(3)
    assert outbox.find(BEN, reference_of(made(3).id)) is None
    assert outbox.by_id(conversation.id) is None


def test_a_persons_message_is_recorded_with_its_answer_once(opened: Callable[[], Outbox]) -> None:
    outbox = opened()
    assert not outbox.inbound_seen("hook", "m-1")
    assert outbox.record_inbound("hook", "m-1", [made(1)])
    outbox = opened()
    assert outbox.inbound_seen("hook", "m-1")
    assert not outbox.inbound_seen("other", "m-1")
    assert not outbox.record_inbound("hook", "m-1", [made(2)])
    assert due(outbox) == [made(1)]


def test_states_are_told_by_request_and_by_receiver(outbox: Outbox, clock: Clock) -> None:
    outbox.record([made(1), made(1, BEN), made(2)])
    queued = first(outbox)
    clock.now += 5
    outbox.settle(Outcome(queued, "sent"))
    found = {(n.receiver, state, at) for n, state, at in outbox.states(request_id="r-1")}
    assert len(found) == 2
    assert {state for _, state, _ in outbox.states(receiver=ANN)} | {
        state for _, state, _ in outbox.states(receiver=BEN)
    } == {"sent", "queued"}
    assert outbox.states(request_id="") == []


# Any order of things.


class AnyOrder(RuleBasedStateMachine):
    """Predictions are read, again at will; sent, or not; and the process dies, at will, between any two steps.

    Whatever the order: each notification that was recorded is sent at least once or said not to have been, twice only
    after a death or a failure in between, per receiver in order, and the file counts right.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = Clock()
        self.outbox = Outbox(self.folder / "outbox.db", clock=self.clock)
        self.next = 0
        self.recorded: dict[str, Notification] = {}
        self.arrived: Counter[str] = Counter()
        self.excused: Counter[str] = Counter()
        self.order: dict[Receiver, list[str]] = {}
        self.published: list[tuple[str, str]] = []

    def teardown(self) -> None:
        self.drain()
        self.outbox.close()
        shutil.rmtree(self.folder)

    def drain(self) -> None:
        """In the end all that is recorded has arrived, each receiver's in order."""
        self.outbox.release([number for number, *_ in self.outbox.held()], resend=True)
        self.clock.now += 10_000_000
        while batch := self.outbox.due("hook", 50):
            for queued in batch:
                self.begin(queued)
                self.arrive(queued)
                self.outbox.settle(Outcome(queued, "sent"))
        assert set(self.arrived) == set(self.recorded)
        for id_, times in self.arrived.items():
            assert times <= 1 + self.excused[id_]
        for ids in self.order.values():
            positions = [self.number(id_) for id_ in dict.fromkeys(ids)]
            assert positions == sorted(positions)
        while batch_ := self.outbox.transitions(7):
            self.published += [(t.receipt.notification_id, t.receipt.state) for t in batch_]
            self.outbox.published(batch_[-1].number)
        for id_ in self.recorded:
            states = [state for of, state in self.published if of == id_]
            assert states[0] == "queued"
            assert "sent" in states

    def number(self, id_: str) -> int:
        return int(self.recorded[id_].request_id.removeprefix("r-"))

    def begin(self, queued: Queued) -> None:
        assert self.outbox.settle(None, queued)

    def arrive(self, queued: Queued) -> None:
        n = queued.notification
        self.arrived[n.id] += 1
        self.order.setdefault(n.receiver, []).append(n.id)

    @rule(count=st.integers(1, 4), names=st.lists(st.sampled_from("abc"), min_size=4, max_size=4))
    def read(self, count: int, names: list[str]) -> None:
        batch = [made(self.next + i, Receiver("hook", names[i])) for i in range(count)]
        self.next += count
        assert self.outbox.record(batch, {(TOPIC, 0): self.next}) == count
        self.recorded |= {n.id: n for n in batch}

    @precondition(lambda self: self.recorded)
    @rule(data=st.data())
    def read_again(self, data: st.DataObject) -> None:
        again = data.draw(st.lists(st.sampled_from(sorted(self.recorded)), max_size=5))
        assert self.outbox.record([self.recorded[id_] for id_ in again], {(TOPIC, 0): self.next}) == 0

    @rule(how=st.sampled_from(["sent", "queued", "died before", "died after"]))
    def send(self, how: str) -> None:
        batch = self.outbox.due("hook", 1)
        if not batch:
            return
        (queued,) = batch
        self.begin(queued)
        if how not in {"died before", "queued"}:
            self.arrive(queued)
        if how in ("sent", "queued"):
            self.outbox.settle(Outcome(queued, how, due=self.clock.now + 5))  # type: ignore[arg-type]  # two states
        else:
            self.excused[queued.notification.id] += 1
            self.die()

    @rule()
    def die(self) -> None:
        self.outbox.close()
        self.outbox = Outbox(self.folder / "outbox.db", clock=self.clock)

    @rule(count=st.integers(1, 5))
    def publish(self, count: int) -> None:
        if batch := self.outbox.transitions(count):
            self.published += [(t.receipt.notification_id, t.receipt.state) for t in batch]
            self.outbox.published(batch[-1].number)

    @rule(ms=st.integers(1, 20))
    def wait(self, ms: int) -> None:
        self.clock.now += ms

    @rule()
    def purge(self) -> None:
        """Keeps for longer than these stories last: what is forgotten would rightly be recorded anew."""
        self.outbox.purge(100_000)

    @invariant()
    def place_is_that_of_the_last_record(self) -> None:
        assert self.outbox.places(TOPIC) == ({0: self.next} if self.next else {})

    @invariant()
    def counts_are_right(self) -> None:
        rows = self.outbox._read("SELECT channel, state, count(*) FROM notifications GROUP BY 1, 2")
        assert self.outbox.counts() == {(channel, state): count for channel, state, count in rows}
        lanes = self.outbox._read("SELECT id, queued FROM lanes")
        for lane, queued in lanes:
            found = self.outbox._read("SELECT count(*) FROM notifications WHERE lane = ? AND state = 'queued'", lane)
            assert found == [(queued,)]


AnyOrder.TestCase.settings = settings(
    derandomize=True, database=None, deadline=None, max_examples=40, stateful_step_count=30
)
test_in_any_order = AnyOrder.TestCase
