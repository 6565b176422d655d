"""What people have said in the console and what they were told: a SQLite file beside the outbox."""

import sqlite3
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from rollcast_common.errors import CacheProblem
from rollcast_notifier.notification import Notification, reference_of

__all__ = ["Mailbox", "Mark"]

Mark = Literal["delivered", "read"]

_SCHEMA = """
create table if not exists messages (
    id text not null,
    user text not null,
    is_mine integer not null,
    text text not null,
    about text,
    request_id text not null,
    prediction_id text not null,
    model text not null,
    version text not null,
    prediction text not null,
    subscription text not null,
    queued integer not null,
    sent integer,
    delivered integer,
    read integer,
    problem text,
    number integer not null,
    revision integer not null,
    primary key (user, id)
) strict, without rowid;
create index if not exists messages_by_revision on messages (user, revision);
create index if not exists messages_by_time on messages (coalesce(sent, queued));
"""
_MOST_TEXT = 20_000
_PURGE_EVERY_SECONDS = 3600.0


class Mailbox:
    """Thread-safe. Every change of a message gives it the next revision, so a page asks for what is newer than it has.

    `number` is the revision that a message came with: the order of a conversation is that in which it arrived here.
    A message has the times of its steps: queued (asked for, or written), sent (stored here; of a person's own: taken
    by the service), delivered (a browser has it), read (it was on a screen).
    """

    def __init__(self, path: Path, *, keep_days: float = 7.0) -> None:
        """Raises CacheProblem when the file cannot be used."""
        self._path = path
        self._keep_ms = int(keep_days * 86_400_000)
        self._lock = threading.Lock()
        with self._explained():
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.row_factory = sqlite3.Row
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = normal")
            self._db.executescript(_SCHEMA)
            query = "select user, max(revision) from messages group by user"
            self._revisions: dict[str, int] = {row[0]: row[1] for row in self._db.execute(query)}
        self._revision = max(self._revisions.values(), default=0)
        self._purge_at = 0.0

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def deliver(self, notification: Notification) -> bool:
        """Store what a person is told; False when it is here already."""
        return self._insert(
            notification.receiver.name,
            notification.id,
            notification.text,
            sent=_now(),
            queued=notification.created,
            request_id=notification.request_id,
            prediction_id=notification.prediction_id,
            model=notification.model,
            version=notification.version,
            prediction=notification.prediction.decode("utf-8", "replace"),
            subscription=notification.subscription,
        )

    def say(self, user: str, id_: str, text: str, *, about: str | None = None, request_id: str = "") -> bool:
        """Keep what a person says; False when it is here already."""
        return self._insert(user, id_, text, queued=_now(), is_mine=1, about=about, request_id=request_id)

    def said(self, user: str, id_: str, *, problem: str | None = None) -> None:
        """The service has taken it, or could not."""
        with self._writing() as revision:
            self._db.execute(
                "update messages set sent = ?, problem = ?, revision = ? where user = ? and id = ?",
                (None if problem else _now(), problem, revision, user, id_),
            )
            self._revisions[user] = revision

    def mark(self, user: str, ids: Collection[str], mark: Mark) -> list[str]:
        """Those of the ids that were not marked so before. What was read was delivered."""
        column = {"delivered": "delivered", "read": "read"}[mark]
        news = []
        with self._writing() as revision:
            for id_ in ids:
                done = self._db.execute(
                    f"update messages set delivered = coalesce(delivered, ?), {column} = ?, revision = ? "  # noqa: S608  # of the two above
                    f"where user = ? and id = ? and is_mine = 0 and {column} is null",
                    (now := _now(), now, revision, user, id_),
                )
                if done.rowcount:
                    news.append(id_)
            if news:
                self._revisions[user] = revision
        return news

    def revision(self, user: str) -> int:
        """Of the newest change; asked often, so it reads no file."""
        return self._revisions.get(user, 0)

    def changed(self, user: str, since: int, most: int) -> tuple[int, list[dict[str, Any]]]:
        """The messages with a newer revision, oldest first, and the revision to go on from; the newest where there are
        more than `most` of them.
        """
        with self._reading():
            rows = self._db.execute(
                "select * from messages where user = ? and revision > ? order by number desc limit ?",
                (user, since, most),
            ).fetchall()
            return self._revisions.get(user, 0), [_shown(row) for row in reversed(rows)]

    def unread(self, user: str) -> int:
        with self._reading():
            query = "select count(*) from messages where user = ? and is_mine = 0 and read is null"
            return int(self._db.execute(query, (user,)).fetchone()[0])

    def _insert(self, user: str, id_: str, text: str, **values: Any) -> bool:
        row: dict[str, Any] = {
            "is_mine": 0,
            "about": None,
            "request_id": "",
            "prediction_id": "",
            "model": "",
            "version": "",
            "prediction": "null",
            "subscription": "",
            "sent": None,
            **values,
            "id": id_,
            "user": user,
            "text": text[:_MOST_TEXT],
        }
        with self._writing() as revision:
            row["number"] = row["revision"] = revision
            columns = ", ".join(row)
            query = f"insert or ignore into messages ({columns}) values ({', '.join('?' * len(row))})"  # noqa: S608  # our own names
            is_new = self._db.execute(query, tuple(row.values())).rowcount == 1
            if is_new:
                self._revisions[user] = revision
            self._purge()
        return is_new

    def _purge(self) -> None:
        if time.monotonic() >= self._purge_at:
            self._purge_at = time.monotonic() + _PURGE_EVERY_SECONDS
            # Not by when a prediction was made: what is told late is to be read, too.
            self._db.execute("delete from messages where coalesce(sent, queued) < ?", (_now() - self._keep_ms,))

    @contextmanager
    def _writing(self) -> Iterator[int]:
        """A transaction, and the revision for what it changes."""
        with self._lock, self._explained():
            # Also of what fails no revision is given again: a page may have seen it by then.
            self._revision += 1
            self._db.execute("begin immediate")
            try:
                yield self._revision
            except BaseException:
                self._db.execute("rollback")
                raise
            self._db.execute("commit")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock, self._explained():
            yield

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise CacheProblem(f"the console's mailbox {self._path}: {error}; is the disk full or read-only?") from None


def _shown(row: sqlite3.Row) -> dict[str, Any]:
    message = {name: row[name] for name in row.keys() if name not in ("user", "number", "revision")}  # noqa: SIM118  # a Row iterates values
    message["is_mine"] = bool(row["is_mine"])
    message["reference"] = reference_of(row["id"]) if row["prediction_id"] else None
    return message


def _now() -> int:
    return time.time_ns() // 1_000_000
