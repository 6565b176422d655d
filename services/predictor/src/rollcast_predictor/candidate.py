"""The candidate at the stream's side: asked beside stable, never waited for beyond a deadline, and restarted meanwhile.

Whatever it does, stable's answers are there.
"""

import threading
import time

import structlog

from rollcast_common.errors import RollcastError
from rollcast_predictor.host_process import HostDied, HostTimedOut
from rollcast_predictor.metrics import PredictorMetrics
from rollcast_predictor.served_model import ServedModel
from rollcast_predictor.tally import Tally
from rollcast_predictor.wire import ScoreBatch, Scored

__all__ = ["Candidate"]

_log = structlog.get_logger()

_FIRST_RETRY_SECONDS = 0.5
_LONGEST_RETRY_SECONDS = 10.0


class Candidate:
    """`ask` and one of `answer` and `answer_if_there` alternate. None of them raises."""

    def __init__(
        self,
        model: ServedModel,
        *,
        deadline_seconds: float,
        shadow_seconds: float,
        metrics: PredictorMetrics,
        tally: Tally,
    ) -> None:
        """A canary's answer is waited for `deadline_seconds`; a shadow's may take `shadow_seconds`."""
        self.model = model
        self._deadline_seconds = deadline_seconds
        self._shadow_seconds = shadow_seconds
        self._metrics = metrics
        self._tally = tally
        self._is_up = True
        self._asked: ScoreBatch | None = None
        self._asked_at = 0.0
        self.problem: str | None = None
        """Why it cannot be asked now."""

    @property
    def is_up(self) -> bool:
        return self._is_up

    @property
    def is_busy(self) -> bool:
        return self._asked is not None

    def ask(self, request: ScoreBatch) -> bool:
        """False when it cannot be asked now."""
        if not self._is_up or self._asked is not None:
            return False
        try:
            self.model.host.send(request, deadline_seconds=self._deadline_seconds)
        except (HostDied, HostTimedOut) as error:
            self._failed(error)
            return False
        self._asked, self._asked_at = request, time.monotonic()
        return True

    def answer(self) -> Scored | None:
        """To what it was asked last, waiting for at most the deadline. None when there is none."""
        asked, self._asked = self._asked, None
        if asked is None:
            return None
        try:
            scored = self.model.host.receive(asked.sequence, deadline_seconds=self._deadline_seconds)
        except (HostDied, HostTimedOut) as error:
            self._failed(error)
            return None
        if len(scored.results) != len(asked.values):
            self._failed(HostDied(f"the host of {self.model.name} gave {len(scored.results)} results"))
            return None
        return scored

    def answer_if_there(self) -> Scored | None:
        """Without waiting."""
        if self._asked is None:
            return None
        if self.model.host.has_answered():
            return self.answer()
        if time.monotonic() - self._asked_at > self._shadow_seconds:
            self._asked = None
            self._failed(HostTimedOut(f"the host of {self.model.name} was not done after {self._shadow_seconds:g} s"))
        return None

    def _failed(self, error: HostDied | HostTimedOut) -> None:
        timed_out = isinstance(error, HostTimedOut)
        self._metrics.host_failed("candidate", timed_out=timed_out)
        self._tally.candidate_failed(timed_out=timed_out)
        self._is_up = False
        self.problem = str(error)
        _log.error("candidate's host failed", model=self.model.name, problem=str(error))
        threading.Thread(target=self._restart, name="candidate-restart", daemon=True).start()

    def _restart(self) -> None:
        retry_seconds = _FIRST_RETRY_SECONDS
        while not self.model.is_closed:
            try:
                self.model.replace_host()
            except RollcastError as error:
                self.problem = str(error)
                time.sleep(retry_seconds)
                retry_seconds = min(2 * retry_seconds, _LONGEST_RETRY_SECONDS)
            else:
                self.problem = None
                self._is_up = True
                return
