"""The rules follow their file: what is written there counts from the next prediction on, without a restart."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

import structlog

from rollcast_common.errors import ConfigError
from rollcast_notifier.rules.rule_book import RuleBook

__all__ = ["LiveRules"]

_log = structlog.get_logger()

_LOOK_EVERY_SECONDS = 1.0


class LiveRules:
    """A thread that looks at the file once a second: that works with every editor, every file system, and with
    Kubernetes, which changes a ConfigMap by turning a link to another folder.

    A file that is wrong, or away, changes nothing: the rules that were in force stay.
    """

    def __init__(
        self,
        path: Path,
        on_change: Callable[[RuleBook], None] = lambda _: None,
        *,
        look_every_seconds: float = _LOOK_EVERY_SECONDS,
    ) -> None:
        """Raises ConfigError when there are no rules to begin with."""
        self._path = path
        self._on_change = on_change
        self._look_every_seconds = look_every_seconds
        self._seen = self._content()
        self.current = RuleBook.load(path)
        self._channels = self.current.document.channels
        self.failures = 0
        """How many times the file was changed to something wrong."""
        self.problem: str | None = None
        """What is wrong with the file as it is now; then it is not the file that is in force."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rules-watcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def look(self) -> None:
        """Take the file over if it has changed."""
        content = self._content()
        if content == self._seen:
            return
        self._seen = content
        try:
            book = RuleBook.load(self._path, before=self.current)
        except ConfigError as error:
            self.failures += 1
            self.problem = str(error)
            _log.error(
                "the changed notifications file is not taken, the rules before it stay in force",
                file=str(self._path),
                problem=self.problem,
            )
            return
        self.problem = None
        if book.document.channels != self._channels:
            _log.warning(
                "channels were changed: that needs a restart of the notifier; the rest is in force",
                file=str(self._path),
            )
        self.current = book
        _log.info("the notifications file was read again", file=str(self._path), rules=book.count)
        self._on_change(book)

    def _content(self) -> bytes | None:
        """The bytes themselves: times and inodes of links tell less, and the file is small."""
        try:
            return self._path.read_bytes()
        except OSError:
            return None

    def _run(self) -> None:
        while not self._stopping.wait(self._look_every_seconds):
            try:
                self.look()
            except Exception:  # noqa: BLE001  # a thread that dies here would leave every later change unseen
                self.failures += 1
                _log.exception("the changed notifications file could not be looked at", file=str(self._path))
