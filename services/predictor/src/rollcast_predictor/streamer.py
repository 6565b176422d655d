"""The streaming loop: consume → score → produce and commit, with one batch at the host while one commits.

    1  consume a batch (rebalances happen in here, and only in here)
    2  receive the scores of the batch before it
    3  swap the model, if another one is ready: no batch is at a host now
    4  hand the new batch to the host
    5  produce and commit the batch before it, while the host works

A transaction is opened and closed within step 5, so no rebalance ever sees one open.
"""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from rollcast_common.contracts import DeadLetterReason
from rollcast_common.errors import KafkaDenied, RollcastError, TopicMissing
from rollcast_common.kafka import ErrorWatch, TopicNames, problem_from
from rollcast_predictor.batch import Batch, first_offsets, partition_of
from rollcast_predictor.committing import BatchAborted, Committer, OutputsRefused
from rollcast_predictor.heartbeat import Heartbeat
from rollcast_predictor.host_process import HostDied, HostTimedOut
from rollcast_predictor.metrics import PredictorMetrics
from rollcast_predictor.outputs import Output, OutputMaker
from rollcast_predictor.served_model import ServedModel
from rollcast_predictor.settings import PredictorSettings
from rollcast_predictor.wire import ScoreBatch, Scored

__all__ = ["Streamer"]

_log = structlog.get_logger()

_SEQUENCES = itertools.count(1)
"""Of the process, not of a streamer: after an outage a new one may find an answer to the old one's last batch still on
the wire, and must not take it for its own."""

_IDLE_POLL_SECONDS = 0.1
_LAG_EVERY_SECONDS = 1.0
_HOST_ATTEMPTS = 5
_ROW_BY_ROW_DEADLINES = 6
_SAY_EVERY_SECONDS = 30.0


