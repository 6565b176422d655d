"""What one open page is sent, a few times a second: one frame with what has changed of what it shows."""

import time
from typing import Any, Literal, cast, get_args

from rollcast_notifier.console.live import Live
from rollcast_notifier.console.mailbox import Mailbox
from rollcast_notifier.console.predictions import Filter

__all__ = ["FRAMES_A_SECOND", "Frames", "View", "view_of"]

FRAMES_A_SECOND = 4
_ROWS_A_FRAME = 12
_MOST_ROWS = 40
"""As many as a page keeps; who has got few may get so many at once."""
_MOST_MESSAGES = 100

View = Literal["live", "ask", "models", "accuracy", "dead-letters"]


def view_of(text: str) -> View:
    return cast("View", text) if text in get_args(View) else "live"


class Frames:
    """Belongs to one connection. It keeps places, never what was not sent yet: who is slow gets fewer frames, each as
    of its own moment.
    """

    def __init__(self, live: Live, mailbox: Mailbox, user: str, *, view: View, wanted: Filter, model: str) -> None:
        self._live = live
        self._mailbox = mailbox
        self._user = user
        self._view = view
        self._wanted = wanted
        self._model = model
        self._number = 0
        self._matched = 0
        self._rows = _MOST_ROWS
        self._is_first = True
        self._second = 0
        self._revisions: dict[str, int] = {}
        self._mail = 0
        self._problem: str | None = None

    def next(self) -> dict[str, Any]:
        """Empty when nothing has changed. Reads from the mailbox's file, so it is called in a thread."""
        frame: dict[str, Any] = {}
        now = time.time()
        is_new_second, self._second = int(now) != self._second, int(now)
        if self._view == "live":
            self._add_predictions(frame, now, is_new_second=is_new_second)
        elif is_new_second:
            self._add_board(frame, now)
        self._add_mail(frame)
        if self._is_first or self._live.problem != self._problem:
            self._problem = frame["problem"] = self._live.problem
        self._is_first = False
        return frame

    def _add_predictions(self, frame: dict[str, Any], now: float, *, is_new_second: bool) -> None:
        log = self._live.predictions
        self._rows = min(_MOST_ROWS, self._rows + _ROWS_A_FRAME)
        seen = log.look(self._number, self._wanted, self._rows)
        self._number = seen.number
        self._rows -= len(seen.rows)
        if self._is_first:
            frame["history"] = log.history(now)
        else:
            self._matched += seen.matched
        if seen.rows:
            frame["predictions"] = {"rows": seen.rows, "counted": seen.counted, "matched": self._matched}
        if is_new_second:
            frame["pulse"] = log.pulse(now)

    def _add_board(self, frame: dict[str, Any], now: float) -> None:
        live = self._live
        if self._view == "models":
            # Also without news: a slot that has fallen silent says nothing.
            frame["models"] = live.models.picture(int(now * 1000))
        elif self._view == "accuracy" and self._has_news("accuracy", live.accuracy.revision):
            frame["accuracy"] = live.accuracy.picture(self._model)
        elif self._view == "dead-letters" and self._has_news("letters", live.letters.revision):
            frame["letters"] = live.letters.picture()

    def _has_news(self, board: str, revision: int) -> bool:
        has, self._revisions[board] = self._revisions.get(board) != revision, revision
        return has

    def _add_mail(self, frame: dict[str, Any]) -> None:
        if self._mailbox.revision(self._user) == self._mail and not self._is_first:
            return
        self._mail, messages = self._mailbox.changed(self._user, self._mail, _MOST_MESSAGES)
        frame["mail"] = {"messages": messages, "unread": self._mailbox.unread(self._user)}
