"""What is to be sent, and what became of it: one SQLite file, written before anything is sent or committed.

    queued → sending → sent → delivered → read
       ↑        │ ╲
       └────────┘  ╲→ held, expired, failed

`sending` stands in the file before the channel is called. Found there at a start it means that nobody knows.
"""

import sqlite3
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rollcast_common.contracts import Receipt, ReceiptState
from rollcast_notifier.notification import Notification, OnUnknown, Receiver, reference_of
from rollcast_notifier.outbox_file import OutboxLock, OutboxProblem, connect, migrate, problem_of

__all__ = ["Outbox", "OutboxProblem", "Outcome", "Queued", "Transition", "now_ms"]

State = Literal["queued", "sending", "sent", "delivered", "read", "held", "expired", "failed"]
OnStates = Callable[[str, str, int], None]
"""Told after the commit: so many notifications of this channel came into this state."""

_PURGE_ROWS = 500
_VACUUM_PAGES = 500
_EARLY_RECEIPTS_MS = 600_000
_STATES_SHOWN = 200

_ORDER = {"queued": 0, "sending": 1, "held": 1, "sent": 2, "delivered": 3, "read": 4, "expired": 5, "failed": 5}

_NOTIFICATION = (
    "n.id, n.prediction_id, n.request_id, n.key, n.model, n.version, n.prediction, n.subscription, "
    "n.channel, l.name, l.kind, n.text, n.created, n.expires, n.wants, n.on_unknown"
)