@dataclass(slots=True)
class _InFlight:
    """A batch at the host, and the maker of outputs that names the model it was given to."""

    batch: Batch
    maker: OutputMaker
    sent_at: float
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
        model: ServedModel,
        next_model: Callable[[], ServedModel | None],
        stopping: threading.Event,
    ) -> None:
        self._settings = settings
        self._consumer = consumer
        self._watch = watch
        self._committer = committer
        self._topics = topics
        self._servers = servers
        self._metrics = metrics
        self._next_model = next_model
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
        self._serve(model)

    # What the readiness probe asks.

    @property
    def model(self) -> ServedModel:
        return self._model

    @property
    def owned_partitions(self) -> int:
        return len(self._owned)

    # The loop.

    def run(self) -> None:
        """Raises KafkaProblem when Kafka will have no more of us, RollcastError when no host can be had."""
        self._consumer.subscribe(
            [self._requests], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )
        try:
            while not self._stopping.is_set():
                self._heartbeat.beat()
                self._step()
            self._finish_in_flight()
        finally:
            # Closing the consumer revokes, too. After an error that must not commit a batch whose predecessor failed.
            self._in_flight = None

    def _step(self) -> None:
        batch = self._consume()
        before, self._in_flight = self._in_flight, None
        scored = self._receive(before) if before else None
        if before is not None and before.is_cut and batch is not None:
            self._owned_go_back(batch.first_offsets())
            batch = None
        self._swap_if_ready()
        if batch is not None:
            self._in_flight = self._hand_over(batch)
        if before is not None and scored is not None and not self._commit(before, scored):
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

    def _receive(self, in_flight: _InFlight) -> Scored:
        """Step 2."""
        batch = in_flight.batch
        try:
            scored = self._model.host.receive(batch.sequence, deadline_seconds=self._settings.batch_deadline_seconds)
        except (HostDied, HostTimedOut) as error:
            scored = self._score_again(batch, error)
            if len(scored.results) < len(batch.messages):
                in_flight.is_cut = True
                in_flight.batch, rest = batch.split(len(scored.results))
                self._owned_go_back(rest.first_offsets())
        self._metrics.score_seconds.observe(time.monotonic() - in_flight.sent_at)
        return scored

    def _swap_if_ready(self) -> None:
        """Step 3."""
        model = self._next_model()
        if model is None:
            return
        old = self._model
        self._serve(model)
        self._metrics.swaps.inc()
        _log.info(
            "model swapped",
            model=model.order.model,
            version=model.order.version,
            sha256=model.sha256,
            generation=model.order.generation,
            previous_version=old.order.version,
        )
        # Ending a process may take a moment that the stream does not have.
        threading.Thread(target=old.host.close, name="host-closer", daemon=True).start()

    def _hand_over(self, batch: Batch) -> _InFlight:
        """Step 4."""
        request = ScoreBatch(batch.sequence, batch.values())
        in_flight = _InFlight(batch, self._maker, time.monotonic())
        for _ in range(_HOST_ATTEMPTS):
            try:
                self._model.host.send(request, deadline_seconds=self._settings.batch_deadline_seconds)
            except (HostDied, HostTimedOut) as error:  # seldom more than one turn
                self._host_failed(error)
            else:
                return in_flight
        raise HostDied(f"no host of {self._model.name} takes a batch")

    def _commit(self, in_flight: _InFlight, scored: Scored) -> bool:
        """Step 5. False when the batch, or its last part, did not happen and its partitions were set back."""
        todo = [(in_flight.batch, scored)]
        while todo:
            batch, scores = todo.pop()
            try:
                self._commit_whole(batch, scores, in_flight.maker)
            except OutputsRefused as refusal:  # by the request, not by the row: smaller ones tell which row it is
                half = len(batch.messages) // 2
                _log.warning("a batch is refused and halved", rows=len(batch.messages), why=str(refusal))
                parts, scored_parts = batch.split(half), scores.split(half)
                todo += [(parts[1], scored_parts[1]), (parts[0], scored_parts[0])]
            except BatchAborted as aborted:
                _log.warning("batch aborted and read again", rows=len(batch.messages), why=str(aborted))
                self._metrics.aborts.inc()
                for undone, _ in [(batch, scores), *todo]:
                    self._owned_go_back(undone.first_offsets())
                return False
        return True

    def _commit_whole(self, batch: Batch, scored: Scored, maker: OutputMaker) -> None:
        """Raises BatchAborted, or OutputsRefused when nobody knows of which rows."""
        started = time.monotonic()
        now_ms = time.time_ns() // 1_000_000
        outputs = maker.outputs(batch, scored, now_ms=now_ms)
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
                outputs = maker.outputs(batch, scored, now_ms=now_ms, refused=refused)
                to_send = [o for o in outputs if o.row in refusal.rows] if refusal.rest_is_out else outputs
            else:
                break
        self._count(batch, outputs, time.monotonic() - started)

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
            # The host answers before it reads again: its answer has to be taken from the wire.
            deadline = self._settings.batch_deadline_seconds
            try:
                self._model.host.receive(in_flight.batch.sequence, deadline_seconds=deadline)
            except (HostDied, HostTimedOut) as error:
                self._host_failed(error)

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

    def _score_again(self, batch: Batch, error: HostDied | HostTimedOut) -> Scored:
        """A batch broke its host: once more as a whole with a fresh one, then row by row.

        Fewer results than rows when that takes so long that Kafka would believe this slot dead.
        """
        deadline = self._settings.batch_deadline_seconds
        values = batch.values()
        self._host_failed(error)
        try:
            self._model.host.send(ScoreBatch(batch.sequence, values), deadline_seconds=deadline)
            return self._model.host.receive(batch.sequence, deadline_seconds=deadline)
        except (HostDied, HostTimedOut) as again:
            self._host_failed(again)
        results: list[bytes] = []
        errors: list[tuple[int, str, str]] = []
        until = time.monotonic() + _ROW_BY_ROW_DEADLINES * deadline
        for row, value in enumerate(values):
            self._heartbeat.beat()
            if row and time.monotonic() > until:
                break
            try:
                self._model.host.send(ScoreBatch(batch.sequence, [value]), deadline_seconds=deadline)
                scored = self._model.host.receive(batch.sequence, deadline_seconds=deadline)
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
        return Scored(batch.sequence, results, errors)

    def _host_failed(self, error: HostDied | HostTimedOut) -> None:
        """Put a fresh host of the same model in its place. Raises RollcastError when none can be had."""
        self._metrics.host_failures.labels("timeout" if isinstance(error, HostTimedOut) else "death").inc()
        _log.error("host failed", model=self._model.name, problem=str(error))
        for attempt in range(1, _HOST_ATTEMPTS + 1):
            self._heartbeat.beat()
            try:
                self._model.replace_host()
            except RollcastError as problem:
                _log.error("host not replaced", model=self._model.name, attempt=attempt, problem=str(problem))
                if attempt == _HOST_ATTEMPTS:
                    raise
                self._stopping.wait(0.2 * attempt)
            else:
                return

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

    def _serve(self, model: ServedModel) -> None:
        self._model = model
        self._metrics.model_info.clear()
        self._metrics.model_info.labels(model.order.model, model.order.version, model.sha256).set(1)
        self._maker = OutputMaker(
            identity=str(self._settings.identity),
            model=model.order.model,
            version=model.order.version,
            sha256=model.sha256,
            generation=model.order.generation,
            app_messages=self._topics.full("app_messages"),
            dead_letters=self._topics.full("dead_letters"),
            include_features=self._settings.include_features,
            max_dead_letter_bytes=self._settings.max_dead_letter_bytes,
        )

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
