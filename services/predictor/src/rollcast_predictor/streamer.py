"""The streaming loop: consume → score → produce and commit, with one batch at the hosts while one commits.

    1  consume a batch (rebalances happen in here, and only in here)
    2  receive the scores of the batch before it
    3  follow the line-up, if there is another one: no batch is at stable now
    4  hand the new batch to the hosts
    5  produce and commit the batch before it, while the hosts work

A transaction is opened and closed within step 5, so no rebalance ever sees one open.
"""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from rollcast_common.errors import KafkaDenied, RollcastError, TopicMissing
from rollcast_common.kafka import ErrorWatch, TopicNames, problem_from
from rollcast_predictor.answers import Answers, Origin, merged
from rollcast_predictor.batch import Batch, first_offsets, partition_of
from rollcast_predictor.candidate import Candidate
from rollcast_predictor.committing import BatchAborted, Committer, OutputsRefused
from rollcast_predictor.heartbeat import Heartbeat
from rollcast_predictor.lineup import Lineup
from rollcast_predictor.metrics import PredictorMetrics
from rollcast_predictor.outputs import Output, OutputMaker, Voice
from rollcast_predictor.routing import candidate_rows
from rollcast_predictor.settings import PredictorSettings
from rollcast_predictor.stable import Stable
from rollcast_predictor.tally import Tally
from rollcast_predictor.wire import ScoreBatch, Scored

__all__ = ["Streamer"]

_log = structlog.get_logger()

_SEQUENCES = itertools.count(1)
"""Of the process, not of a streamer: after an outage a new one may find an answer to the old one's last batch still on
the wire, and must not take it for its own."""

_IDLE_POLL_SECONDS = 0.1
_LAG_EVERY_SECONDS = 1.0
_COMPARE_EVERY = 20
"""Canary batches: one in so many is scored by both versions, for costs are comparable on the same rows only."""

_SAY_EVERY_SECONDS = 30.0


@dataclass(slots=True)
class _InFlight:
    """A batch at the hosts, and the maker of outputs that names the models it was given to."""

    batch: Batch
    maker: OutputMaker
    request: ScoreBatch
    """What stable was asked."""

    sent_at: float
    candidate_rows: set[int] = field(default_factory=set)
    candidate_asked: bool = False
    stable_has_all: bool = False
    """Whether stable was asked for the candidate's rows, too."""

    rollout: int = 0
    is_cut: bool = False
    """Whether the end of the batch was given up and is read again, so that what comes after it must wait."""


