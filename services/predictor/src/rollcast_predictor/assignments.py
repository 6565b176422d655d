"""The assignment that this slot follows: the highest generation that topic `assignments` has ever shown it."""

import threading
from collections.abc import Callable, Collection
from typing import Self

import structlog

from rollcast_common.contracts import Assignment
from rollcast_common.contracts.assignment import decode_assignment
from rollcast_common.errors import ContractError
from rollcast_common.kafka import KafkaParams, Row, TableFollower

__all__ = ["Assignments"]

_log = structlog.get_logger()


class Assignments:
    """Follows one key of a compacted topic. A tombstone ends the model for as long as nothing newer comes."""

    def __init__(
        self, params: KafkaParams, *, identity: str, client_id: str, on_change: Callable[[], None] = lambda: None
    ) -> None:
        """Raises ConfigError when librdkafka does not accept a property."""
        self._identity = identity
        self._on_change = on_change
        self._table = TableFollower(
            params, "assignments", client_id=client_id, wanted=lambda key: key == identity, on_change=self._take
        )
        self._lock = threading.Lock()
        self._has_caught_up = False
        self._row: Row | None = None
        self._current: Assignment | None = None
        self._highest = 0

    @property
    def caught_up(self) -> bool:
        """Whether the topic was read to its end once. What was learnt then holds, whatever becomes of the topic."""
        return self._has_caught_up

    def current(self) -> Assignment | None:
        """None until the topic is read to its end, and while nothing is assigned."""
        with self._lock:
            return self._current if self._has_caught_up else None

    def wait(self, timeout_seconds: float) -> bool:
        return self._table.wait(timeout_seconds)

    def check(self) -> None:
        """Raises what ended the following."""
        self._table.check()

    def _take(self, _: Collection[str]) -> None:
        row = self._table.get(self._identity)
        if row is not None and row is not self._row:
            self._row = row
            self._read(row.value)
        self._has_caught_up = self._has_caught_up or self._table.caught_up
        self._on_change()

    def _read(self, value: bytes | None) -> None:
        if value is None:
            with self._lock:
                was, self._current, self._highest = self._current, None, 0
            if was is not None:
                _log.info("nothing is assigned any longer", generation=was.generation)
            return
        try:
            assignment = decode_assignment(value)
        except ContractError as error:
            _log.error("assignment ignored", problem=str(error))
            return
        with self._lock:
            if assignment.generation < self._highest:
                _log.warning("assignment ignored", generation=assignment.generation, followed=self._highest)
                return
            self._highest = assignment.generation
            self._current = assignment

    def __enter__(self) -> Self:
        self._table.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._table.stop()
