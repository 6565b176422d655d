"""How a batch becomes real: outputs and offsets together, or at least outputs before offsets."""

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Protocol

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from rollcast_common.errors import KafkaUnavailable, RollcastError
from rollcast_common.kafka import ErrorWatch, KafkaParams, Verdict, classify, make_producer, problem_from
from rollcast_predictor.batch import Batch
from rollcast_predictor.heartbeat import Heartbeat
from rollcast_predictor.outputs import Output

__all__ = ["AtLeastOnceCommitter", "BatchAborted", "Committer", "OutputsRefused", "TransactionalCommitter"]

_log = structlog.get_logger()

_MAX_MESSAGE_BYTES = 16 << 20

_TRANSACTION_SECONDS = 10.0
"""Longer than this Kafka keeps no transaction open."""

_ABANDONED_SECONDS = 6.0
"""A call that takes longer may never return. Giving it up within a transaction is safe: the next producer of the slot
ends the transaction one way or the other before anything is read again. Without one its rows may be doubled."""

_RETRY_SECONDS = 0.1
_SAY_EVERY_SECONDS = 30.0

_TOO_LARGE = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE)

_PRODUCER_SETTINGS: dict[str, str | int | float | bool] = {
    "acks": "all",
    # The commit flushes; until then more rows may join a request.
    "linger.ms": 5,
    "message.max.bytes": _MAX_MESSAGE_BYTES,
    "queue.buffering.max.messages": 500_000,
    "delivery.report.only.error": True,
    # A retried send_offsets would otherwise wait 100 ms, longer than most batches take.
    "retry.backoff.ms": 5,
}


class BatchAborted(RollcastError):
    """Nothing of the batch happened; read it again."""


class OutputsRefused(RollcastError):
    """Kafka will not take these rows' outputs as they are (row → why), and never will.

    `rest_is_out` says whether the other outputs of the batch can be read already. Not `certain`: Kafka refuses
    records by the request, so some of these rows may only have been in bad company.
    """

    def __init__(self, rows: dict[int, str], *, rest_is_out: bool, certain: bool) -> None:
        super().__init__(f"Kafka refused the outputs of {len(rows)} rows")
        self.rows = rows
        self.rest_is_out = rest_is_out
        self.certain = certain


class Committer(Protocol):
    def start(self) -> None: ...

    def commit(self, batch: Batch, outputs: list[Output]) -> None:
        """Raises BatchAborted or OutputsRefused; and KafkaProblem: then this process ends."""
        ...

    def poll(self) -> None:
        """Let the producer say what it has to say; between two batches nobody else asks it."""
        ...

    def close(self) -> None: ...


class _Producing:
    """What both ways share: producing outputs and remembering which ones Kafka refused."""

    def __init__(
        self,
        params: KafkaParams,
        watch: ErrorWatch,
        *,
        client_id: str,
        settings: dict[str, str | int | float | bool],
    ) -> None:
        self.watch = watch
        self.producer: Producer = make_producer(
            params, self.watch, client_id=client_id, settings=_PRODUCER_SETTINGS | settings
        )
        self._failed: list[tuple[KafkaError, bytes | None]] = []

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failed.append((error, message.value()))

    def produce_all(self, outputs: list[Output]) -> dict[int, str]:
        """Hand everything to the client. The result names rows that it refused at once."""
        self._failed = []
        refused: dict[int, str] = {}
        produce = self.producer.produce
        delivered = self._delivered
        for output in outputs:
            while True:
                try:
                    produce(output.topic, output.value, output.key, headers=output.headers or [], on_delivery=delivered)
                except BufferError:
                    self.producer.poll(0.1)
                    self.watch.check("producing")
                except KafkaException as error:
                    cause: KafkaError = error.args[0]
                    if cause.code() not in _TOO_LARGE:
                        raise
                    refused[output.row] = cause.str()
                    break
                else:
                    break
        return refused

    def refused_rows(self, outputs: list[Output]) -> dict[int, str]:
        """Rows that a broker refused, found again by their value: predictions differ by their ids."""
        too_large = {value: error.str() for error, value in self._failed if error.code() in _TOO_LARGE}
        return {output.row: too_large[output.value] for output in outputs if output.value in too_large}

    def first_failure(self) -> KafkaError | None:
        return self._failed[0][0] if self._failed else None