# Not INSERT OR IGNORE: that would also pass over what is incomplete.
_RECORD = """
INSERT INTO notifications
    (id, lane, channel, state, recorded, changed, reason, reference, prediction_id, request_id, key, model, version,
     prediction, subscription, text, created, expires, wants, on_unknown)
VALUES (?, (SELECT id FROM lanes WHERE channel = ? AND kind = ? AND name = ?), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,
        ?, ?, ?, ?)
ON CONFLICT (id) DO NOTHING
"""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Queued:
    """A notification that is due. `number` is the file's name for it, `lane` its receiver's."""

    number: int
    lane: int
    attempts: int
    recorded: int
    changed: int
    notification: Notification


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of trying to send. `queued` means again, at `due` at the earliest."""

    queued: Queued
    state: State
    due: int = 0
    tried: bool = True
    """Whether this counts as an attempt."""
    external_id: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Transition:
    """A receipt that is not on its topic yet; `number` is its place in the order."""

    number: int
    receipt: Receipt


class Outbox:
    """Thread-safe. One process at a time may send from a file; others may look, and answer for what is held.

    Raises RollcastError when the file cannot be used, and OutboxProblem from each method while it cannot be written.
    """

    def __init__(
        self,
        path: Path,
        *,
        sending: bool = True,
        clock: Callable[[], int] = now_ms,
        on_states: OnStates = lambda *_: None,
    ) -> None:
        """Without `sending` it only looks, and the file must be there."""
        self._path = path
        self._clock = clock
        self._on_states = on_states
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._file = OutboxLock(path) if sending else None
        try:
            self._db = connect(path, must_exist=not sending)
            migrate(self._db, path)
            self._reader = connect(path, must_exist=True)
        except BaseException:
            if self._file is not None:
                self._file.release()
            raise
        self.unknown: dict[str, int] = self._recover() if sending else {}
        """By channel: how many were being sent when the last process ended, so that nobody knows of them."""

    def close(self) -> None:
        for lock, db in ((self._reading, self._reader), (self._lock, self._db)):
            with lock:
                db.close()
        if self._file is not None:
            self._file.release()

    # What the stream writes.

    def record(self, notifications: Iterable[Notification], places: Mapping[tuple[str, int], int] | None = None) -> int:
        """All in one transaction; what is known by its id already stays as it is. How many were new.

        `places`: of each (topic, partition) the offset after the last record that was looked at.
        """
        states: Counter[tuple[str, str]] = Counter()
        with self._writing() as db:
            self._insert(db, notifications, states)
            db.executemany(
                "INSERT OR REPLACE INTO places VALUES (?, ?, ?)",
                [(topic, partition, offset) for (topic, partition), offset in (places or {}).items()],
            )
        self._tell(states)
        return states.total()

    def _insert(
        self, db: sqlite3.Connection, notifications: Iterable[Notification], states: Counter[tuple[str, str]]
    ) -> None:
        now = self._clock()
        lanes: dict[Receiver, None] = {}
        rows: dict[tuple[str, str], list[tuple[Any, ...]]] = defaultdict(list)
        for n in notifications:
            to, state = n.receiver, "queued" if n.dropped is None else "failed"
            lanes[to] = None
            rows[to.channel, state].append(
                (
                    *(n.id, to.channel, to.kind, to.name, to.channel, state, now, now, n.dropped, reference_of(n.id)),
                    *(n.prediction_id, n.request_id, n.key, n.model, n.version, n.prediction, n.subscription, n.text),
                    *(n.created, n.expires, ",".join(sorted(n.wants)), n.on_unknown.value),
                )
            )
        db.executemany(
            "INSERT INTO lanes (channel, kind, name, due) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (channel, kind, name) DO NOTHING",
            [(lane.channel, lane.kind, lane.name, now) for lane in lanes],
        )
        for place, values in rows.items():
            states[place] += db.executemany(_RECORD, values).rowcount

    def places(self, topic: str) -> dict[int, int]:
        """Of each partition, where its next record is to be read."""
        rows = self._read("SELECT partition, next_offset FROM places WHERE topic = ?", topic)
        return {int(partition): int(offset) for partition, offset in rows}

    def forget_places(self, topic: str) -> None:
        with self._writing() as db:
            db.execute("DELETE FROM places WHERE topic = ?", (topic,))

    def topic_id(self, topic: str) -> str | None:
        """Kafka's own name for the topic to which the places belong; a topic created anew has another one."""
        rows = self._read("SELECT value FROM meta WHERE name = ?", f"topic-id {topic}")
        return str(rows[0][0]) if rows else None

    def set_topic_id(self, topic: str, id_: str) -> None:
        with self._writing() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"topic-id {topic}", id_))

    # What dispatchers do.

    def due(self, channel: str, limit: int) -> list[Queued]:
        """Of receivers whose time has come, those that waited longest first: the next ones of each, in order."""
        lanes = self._read(
            "SELECT id FROM lanes WHERE channel = ? AND queued > 0 AND due <= ? ORDER BY due, id LIMIT ?",
            *(channel, self._clock(), limit),
        )
        found: list[Queued] = []
        for (lane,) in lanes:
            rows = self._read(
                f"SELECT n.number, n.attempts, n.recorded, n.changed, {_NOTIFICATION} "  # noqa: S608  # our constant
                "FROM notifications n JOIN lanes l ON l.id = n.lane "
                "WHERE n.lane = ? AND n.state = 'queued' ORDER BY n.number LIMIT ?",
                *(lane, max(1, limit // len(lanes))),
            )
            found += [
                Queued(number, lane, attempts, recorded, changed, _notification(rest))
                for number, attempts, recorded, changed, *rest in rows
            ]
        return found

    def next_due(self, channel: str) -> int | None:
        """When the next receiver's time comes; None when nothing is queued."""
        rows = self._read(
            "SELECT due FROM lanes WHERE channel = ? AND queued > 0 ORDER BY due LIMIT 1",
            channel,
        )
        return int(rows[0][0]) if rows else None

    def settle(self, outcome: Outcome | None, begin: Queued | None = None) -> bool:
        """Write down what came of the last one and that the next one is `sending`, in one transaction.

        False when the next one is not to be sent any more: a person dropped it, or it has expired.
        """
        states: Counter[tuple[str, str]] = Counter()
        begun = True
        with self._writing() as db:
            now = self._clock()
            if outcome is not None:
                self._settle(db, outcome, now, states)
            if begin is not None:
                begun = bool(
                    db.execute(
                        "UPDATE notifications SET state = 'sending', changed = ? WHERE number = ? AND state = 'queued'",
                        (now, begin.number),
                    ).rowcount
                )
        self._tell(states)
        return begun

    def _settle(self, db: sqlite3.Connection, outcome: Outcome, now: int, states: Counter[tuple[str, str]]) -> None:
        queued = outcome.queued
        changed = db.execute(
            "UPDATE notifications SET state = ?, attempts = attempts + ?, changed = ?, external_id = ?, reason = ? "
            "WHERE number = ? AND state IN ('queued', 'sending')",
            (outcome.state, outcome.tried, now, outcome.external_id, outcome.reason, queued.number),
        ).rowcount
        # Whose turn it was goes to the end of the queue.
        db.execute("UPDATE lanes SET due = ? WHERE id = ?", (max(outcome.due, now), queued.lane))
        if not changed or outcome.state == "queued":
            return
        channel = queued.notification.receiver.channel
        states[channel, outcome.state] += 1
        if outcome.external_id is not None:
            early = db.execute(
                "DELETE FROM early_receipts WHERE channel = ? AND external_id = ? RETURNING state, reason",
                (channel, outcome.external_id),
            ).fetchall()
            state: str = outcome.state
            for later, reason in sorted(early, key=lambda row: _ORDER[row[0]]):
                state = self._advance(db, queued.number, channel, state, later, reason, states)

    def expire(self, limit: int = 1000) -> int:
        """Let go of what came too late, also on channels that send nothing now. How many."""
        states: Counter[tuple[str, str]] = Counter()
        with self._writing() as db:
            now = self._clock()
            rows = db.execute(
                "UPDATE notifications SET state = 'expired', changed = ?, reason = 'not sent in time' "
                "WHERE number IN (SELECT number FROM notifications "
                "WHERE state = 'queued' AND expires IS NOT NULL AND expires <= ? ORDER BY expires LIMIT ?) "
                "RETURNING channel",
                (now, now, limit),
            ).fetchall()
        states.update((channel, "expired") for (channel,) in rows)
        self._tell(states)
        return len(rows)

    def give_up(self, channel: str, recorded_before: int, reason: str, limit: int = 1000) -> int:
        """Let go of what has been queued for too long. How many."""
        with self._writing() as db:
            count = db.execute(
                "UPDATE notifications SET state = 'failed', changed = ?, reason = ? "
                "WHERE number IN (SELECT number FROM notifications "
                "WHERE channel = ? AND state = 'queued' AND recorded < ? ORDER BY recorded LIMIT ?)",
                (self._clock(), reason, channel, recorded_before, limit),
            ).rowcount
        self._tell({(channel, "failed"): count})
        return count

    # What channels tell.

    def receipt(self, channel: str, external_id: str, state: ReceiptState, reason: str | None = None) -> None:
        """A message of this name has come so far; one that is not known (yet) is remembered for a while."""
        states: Counter[tuple[str, str]] = Counter()
        with self._writing() as db:
            row = db.execute(
                "SELECT number, state FROM notifications WHERE external_id = ? AND channel = ?", (external_id, channel)
            ).fetchone()
            if row is None:
                db.execute(
                    "INSERT OR IGNORE INTO early_receipts VALUES (?, ?, ?, ?, ?)",
                    (channel, external_id, state, reason, self._clock()),
                )
            else:
                self._advance(db, row[0], channel, row[1], state, reason, states)
        self._tell(states)

    def _advance(
        self,
        db: sqlite3.Connection,
        number: int,
        channel: str,
        old: str,
        new: str,
        reason: str | None,
        states: Counter[tuple[str, str]],
    ) -> str:
        """The state that it is in then. Never back: a receipt may come twice, and late."""
        if old not in ("sent", "delivered", "read") or _ORDER[new] <= _ORDER[old]:
            return old
        db.execute(
            "UPDATE notifications SET state = ?, changed = ?, reason = ? WHERE number = ? AND state = ?",
            (new, self._clock(), reason, number, old),
        )
        states[channel, new] += 1
        return new

    def inbound_seen(self, channel: str, id_: str) -> bool:
        return bool(self._read("SELECT 1 FROM inbound WHERE channel = ? AND id = ?", channel, id_))

    def record_inbound(self, channel: str, id_: str, answers: Iterable[Notification] = ()) -> bool:
        """That a person's message was dealt with, and what is said to it, at once. False if it was before."""
        states: Counter[tuple[str, str]] = Counter()
        with self._writing() as db:
            new = db.execute("INSERT OR IGNORE INTO inbound VALUES (?, ?, ?)", (channel, id_, self._clock())).rowcount
            if new:
                self._insert(db, answers, states)
        self._tell(states)
        return bool(new)

    # What the publisher of receipts does.

    def transitions(self, limit: int) -> list[Transition]:
        """The oldest receipts that are not on their topic yet."""
        rows = self._read(
            "SELECT t.number, n.id, n.prediction_id, n.request_id, n.subscription, n.channel, l.kind, l.name, "
            "t.state, t.attempts, t.reason, n.text, t.time "
            "FROM transitions t JOIN notifications n ON n.number = t.notification JOIN lanes l ON l.id = n.lane "
            "ORDER BY t.number LIMIT ?",
            limit,
        )
        return [_transition(row) for row in rows]

    def published(self, upto: int) -> None:
        with self._writing() as db:
            db.execute("DELETE FROM transitions WHERE number <= ?", (upto,))

    # What people ask.

    def by_id(self, id_: str) -> Notification | None:
        """As `last_sent_to` and `find`: only what is about a prediction."""
        return self._one("n.id = ? AND n.prediction_id <> ''", id_)

    def last_sent_to(self, receiver: Receiver) -> Notification | None:
        return self._one(
            "l.channel = ? AND l.kind = ? AND l.name = ? AND n.state IN ('sent', 'delivered', 'read') "
            "AND n.prediction_id <> '' ORDER BY n.number DESC",
            *(receiver.channel, receiver.kind, receiver.name),
        )

    def find(self, receiver: Receiver, reference: str) -> Notification | None:
        """The latest one of this reference that was meant for the receiver."""
        return self._one(
            "n.reference = ? AND l.channel = ? AND l.kind = ? AND l.name = ? AND n.prediction_id <> '' "
            "ORDER BY n.number DESC",
            *(reference, receiver.channel, receiver.kind, receiver.name),
        )

    def _one(self, where: str, *values: Any) -> Notification | None:
        rows = self._read(
            f"SELECT {_NOTIFICATION} FROM notifications n JOIN lanes l ON l.id = n.lane WHERE {where} LIMIT 1",  # noqa: S608  # our own conditions
            *values,
        )
        return _notification(rows[0]) if rows else None

    def states(
        self, *, request_id: str | None = None, receiver: Receiver | None = None, limit: int = _STATES_SHOWN
    ) -> list[tuple[Notification, str, int]]:
        """The newest ones first, of a request or of a receiver: what they are, how they are, and since when."""
        values: Sequence[str]
        if request_id is not None:
            where = "n.request_id = ? AND n.request_id <> ''"
            values = (request_id,)
        elif receiver is not None:
            where = "l.channel = ? AND l.kind = ? AND l.name = ?"
            values = (receiver.channel, receiver.kind, receiver.name)
        else:
            raise ValueError("states of what? Give request_id or receiver")
        return [(n, state, changed) for _, n, state, changed, *_ in self._listed(where, values, limit)]

    def held(self, limit: int = 1000) -> list[tuple[int, Notification, str | None, int]]:
        """What waits for a person, the oldest first: its number, what it is, why, and since when."""
        rows = self._listed("n.state = 'held'", (), limit, order="ASC")
        return [(number, n, reason, changed) for number, n, _, changed, reason in rows]

    def _listed(
        self, where: str, values: Sequence[Any], limit: int, order: str = "DESC"
    ) -> list[tuple[int, Notification, str, int, str | None]]:
        rows = self._read(
            f"SELECT n.number, n.state, n.changed, n.reason, {_NOTIFICATION} "  # noqa: S608  # our own conditions
            f"FROM notifications n JOIN lanes l ON l.id = n.lane WHERE {where} ORDER BY n.number {order} LIMIT ?",
            *values,
            limit,
        )
        return [(number, _notification(rest), state, changed, reason) for number, state, changed, reason, *rest in rows]

    def release(self, numbers: Iterable[int], *, resend: bool) -> int:
        """What is held: send it again, or drop it. How many of these were held."""
        done = 0
        states: Counter[tuple[str, str]] = Counter()
        state, reason = ("queued", None) if resend else ("failed", "dropped by hand; nobody knows whether it was sent")
        with self._writing() as db:
            now = self._clock()
            for number in numbers:
                row = db.execute(
                    "UPDATE notifications SET state = ?, changed = ?, recorded = CASE WHEN ? THEN ? ELSE recorded END, "
                    "reason = ?, expires = NULL WHERE number = ? AND state = 'held' RETURNING channel",
                    (state, now, resend, now, reason, number),
                ).fetchone()
                if row is not None:
                    done += 1
                    states[row[0], state] += 1
        self._tell(states)
        return done

    def counts(self) -> dict[tuple[str, str], int]:
        """By channel and state."""
        rows = self._read("SELECT channel, state, rows FROM counts WHERE rows > 0")
        return {(channel, state): int(count) for channel, state, count in rows}

    def open_counts(self) -> dict[str, int]:
        """By channel: how many are still to be sent."""
        open_: Counter[str] = Counter()
        for (channel, state), count in self.counts().items():
            open_[channel] += count if state in ("queued", "sending") else 0
        return dict(open_)

    def oldest(self) -> dict[str, int]:
        """By channel: when the oldest of those that are still to be sent was recorded."""
        found: dict[str, int] = {}
        for channel in self.open_counts():
            rows = self._read(
                "SELECT min(recorded) FROM notifications WHERE channel = ? AND state = 'queued'",
                channel,
            )
            if rows[0][0] is not None:
                found[channel] = int(rows[0][0])
        return found

    def waiting_receipts(self) -> int:
        return int(self._read("SELECT count(*) FROM transitions")[0][0])

    @property
    def size_bytes(self) -> int:
        """On the disk, with what SQLite keeps beside the file."""
        total = 0
        for suffix in ("", "-wal"):
            beside = self._path.with_name(self._path.name + suffix)
            total += beside.stat().st_size if beside.exists() else 0
        return total

    # Housekeeping.

    def purge(self, keep_ms: int) -> int:
        """Forget a few of those that are done for so long, and give their room back. How many; 0 when it is tidy."""
        now = self._clock()
        with self._writing() as db:
            first = db.execute("SELECT time FROM transitions ORDER BY number LIMIT 1").fetchone()
            # What has a receipt that is not on its topic yet has to stay.
            before = min(now - keep_ms, first[0] if first else now)
            gone = db.execute(
                "DELETE FROM notifications WHERE number IN (SELECT number FROM notifications "
                "WHERE state IN ('sent', 'delivered', 'read', 'expired', 'failed') AND changed < ? "
                "ORDER BY changed LIMIT ?)",
                (before, _PURGE_ROWS),
            ).rowcount
            for table, age in (("inbound", keep_ms), ("early_receipts", _EARLY_RECEIPTS_MS)):
                gone += db.execute(
                    f"DELETE FROM {table} WHERE time IN (SELECT time FROM {table} WHERE time < ? LIMIT ?)",  # noqa: S608  # our names
                    (now - age, _PURGE_ROWS),
                ).rowcount
        if gone:
            with self._lock:
                # Not execute(): it would do the first step of it, and free one page.
                self._db.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES});")
        return gone

    def _recover(self) -> dict[str, int]:
        unknown: Counter[str] = Counter()
        states: Counter[tuple[str, str]] = Counter()
        with self._writing() as db:
            now = self._clock()
            rows = db.execute(
                "SELECT number, channel, on_unknown FROM notifications WHERE state = 'sending'"
            ).fetchall()
            for number, channel, on_unknown in rows:
                state = "held" if on_unknown == OnUnknown.HOLD else "queued"
                db.execute(
                    "UPDATE notifications SET state = ?, attempts = attempts + 1, changed = ?, reason = ? "
                    "WHERE number = ?",
                    (state, now, "the notifier ended while it was being sent", number),
                )
                unknown[channel] += 1
                if state == "held":
                    states[channel, state] += 1
        self._tell(states)
        return dict(unknown)

    # The two connections.

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                    self._db.execute("COMMIT")
                finally:
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
            except sqlite3.Error as error:
                raise problem_of(self._path, error) from error

    def _read(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._reading:
            try:
                return self._reader.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise problem_of(self._path, error) from error

    def _tell(self, states: Mapping[tuple[str, str], int]) -> None:
        for (channel, state), count in states.items():
            if count:
                self._on_states(channel, state, count)


def _transition(row: Sequence[Any]) -> Transition:
    number, id_, prediction_id, request_id, subscription, channel, kind, name, *rest = row
    state, attempts, reason, text, at = rest
    receipt = Receipt(
        notification_id=id_,
        prediction_id=prediction_id,
        request_id=request_id,
        subscription=subscription,
        channel=channel,
        receiver=str(Receiver(channel, name, kind)),
        state=state,
        attempts=attempts,
        reason=reason,
        text=text if state in ("expired", "failed") else None,
        time=at,
    )
    return Transition(number, receipt)


def _notification(row: Sequence[Any]) -> Notification:
    id_, prediction_id, request_id, key, model, version, prediction, subscription, *rest = row
    channel, name, kind, text, created, expires, wants, on_unknown = rest
    return Notification(
        id=id_,
        prediction_id=prediction_id,
        request_id=request_id,
        key=key,
        model=model,
        version=version,
        prediction=prediction,
        subscription=subscription,
        receiver=Receiver(channel, name, kind),
        text=text,
        created=created,
        expires=expires,
        wants=frozenset(wants.split(",")) if wants else frozenset(),
        on_unknown=OnUnknown(on_unknown),
    )
