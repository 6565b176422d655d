"""The file of the outbox: its tables, how older ones become newer ones, and that only one notifier has it."""

import contextlib
import fcntl
import os
import sqlite3
from pathlib import Path

from rollcast_common.errors import ConfigError, RollcastError

__all__ = ["OutboxLock", "OutboxProblem", "connect", "migrate", "problem_of"]

_APPLICATION_ID = 0x726F6C63  # "rolc"
_BUSY_SECONDS = 10.0
_CACHE_KIB = 16_384
_WAL_BYTES = 67_108_864

_SCHEMA_1 = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- Where the next record of a partition is to be read; written together with what came of the ones before it.
CREATE TABLE places (
    topic TEXT NOT NULL, partition INTEGER NOT NULL, next_offset INTEGER NOT NULL,
    PRIMARY KEY (topic, partition)
) WITHOUT ROWID;

-- A receiver is a lane: what is for it goes out in order, so only its first one is ever tried, and `due` says when.
CREATE TABLE lanes (
    id INTEGER PRIMARY KEY, channel TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
    queued INTEGER NOT NULL DEFAULT 0, due INTEGER NOT NULL,
    UNIQUE (channel, kind, name)
);
CREATE INDEX lanes_due ON lanes (channel, due) WHERE queued > 0;

-- state: queued, sending, sent, delivered, read, held, expired, failed. Times are milliseconds since the epoch.
CREATE TABLE notifications (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, lane INTEGER NOT NULL, channel TEXT NOT NULL,
    state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, recorded INTEGER NOT NULL, changed INTEGER NOT NULL,
    external_id TEXT, reason TEXT, reference TEXT NOT NULL,
    prediction_id TEXT NOT NULL, request_id TEXT NOT NULL, key TEXT, model TEXT NOT NULL, version TEXT NOT NULL,
    prediction BLOB NOT NULL, subscription TEXT NOT NULL, text TEXT NOT NULL, created INTEGER NOT NULL,
    expires INTEGER, wants TEXT NOT NULL, on_unknown TEXT NOT NULL
);
CREATE INDEX queued_by_lane ON notifications (lane) WHERE state = 'queued';
CREATE INDEX queued_by_age ON notifications (channel, recorded) WHERE state = 'queued';
CREATE INDEX queued_by_expiry ON notifications (expires) WHERE state = 'queued' AND expires IS NOT NULL;
CREATE INDEX sending ON notifications (number) WHERE state = 'sending';
CREATE INDEX held ON notifications (number) WHERE state = 'held';
CREATE INDEX done_by_age ON notifications (changed) WHERE state IN ('sent', 'delivered', 'read', 'expired', 'failed');
CREATE INDEX by_lane ON notifications (lane);
CREATE INDEX by_request ON notifications (request_id) WHERE request_id <> '';
CREATE INDEX by_reference ON notifications (reference);
CREATE INDEX by_external_id ON notifications (external_id) WHERE external_id IS NOT NULL;

-- Receipts that are not on their topic yet.
CREATE TABLE transitions (
    number INTEGER PRIMARY KEY, notification INTEGER NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL,
    reason TEXT, time INTEGER NOT NULL
);

-- So that nobody has to count a million rows.
CREATE TABLE counts (
    channel TEXT NOT NULL, state TEXT NOT NULL, rows INTEGER NOT NULL, PRIMARY KEY (channel, state)
) WITHOUT ROWID;

-- What channels told of messages whose sending was not recorded yet.
CREATE TABLE early_receipts (
    channel TEXT NOT NULL, external_id TEXT NOT NULL, state TEXT NOT NULL, reason TEXT, time INTEGER NOT NULL,
    PRIMARY KEY (channel, external_id, state)
) WITHOUT ROWID;
CREATE INDEX early_receipts_by_age ON early_receipts (time);

CREATE TABLE inbound (
    channel TEXT NOT NULL, id TEXT NOT NULL, time INTEGER NOT NULL, PRIMARY KEY (channel, id)
) WITHOUT ROWID;
CREATE INDEX inbound_by_age ON inbound (time);

-- Triggers, for then nothing can forget to count or to write a receipt.
CREATE TRIGGER notification_recorded AFTER INSERT ON notifications BEGIN
    INSERT INTO counts VALUES (new.channel, new.state, 1) ON CONFLICT (channel, state) DO UPDATE SET rows = rows + 1;
    UPDATE lanes SET queued = queued + 1 WHERE id = new.lane AND new.state = 'queued';
    INSERT INTO transitions (notification, state, attempts, reason, time)
        VALUES (new.number, new.state, new.attempts, new.reason, new.changed);