class Streamer:
    """One slot's loop, in one thread. `run` returns when `stopping` is set and what was begun is committed."""

    def __init__(
        self,
        *,
        settings: PredictorSettings,
        consumer: Consumer,
        watch: ErrorWatch,
        committer: Committer,
        topics: TopicNames,
        servers: str,
        metrics: PredictorMetrics,
        heartbeat: Heartbeat,
        lineup: Lineup,
        next_lineup: Callable[[], Lineup | None],
        is_over: Callable[[], bool],
        on_follow: Callable[[], None],
        tally: Tally,
        publish_shadow: Callable[[list[Output]], None],
        stopping: threading.Event,
    ) -> None:
        self._settings = settings
        self._consumer = consumer
        self._watch = watch
        self._committer = committer
        self._topics = topics
        self._servers = servers
        self._metrics = metrics
        self._next_lineup = next_lineup
        self._is_over = is_over
        self._on_follow = on_follow
        self._tally = tally
        self._publish_shadow = publish_shadow
        self._stopping = stopping
        self._requests = topics.full("requests")
        self._in_flight: _InFlight | None = None
        self._revoked_meanwhile: set[tuple[str, int]] = set()
        self._go_back: dict[tuple[str, int], int] = {}
        self._owned: set[tuple[str, int]] = set()
        self._next_batch_due = 0.0
        self._lag_due = 0.0
        self._said: dict[int, float] = {}
        self._heartbeat = heartbeat
        self._canary_batches = 0
        self._shadowed: tuple[Batch, Scored, OutputMaker] | None = None
        """The batch that the candidate scores in shadow, and what stable said about it."""
        self._candidate: Candidate | None = None
        self._lineup = lineup
        self._stable = self._make_stable(lineup)
        self._take_up(lineup)

    # What the readiness probe asks.

    @property
    def lineup(self) -> Lineup:
        """The one that is in effect."""
        return self._lineup

    @property
    def candidate(self) -> Candidate | None:
        return self._candidate

    @property
    def owned_partitions(self) -> int:
        return len(self._owned)

    # The loop.

    def run(self) -> None:
        """Until `stopping` is set or it `is_over`: then what was begun is committed.

        Raises KafkaProblem when Kafka will have no more of us, RollcastError when no host can be had.
        """
        self._consumer.subscribe(
            [self._requests], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )
        try:
            while not self._stopping.is_set() and not self._is_over():
                self._heartbeat.beat()
                self._step()
            self._finish_in_flight()
        finally:
            # Closing the consumer revokes, too. After an error that must not commit a batch whose predecessor failed.
            self._in_flight = None

    def _step(self) -> None:
        batch = self._consume()
        before, self._in_flight = self._in_flight, None
        answers = self._receive(before) if before else None
        if before is not None and before.is_cut and batch is not None:
            self._owned_go_back(batch.first_offsets())
            batch = None
        self._compare_shadow()
        if (lineup := self._next_lineup()) is not None:
            self._follow(lineup)
        if batch is not None:
            self._in_flight = self._hand_over(batch)
        if before is not None and answers is not None and not self._commit(before, answers):
            self._give_up_in_flight()
        self._report_lag()

    def _consume(self) -> Batch | None:
        """Step 1. Waits only when nothing is at the host."""
        early = self._next_batch_due - time.monotonic()
        if early > 0 and self._in_flight is not None:
            return None
        self._seek_back()
        self._revoked_meanwhile.clear()
        messages: list[Message] = []
        if self._in_flight is None:
            first = self._consumer.poll(_IDLE_POLL_SECONDS)
            if first is not None:
                messages.append(first)
                if (early := self._next_batch_due - time.monotonic()) > 0:
                    self._stopping.wait(early)
        # Not consume(n, timeout): it waits to fill the batch.
        if messages or self._in_flight is not None:
            messages += self._consumer.consume(self._settings.batch_rows - len(messages), 0)
        self._watch.check("consuming")
        messages = [message for message in messages if self._is_record(message)]
        if self._revoked_meanwhile:
            self._owned_go_back(first_offsets(m for m in messages if partition_of(m) in self._revoked_meanwhile))
            messages = [m for m in messages if partition_of(m) not in self._revoked_meanwhile]
        if self._go_back:
            # Polled ahead of where their partition was set back to: they will come again, in order.
            messages = [m for m in messages if partition_of(m) not in self._go_back]
        if not messages:
            return None
        is_full = len(messages) >= self._settings.batch_rows
        self._next_batch_due = 0.0 if is_full else time.monotonic() + self._settings.batch_interval_seconds
        return Batch.from_messages(
            next(_SEQUENCES),
            messages,
            self._consumer.consumer_group_metadata(),
            model=self._settings.model,
            max_request_bytes=self._settings.max_request_bytes,
        )

    def _is_record(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return True
        problem = problem_from(error, f"consuming {self._requests}", self._servers)
        if error.fatal() or error.code() == KafkaError._FATAL or isinstance(problem, KafkaDenied | TopicMissing):  # noqa: SLF001  # librdkafka's public constant
            raise problem
        # All else is news of a client that goes on by itself, also where the error does not call itself retriable.
        now = time.monotonic()
        if now >= self._said.get(error.code(), now):
            self._said[error.code()] = now + _SAY_EVERY_SECONDS
            _log.warning("consumer", problem=str(problem))
        return False

    def _receive(self, in_flight: _InFlight) -> Answers:
        """Step 2."""
        scored = self._stable.answer(in_flight.request)
        if len(scored.results) < len(in_flight.batch.messages):
            self._cut(in_flight, len(scored.results))
        if in_flight.candidate_rows:
            answers = self._with_candidate(in_flight, scored)
        else:
            answers = Answers.of_stable(scored)
            if in_flight.candidate_asked:
                self._shadowed = (in_flight.batch, scored, in_flight.maker)
        self._metrics.score_seconds.observe(time.monotonic() - in_flight.sent_at)
        return answers

    def _cut(self, in_flight: _InFlight, at: int) -> None:
        """The rows from `at` on are read again."""
        in_flight.is_cut = True
        in_flight.batch, rest = in_flight.batch.split(at)
        in_flight.candidate_rows = {row for row in in_flight.candidate_rows if row < at}
        self._owned_go_back(rest.first_offsets())

    def _with_candidate(self, in_flight: _InFlight, scored: Scored) -> Answers:
        answer = self._candidate.answer() if in_flight.candidate_asked and self._candidate is not None else None
        failed = {row for row, _, _ in answer.errors} if answer is not None else in_flight.candidate_rows
        again = sorted(in_flight.candidate_rows & failed)
        answered_again: Scored | None = None
        if again and not in_flight.stable_has_all:
            # No order is lost: all of it goes out with this batch, or not at all.
            values = in_flight.batch.values()
            request = ScoreBatch(next(_SEQUENCES), [values[row] for row in again])
            self._stable.hand_over(request)
            answered_again = self._stable.answer(request)
            if len(answered_again.results) < len(again):
                self._cut(in_flight, again[len(answered_again.results)])
                again = again[: len(answered_again.results)]
        rows = len(in_flight.batch.messages)
        stable = Scored(scored.sequence, scored.results[:rows], [e for e in scored.errors if e[0] < rows])
        if in_flight.stable_has_all and answer is not None:
            pairs = zip(scored.results[:rows], answer.results, strict=False)
            self._compared(pairs, in_shadow=False, seconds=(scored.seconds, answer.seconds))
        # An unanswered question is the candidate's failure; one that could not be asked is not.
        asked = answer or (Scored(0, [], []) if in_flight.candidate_asked else None)
        return merged(stable, asked, rows=in_flight.candidate_rows, again=again, answered_again=answered_again)

    def _compare_shadow(self) -> None:
        if self._shadowed is None or self._candidate is None:
            return
        batch, scored, maker = self._shadowed
        answer = self._candidate.answer_if_there()
        if answer is None:
            if not self._candidate.is_busy:
                self._shadowed = None
                self._tally.skipped(len(batch.messages))
            return
        self._shadowed = None
        pairs = zip(scored.results, answer.results, strict=False)
        self._compared(pairs, in_shadow=True, seconds=(scored.seconds, answer.seconds))
        if self._settings.shadow_predictions:
            topic = self._topics.full("shadow_predictions")
            self._publish_shadow(maker.shadow_outputs(batch, answer.results, topic, now_ms=time.time_ns() // 1_000_000))

    def _follow(self, lineup: Lineup) -> None:
        """Step 3."""
        old, self._lineup = self._lineup, lineup
        if lineup.stable is not old.stable:
            if self._candidate is not None and self._candidate.is_busy and self._candidate.model is lineup.stable:
                # What it has still to say in its old role is taken from the wire before it hears anything in the new.
                self._candidate.answer()
            self._stable = self._make_stable(lineup)
            self._metrics.swaps.inc()
            _log.info(
                "model swapped",
                model=lineup.assignment.model,
                version=lineup.stable.version,
                sha256=lineup.stable.sha256,
                generation=lineup.assignment.generation,
                previous_version=old.stable.version,
            )
        self._take_up(lineup)
        self._on_follow()

    def _make_stable(self, lineup: Lineup) -> Stable:
        return Stable(
            lineup.stable,
            deadline_seconds=self._settings.batch_deadline_seconds,
            metrics=self._metrics,
            heartbeat=self._heartbeat,
            stopping=self._stopping,
        )

    def _take_up(self, lineup: Lineup) -> None:
        assignment = lineup.assignment
        self._tally.follow(assignment)
        if self._candidate is not None and self._candidate.model is not lineup.candidate:
            self._candidate, self._shadowed = None, None
        if self._candidate is None and lineup.candidate is not None:
            self._candidate = Candidate(
                lineup.candidate,
                deadline_seconds=self._settings.candidate_deadline_seconds,
                shadow_seconds=self._settings.batch_deadline_seconds,
                metrics=self._metrics,
                tally=self._tally,
            )
        _log.info(
            "following",
            generation=assignment.generation,
            stable=lineup.stable.version,
            candidate=lineup.candidate.version if lineup.candidate else None,
            weight=assignment.weight,
            shadow=assignment.shadow,
        )
        self._show(lineup)
        self._maker = OutputMaker(
            identity=str(self._settings.identity),
            model=assignment.model,
            stable=Voice(lineup.stable.version, lineup.stable.sha256),
            candidate=Voice(lineup.candidate.version, lineup.candidate.sha256, "candidate")
            if lineup.candidate
            else None,
            generation=assignment.generation,
            app_messages=self._topics.full("app_messages"),
            dead_letters=self._topics.full("dead_letters"),
            include_features=self._settings.include_features,
            max_dead_letter_bytes=self._settings.max_dead_letter_bytes,
        )

    def _hand_over(self, batch: Batch) -> _InFlight:
        """Step 4."""
        assignment = self._lineup.assignment
        values = batch.values()
        rows: set[int] = set()
        if assignment.weight:
            rows = candidate_rows(batch, weight=assignment.weight, seed=assignment.seed)
            self._canary_batches += 1
        candidate = self._candidate
        can_ask = candidate is not None and candidate.is_up and not candidate.is_busy
        stable_has_all = not can_ask or self._canary_batches % _COMPARE_EVERY == 0
        stable_values, candidate_values = values, values
        if rows and not stable_has_all:
            stable_values = [None if row in rows else value for row, value in enumerate(values)]
            candidate_values = [value if row in rows else None for row, value in enumerate(values)]
        in_flight = _InFlight(
            batch,
            self._maker,
            ScoreBatch(batch.sequence, stable_values),
            time.monotonic(),
            candidate_rows=rows,
            stable_has_all=stable_has_all,
            rollout=assignment.rollout,
        )
        self._stable.hand_over(in_flight.request)
        if rows or assignment.shadow:
            in_flight.candidate_asked = candidate is not None and candidate.ask(
                ScoreBatch(batch.sequence, candidate_values)
            )
            if not rows and not in_flight.candidate_asked:
                self._tally.skipped(len(batch.messages))
        return in_flight

    def _commit(self, in_flight: _InFlight, answers: Answers) -> bool:
        """Step 5. False when the batch, or its last part, did not happen and its partitions were set back."""
        todo = [(in_flight.batch, answers)]
        while todo:
            batch, part = todo.pop()
            try:
                self._commit_whole(batch, part, in_flight)
            except OutputsRefused as refusal:  # by the request, not by the row: smaller ones tell which row it is
                half = len(batch.messages) // 2
                _log.warning("a batch is refused and halved", rows=len(batch.messages), why=str(refusal))
                batches, parts = batch.split(half), part.split(half)
                todo += [(batches[1], parts[1]), (batches[0], parts[0])]
            except BatchAborted as aborted:
                _log.warning("batch aborted and read again", rows=len(batch.messages), why=str(aborted))
                self._metrics.aborts.inc()
                for undone, _ in [(batch, part), *todo]:
                    self._owned_go_back(undone.first_offsets())
                return False
        return True

    def _commit_whole(self, batch: Batch, answers: Answers, in_flight: _InFlight) -> None:
        """Raises BatchAborted, or OutputsRefused when nobody knows of which rows."""
        started = time.monotonic()
        now_ms = time.time_ns() // 1_000_000
        maker = in_flight.maker
        outputs = maker.outputs(batch, answers, now_ms=now_ms)
        to_send = outputs
        refused: dict[int, str] = {}
        while True:
            try:
                self._committer.commit(batch, to_send)
            except OutputsRefused as refusal:
                if not refusal.certain:
                    raise
                if not refusal.rows.keys() - refused.keys():
                    hint = f"is max.message.bytes of {maker.dead_letters} large enough?"
                    raise RollcastError(f"{refusal}, not even as dead letters; {hint}") from None
                refused |= refusal.rows
                _log.warning("outputs refused", rows=len(refusal.rows), why=next(iter(refusal.rows.values())))
                outputs = maker.outputs(batch, answers, now_ms=now_ms, refused=refused)
                to_send = [o for o in outputs if o.row in refusal.rows] if refusal.rest_is_out else outputs
            else:
                break
        self._count(batch, outputs, time.monotonic() - started)
        assignment = self._lineup.assignment
        if assignment.candidate is not None and assignment.rollout == in_flight.rollout:
            self._count_tracks(answers)

    # When things go another way.

    def _finish_in_flight(self) -> None:
        in_flight, self._in_flight = self._in_flight, None
        if in_flight is not None:
            self._commit(in_flight, self._receive(in_flight))

    def _give_up_in_flight(self) -> None:
        """The batch at the host comes after one that did not happen, so it must not happen either."""
        in_flight, self._in_flight = self._in_flight, None
        if in_flight is not None:
            self._owned_go_back(in_flight.batch.first_offsets())
            self._stable.discard(in_flight.request)
            if in_flight.candidate_asked and self._candidate is not None:
                self._candidate.answer()

    def _owned_go_back(self, offsets: dict[tuple[str, int], int]) -> None:
        for partition, offset in offsets.items():
            if partition in self._owned:
                self._go_back[partition] = min(offset, self._go_back.get(partition, offset))

    def _seek_back(self) -> None:
        for (topic, number), offset in list(self._go_back.items()):
            try:
                self._consumer.seek(TopicPartition(topic, number, offset))
            except KafkaException as error:  # its assignment is not in effect yet: next time
                _log.debug("seek is tried again", partition=number, error=error.args[0].str())
            else:
                del self._go_back[topic, number]

    def _on_assign(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._owned |= {(p.topic, p.partition) for p in partitions}
        _log.info("partitions assigned", partitions=sorted(p.partition for p in partitions), owned=len(self._owned))

    def _on_revoke(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        """The last moment in which our commits count for these partitions."""
        self._finish_in_flight()
        self._let_go(partitions)
        _log.info("partitions revoked", partitions=sorted(p.partition for p in partitions), owned=len(self._owned))

    def _on_lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        """Somebody else has them already: what we hold of them must not be committed."""
        self._give_up_in_flight()
        self._let_go(partitions)
        _log.warning("partitions lost", partitions=sorted(p.partition for p in partitions), owned=len(self._owned))

    def _let_go(self, partitions: list[TopicPartition]) -> None:
        gone = {(p.topic, p.partition) for p in partitions}
        self._owned -= gone
        self._revoked_meanwhile |= gone
        for partition in gone:
            self._go_back.pop(partition, None)

    # Bookkeeping.

    def _show(self, lineup: Lineup) -> None:
        info = self._metrics.model_info
        info.clear()
        for track, model in (("stable", lineup.stable), ("candidate", lineup.candidate)):
            if model is not None:
                info.labels(lineup.assignment.model, model.version, model.sha256, track).set(1)
        self._metrics.weight.set(lineup.assignment.weight)

    def _count(self, batch: Batch, outputs: list[Output], commit_seconds: float) -> None:
        metrics = self._metrics
        dead = Counter(output.reason for output in outputs if output.reason is not None)
        for reason, count in dead.items():
            metrics.dead_letters.labels(reason.value).inc(count)
        metrics.predictions.inc(len(outputs) - dead.total())
        metrics.skipped.inc(len(batch.skipped))
        metrics.batches.inc()
        metrics.batch_rows.observe(len(batch.messages))
        metrics.commit_seconds.observe(commit_seconds)
        # The oldest and the newest row stand for the batch: one observation a row would cost as much as scoring.
        now_ms = time.time() * 1000
        for message in (batch.messages[0], batch.messages[-1]):
            metrics.latency_seconds.observe(max(0.0, now_ms - message.timestamp()[1]) / 1000)

    def _compared(self, pairs: Iterable[tuple[bytes, bytes]], *, in_shadow: bool, seconds: tuple[float, float]) -> None:
        found = self._tally.compared(pairs, in_shadow=in_shadow, seconds=seconds)
        self._metrics.compared(same=found.same, different=found.different, failed=found.failed, seconds=seconds)

    def _count_tracks(self, answers: Answers) -> None:
        fallbacks = answers.of(Origin.FALLBACK)
        candidate = answers.of(Origin.CANDIDATE)
        self._tally.outputs(
            stable=answers.of(Origin.STABLE) + fallbacks,
            candidate=candidate,
            errors=answers.candidate_errors,
            fallbacks=len(fallbacks),
        )
        self._metrics.candidate_predictions.inc(len(candidate))
        self._metrics.candidate_errors.inc(answers.candidate_errors)
        self._metrics.fallbacks.inc(len(fallbacks))

    def _report_lag(self) -> None:
        now = time.monotonic()
        if now < self._lag_due:
            return
        self._lag_due = now + _LAG_EVERY_SECONDS
        self._committer.poll()
        self._metrics.partitions.set(len(self._owned))
        lag = 0
        for position in self._consumer.position([TopicPartition(*partition) for partition in self._owned]):
            watermarks = self._consumer.get_watermark_offsets(position, cached=True)
            if position.offset >= 0 and watermarks is not None:
                lag += max(0, watermarks[1] - position.offset)
        self._metrics.lag.set(lag)
