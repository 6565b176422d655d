"""Stable at the stream's side: it must answer, so it is waited for, restarted, and asked again row by row."""

import threading
import time

import structlog

from rollcast_common.contracts import DeadLetterReason
from rollcast_common.errors import RollcastError
from rollcast_predictor.heartbeat import Heartbeat
from rollcast_predictor.host_process import HostDied, HostTimedOut
from rollcast_predictor.metrics import PredictorMetrics
from rollcast_predictor.served_model import ServedModel
from rollcast_predictor.wire import ScoreBatch, Scored

__all__ = ["Stable"]

_log = structlog.get_logger()

_HOST_ATTEMPTS = 5
_ROW_BY_ROW_DEADLINES = 6


class Stable:
    """`hand_over` and `answer` alternate. Both raise RollcastError when no host can be had."""

    def __init__(
        self,
        model: ServedModel,
        *,
        deadline_seconds: float,
        metrics: PredictorMetrics,
        heartbeat: Heartbeat,
        stopping: threading.Event,
    ) -> None:
        self.model = model
        self._deadline_seconds = deadline_seconds
        self._metrics = metrics
        self._heartbeat = heartbeat
        self._stopping = stopping

    def hand_over(self, request: ScoreBatch) -> None:
        for _ in range(_HOST_ATTEMPTS):
            try:
                self._send(request)
            except (HostDied, HostTimedOut) as error:  # seldom more than one turn
                self._host_failed(error)
            else:
                return
        raise HostDied(f"no host of {self.model.name} takes a batch")

    def answer(self, request: ScoreBatch) -> Scored:
        """To what was handed over last. Fewer results than rows when finding the row that breaks hosts takes so long
        that Kafka would believe this slot dead.
        """
        try:
            return self._receive(request)
        except (HostDied, HostTimedOut) as error:
            return self._ask_again(request, error)

    def discard(self, request: ScoreBatch) -> None:
        """Of a batch that was given up. The host answers before it reads again: its answer has to be taken from the
        wire.
        """
        try:
            self._receive(request)
        except (HostDied, HostTimedOut) as error:
            self._host_failed(error)

    def _send(self, request: ScoreBatch) -> None:
        self.model.host.send(request, deadline_seconds=self._deadline_seconds)

    def _receive(self, request: ScoreBatch) -> Scored:
        return self.model.host.receive(request.sequence, deadline_seconds=self._deadline_seconds)

    def _ask_again(self, request: ScoreBatch, error: HostDied | HostTimedOut) -> Scored:
        """A batch broke its host: once more as a whole with a fresh one, then row by row."""
        self._host_failed(error)
        try:
            self._send(request)
            return self._receive(request)
        except (HostDied, HostTimedOut) as again:
            self._host_failed(again)
        results: list[bytes] = []
        errors: list[tuple[int, str, str]] = []
        until = time.monotonic() + _ROW_BY_ROW_DEADLINES * self._deadline_seconds
        for row, value in enumerate(request.values):
            self._heartbeat.beat()
            if row and time.monotonic() > until:
                break
            one = ScoreBatch(request.sequence, [value])
            try:
                self._send(one)
                scored = self._receive(one)
            except (HostDied, HostTimedOut) as broke:
                reason = (
                    DeadLetterReason.MODEL_TIMEOUT if isinstance(broke, HostTimedOut) else DeadLetterReason.MODEL_CRASH
                )
                errors.append((row, reason, str(broke)))
                results.append(b"")
                self._host_failed(broke)
            else:
                results += scored.results
                errors += [(row, reason, text) for _, reason, text in scored.errors]
        return Scored(request.sequence, results, errors)

    def _host_failed(self, error: HostDied | HostTimedOut) -> None:
        """Put a fresh host of the same model in its place. Raises RollcastError when none can be had."""
        self._metrics.host_failed("stable", timed_out=isinstance(error, HostTimedOut))
        _log.error("host failed", model=self.model.name, problem=str(error))
        for attempt in range(1, _HOST_ATTEMPTS + 1):
            self._heartbeat.beat()
            try:
                self.model.replace_host()
            except RollcastError as problem:
                _log.error("host not replaced", model=self.model.name, attempt=attempt, problem=str(problem))
                if attempt == _HOST_ATTEMPTS:
                    raise
                self._stopping.wait(0.2 * attempt)
            else:
                return