class _Calls:
    """Calls made in a thread of their own, one at a time, so that one that never returns can be left behind.

    After a broker's restart `send_offsets_to_transaction` of librdkafka 2.16 has been seen to wait for ever for the
    answer to a request that was lost with its connection, whatever the timeout. A consumer's `commit` knows no timeout
    at all: after the last broker's goodbye (see LifeWatch) nobody answers it.
    """

    def __init__(self) -> None:
        self._todo: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._done: SimpleQueue[BaseException | None] = SimpleQueue()
        threading.Thread(target=self._run, name="kafka-calls", daemon=True).start()

    def _run(self) -> None:
        while (call := self._todo.get()) is not None:
            try:
                call()
            except BaseException as error:  # noqa: BLE001  # it is raised where it was asked for
                self._done.put(error)
            else:
                self._done.put(None)

    def call(self, call: Callable[[], object], *, timeout_seconds: float) -> None:
        """Raises what the call raises, and TimeoutError: then no other call can be made."""
        self._todo.put(call)
        try:
            error = self._done.get(timeout=timeout_seconds)
        except Empty:
            raise TimeoutError from None
        if error is not None:
            raise error

    def close(self) -> None:
        self._todo.put(None)


def _no_answer(doing: str, servers: str, seconds: float) -> KafkaUnavailable:
    return KafkaUnavailable(f"Kafka at {servers}: {doing}: no answer within {seconds:g} s; is it running?")


class TransactionalCommitter:
    """Exactly once: outputs, dead letters and consumed offsets in one transaction.

    The transactional id is the slot's, so a restarted slot aborts what its predecessor left open.
    """

    def __init__(
        self, params: KafkaParams, watch: ErrorWatch, *, slot: str, heartbeat: Heartbeat, stopping: threading.Event
    ) -> None:
        self._servers = params.broker.servers
        self._heartbeat = heartbeat
        self._stopping = stopping
        self._make_producing: Callable[[], _Producing] = lambda: _Producing(
            params,
            watch,
            client_id=slot,
            settings={"transactional.id": slot, "transaction.timeout.ms": int(_TRANSACTION_SECONDS * 1000)},
        )
        self._producing = self._make_producing()
        self._producer = self._producing.producer
        self._sequence_has_gap = False
        """Records that the broker refused took their sequence numbers with them: it would refuse the next ones for the
        missing numbers, or the client wait for them until the transaction times out. A new producer counts anew."""

        self._calls = _Calls()

    def start(self) -> None:
        doing = "starting transactions"
        try:
            self._until_done(doing, lambda: self._producer.init_transactions(_TRANSACTION_SECONDS), patient=True)
        except KafkaException as error:
            raise problem_from(error.args[0], doing, self._servers) from None

    def commit(self, batch: Batch, outputs: list[Output]) -> None:
        offsets = [TopicPartition(topic, number, offset) for (topic, number), offset in batch.next_offsets().items()]
        if self._sequence_has_gap:
            self._producing = self._make_producing()
            self._producer = self._producing.producer
            self.start()
            self._sequence_has_gap = False
        try:
            self._producer.begin_transaction()
            refused = self._producing.produce_all(outputs)
            if refused:
                self._abort()
                raise OutputsRefused(refused, rest_is_out=False, certain=True)
            self._until_done(
                "sending offsets",
                lambda: self._producer.send_offsets_to_transaction(offsets, batch.group_metadata),
            )
            self._until_done("committing", self._producer.commit_transaction)
        except KafkaException as error:
            cause: KafkaError = error.args[0]
            if classify(cause) is Verdict.ABORT:
                self._abort()
                if refused := self._producing.refused_rows(outputs):
                    self._sequence_has_gap = True
                    raise OutputsRefused(refused, rest_is_out=False, certain=len(refused) == 1) from None
                raise BatchAborted(cause.str()) from None
            # The transaction's error may only be a consequence; the delivery report has the cause.
            raise problem_from(self._producing.first_failure() or cause, "committing a batch", self._servers) from None

    def _abort(self) -> None:
        try:
            self._until_done("aborting", self._producer.abort_transaction)
        except KafkaException as error:
            raise problem_from(error.args[0], "aborting a transaction", self._servers) from None

    def _until_done(self, doing: str, call: Callable[[], Any], *, patient: bool = False) -> None:
        """The same call with the same arguments, as long as the client says that this may help.

        A transaction has an end, and so has patience with it: then KafkaProblem, as it is from the start for a slot
        that was asked to end while the broker is away. What is left open, the slot's next producer aborts.
        """
        longest = _TRANSACTION_SECONDS + _ABANDONED_SECONDS if patient else _ABANDONED_SECONDS
        began = time.monotonic()
        say_next = began
        while True:
            self._heartbeat.beat()
            try:
                self._calls.call(call, timeout_seconds=longest)
            except TimeoutError:
                raise _no_answer(doing, self._servers, longest) from None
            except KafkaException as error:
                cause: KafkaError = error.args[0]
                if classify(cause) is not Verdict.RETRY:
                    raise
                self._producing.watch.check(doing)
                now = time.monotonic()
                if now - began > _TRANSACTION_SECONDS and (self._stopping.is_set() or not patient):
                    raise problem_from(cause, doing, self._servers) from None
                if now >= say_next:
                    say_next = now + _SAY_EVERY_SECONDS
                    _log.warning("kafka call is tried again", doing=doing, error=cause.str())
                time.sleep(_RETRY_SECONDS)
            else:
                return

    def poll(self) -> None:
        self._producing.producer.poll(0)

    def close(self) -> None:
        """An open transaction was aborted or committed before, or is left to the next producer; nothing to flush."""
        self._calls.close()