END;
CREATE TRIGGER notification_changed AFTER UPDATE OF state ON notifications WHEN new.state <> old.state BEGIN
    UPDATE counts SET rows = rows - 1 WHERE channel = old.channel AND state = old.state;
    INSERT INTO counts VALUES (new.channel, new.state, 1) ON CONFLICT (channel, state) DO UPDATE SET rows = rows + 1;
    UPDATE lanes SET queued = queued + (new.state = 'queued') - (old.state = 'queued') WHERE id = new.lane;
    -- That one is being sent, or is to be sent again, is nobody's news.
    INSERT INTO transitions (notification, state, attempts, reason, time)
        SELECT new.number, new.state, new.attempts, new.reason, new.changed
        WHERE new.state <> 'sending' AND NOT (old.state = 'sending' AND new.state = 'queued');
END;
CREATE TRIGGER notification_forgotten AFTER DELETE ON notifications BEGIN
    UPDATE counts SET rows = rows - 1 WHERE channel = old.channel AND state = old.state;
    DELETE FROM lanes WHERE id = old.lane AND queued = 0
        AND NOT EXISTS (SELECT 1 FROM notifications WHERE lane = old.lane AND state <> 'queued');
END;
"""

MIGRATIONS: list[str] = [_SCHEMA_1]
"""The n-th one makes a file of schema n out of one of schema n - 1."""


class OutboxProblem(RollcastError):
    """The file cannot be written now: the disk is full, or does not answer. It may later."""

    retryable = True


def problem_of(path: Path, error: sqlite3.Error) -> RollcastError:
    """One clear line: what is wrong with the file, and what to do."""
    name = getattr(error, "sqlite_errorname", "") or ""
    if name == "SQLITE_FULL":
        return OutboxProblem(f"outbox {path}: no room: the disk is full; make room, nothing is lost")
    if name.startswith(("SQLITE_IOERR", "SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_READONLY", "SQLITE_CANTOPEN")):
        return OutboxProblem(f"outbox {path}: cannot be written now: {error}; is the disk full, or away?")
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return ConfigError(f"outbox {path}: not a file of the notifier, or damaged: {error}; name another one")
    return RollcastError(f"outbox {path}: {error}; this is a bug of the notifier")


class OutboxLock:
    """The right to send what is in a file. It ends with the process that has it, however that ends.

    Raises ConfigError while another process has it.
    """

    def __init__(self, path: Path) -> None:
        beside = path.with_name(path.name + ".lock")
        try:
            self._file = os.open(beside, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigError(f"outbox {path}: {beside} cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(self._file, 20).decode("ascii", "replace").strip()
            os.close(self._file)
            who = f"process {holder}" if holder else "another process"
            raise ConfigError(
                f"outbox {path}: {who} is sending from it already; stop that notifier, or name another file"
            ) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        os.close(self._file)


def connect(path: Path, *, must_exist: bool = False) -> sqlite3.Connection:
    """A connection that any thread may use, one at a time, in transactions that it begins itself.

    What is committed survives the process and, with `synchronous = FULL`, the machine: each commit is on the disk.
    Raises RollcastError when the file cannot be used.
    """
    mode = "rw" if must_exist else "rwc"
    try:
        db = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
    except sqlite3.Error:
        hint = "no such file" if must_exist else "cannot be opened; does the folder exist, and may we write there?"
        raise ConfigError(f"outbox {path}: {hint}") from None
    try:
        if _pragma(db, "user_version") == 0 and not _has_tables(db):
            # Has an effect only before the first table is there.
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        db.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
    except sqlite3.Error as error:
        with contextlib.suppress(sqlite3.Error):
            db.close()
        raise problem_of(path, error) from None
    return db


def migrate(db: sqlite3.Connection, path: Path) -> None:
    """Bring the file to the newest schema, step by step, each in a transaction of its own.

    Raises ConfigError for a file that a newer notifier wrote, or that is not a notifier's.
    """
    version = _pragma(db, "user_version")
    if version > len(MIGRATIONS):
        raise ConfigError(
            f"outbox {path}: a newer notifier wrote it (schema {version}, this one knows up to {len(MIGRATIONS)}); "
            "run that notifier again, or name another file"
        )
    if _pragma(db, "application_id") != _APPLICATION_ID and _has_tables(db):
        raise ConfigError(f"outbox {path}: an SQLite file of something else; name another file")
    try:
        for step in range(version, len(MIGRATIONS)):
            # Not executescript with its own commit: a step that is killed half-way must not have happened.
            db.executescript(
                f"BEGIN IMMEDIATE; PRAGMA application_id = {_APPLICATION_ID}; {MIGRATIONS[step]}"
                f"PRAGMA user_version = {step + 1}; COMMIT;"
            )
    except sqlite3.Error as error:
        if db.in_transaction:
            db.rollback()
        raise problem_of(path, error) from None


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])


def _has_tables(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None
