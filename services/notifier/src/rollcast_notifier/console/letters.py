"""Dead letters as people look at them: how many for which reason, and the latest with where they came from."""

import threading
from collections import Counter, OrderedDict
from typing import Any

from rollcast_common.contracts.dead_letter import parse_dead_letter, replayed_place
from rollcast_common.errors import ContractError
from rollcast_notifier.console.reader import Record

__all__ = ["LetterBoard"]

_MOST_KEPT = 500
_SHOWN = 50
_SHOWN_CHARACTERS = 2000


class LetterBoard:
    """Written by one thread, read by others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reasons: Counter[str] = Counter()
        self._latest: OrderedDict[tuple[int, int], dict[str, Any]] = OrderedDict()
        self._since: int | None = None
        self.revision = 0
        self.unreadable = 0

    def add(self, record: Record) -> None:
        """A letter, or the mark of one that was sent again."""
        try:
            place = replayed_place(record.headers)
            shown = None if place is not None else _shown(record)
        except ContractError:
            self.unreadable += 1
            return
        with self._lock:
            self.revision += 1
            if place is not None and place in self._latest:
                self._latest[place] = {**self._latest[place], "replayed": True}
            if shown is None or (record.partition, record.offset) in self._latest:
                return
            self._since = min(self._since or record.time, record.time)
            self._reasons[shown["reason"]] += 1
            self._latest[record.partition, record.offset] = shown
            if len(self._latest) > _MOST_KEPT:
                self._latest.popitem(last=False)

    def picture(self) -> dict[str, Any]:
        with self._lock:
            latest = sorted(self._latest.values(), key=lambda letter: -letter["time"])[:_SHOWN]
            return {"since": self._since, "reasons": dict(self._reasons.most_common()), "latest": latest}


def _shown(record: Record) -> dict[str, Any]:
    letter = parse_dead_letter(record.headers)
    value = record.value or b""
    text = value[: _SHOWN_CHARACTERS * 4].decode("utf-8", "replace")
    return {
        "place": f"{record.partition}:{record.offset}",
        "reason": letter.reason.value,
        "message": letter.message,
        "source": f"{letter.source_topic} {letter.source_partition}:{letter.source_offset}",
        "model": letter.model,
        "version": letter.version,
        "request": letter.request_id,
        "key": None if record.key is None else record.key[:200].decode("utf-8", "replace"),
        "time": record.time,
        "original": None if record.value is None else text[:_SHOWN_CHARACTERS],
        "size": letter.original_size_bytes or len(value),
        "cut": letter.truncated or len(text) > _SHOWN_CHARACTERS or len(value) > _SHOWN_CHARACTERS * 4,
        "replayed": False,
    }