class AtLeastOnceCommitter:
    """For brokers without transactions: outputs are acknowledged before offsets are committed."""

    def __init__(
        self, params: KafkaParams, watch: ErrorWatch, consumer: Consumer, *, slot: str, heartbeat: Heartbeat
    ) -> None:
        self._servers = params.broker.servers
        self._consumer = consumer
        self._heartbeat = heartbeat
        self._producing = _Producing(params, watch, client_id=slot, settings={"delivery.timeout.ms": 30_000})
        self._calls = _Calls()

    def start(self) -> None: ...

    def commit(self, batch: Batch, outputs: list[Output]) -> None:
        refused = self._producing.produce_all(outputs)
        self._flush()
        refused |= self._refused_alone(outputs)
        if refused:
            raise OutputsRefused(refused, rest_is_out=True, certain=True)
        if (failure := self._producing.first_failure()) is not None:
            raise problem_from(failure, "producing", self._servers)
        offsets = [TopicPartition(topic, number, offset) for (topic, number), offset in batch.next_offsets().items()]
        try:
            self._calls.call(
                lambda: self._consumer.commit(offsets=offsets, asynchronous=False), timeout_seconds=_ABANDONED_SECONDS
            )
        except TimeoutError:
            raise _no_answer("committing offsets", self._servers, _ABANDONED_SECONDS) from None
        except KafkaException as error:
            cause: KafkaError = error.args[0]
            if classify(cause) is Verdict.FATAL and not cause.retriable() and cause.fatal():
                raise problem_from(cause, "committing offsets", self._servers) from None
            # The next commit covers this one; a rebalance in between may double these rows: at least once.
            _log.warning("offsets not committed", error=cause.str())

    def _refused_alone(self, outputs: list[Output]) -> dict[int, str]:
        """Rows that Kafka does not even take one at a time."""
        suspects = self._producing.refused_rows(outputs)
        if len(suspects) < 2:  # noqa: PLR2004  # it was alone
            return suspects
        refused: dict[int, str] = {}
        for output in outputs:
            if output.row in suspects:
                refused |= self._producing.produce_all([output])
                self._flush()
                refused |= self._producing.refused_rows([output])
        return refused

    def _flush(self) -> None:
        while self._producing.producer.flush(5) > 0:
            self._heartbeat.beat()
            self._producing.watch.check("producing")

    def poll(self) -> None:
        self._producing.producer.poll(0)

    def close(self) -> None:
        self._calls.close()
        self._producing.producer.flush(10)
