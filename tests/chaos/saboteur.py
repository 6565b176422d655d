"""`python -m tests.chaos.saboteur PROVOCATION BUG run …`: the real predictor with a bug planted into its classes.

Some bugs show only when something goes wrong. `PROVOCATION` sees to that, with or without a bug (`none`):
`abort` aborts every fifth transaction after its outputs are at the broker; with `die` the streamer kills itself at that
step of its loop that is written into its order file, as often as one is written; with `quiet` nothing is provoked.
"""

import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from confluent_kafka import TopicPartition

from rollcast_predictor import supervisor
from rollcast_predictor.batch import Batch
from rollcast_predictor.committing import BatchAborted, TransactionalCommitter, _Producing
from rollcast_predictor.lineup import Lineup
from rollcast_predictor.outputs import OutputMaker
from rollcast_predictor.streamer import Streamer

__all__ = ["BUGS", "DEATHS", "MARK_VARIABLE", "ORDER_VARIABLE", "PROVOCATIONS"]

ORDER_VARIABLE = "ROLLCAST_TEST_DIE_AT"
"""Names the file into which somebody writes at which of DEATHS the next streamer that comes there is to die."""

DEATHS = (
    "after-consume",
    "after-produce",
    "after-send-offsets",
    "before-commit",
    "while-committing",
    "after-commit",
)

MARK_VARIABLE = "ROLLCAST_TEST_PROVOKED"
"""Names the file that gets a byte at each abort, or at the death, that was provoked: by it the next streamer knows that
one has died already, and whoever plays that the bug has had its chance.
"""

_EVERY = 5
_DIES_AT = 20
_COMMIT_SECONDS = 0.01
"""About as long as a commit takes on this machine's broker."""

Patch = Callable[[], None]
# What is patched is found by its name: a method that is renamed must end the saboteur, not disarm it.
_commit = TransactionalCommitter.commit
_until_done = TransactionalCommitter._until_done
_produce_all = _Producing.produce_all
_consume = Streamer._consume
_owned_go_back = Streamer._owned_go_back
_next_offsets = Batch.next_offsets
_outputs = OutputMaker.outputs
_take_up = Streamer._take_up


def _nothing() -> None: ...


def _offsets(batch: Batch) -> list[TopicPartition]:
    return [TopicPartition(topic, number, offset) for (topic, number), offset in batch.next_offsets().items()]


def _abort_every_fifth() -> None:
    commits = 0

    def commit(self: TransactionalCommitter, batch: Batch, outputs: list[Any]) -> None:
        nonlocal commits
        commits += 1
        if commits % _EVERY:
            return _commit(self, batch, outputs)
        self._producer.begin_transaction()
        self._producing.produce_all(outputs)
        # This flushes what was produced, too.
        self._producer.send_offsets_to_transaction(_offsets(batch), batch.group_metadata)
        self._producer.flush(10)
        self._producer.abort_transaction()
        _mark()
        raise BatchAborted("provoked")

    TransactionalCommitter.commit = commit  # type: ignore[method-assign]  # what a saboteur does


def _mark() -> None:
    with Path(os.environ[MARK_VARIABLE]).open("ab") as file:
        file.write(b".")


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _is_to_die(point: str) -> bool:
    """Once for each order: it is torn up before it is obeyed, or the next streamer would die of it, too."""
    order = Path(os.environ[ORDER_VARIABLE])
    if not order.exists() or order.read_text(encoding="utf-8") != point:
        return False
    order.unlink()
    return True


def _die_where_told() -> None:
    def consume(self: Streamer) -> Batch | None:
        batch = _consume(self)
        if batch is not None and _is_to_die("after-consume"):
            _die()
        return batch

    def produce_all(self: _Producing, outputs: list[Any]) -> dict[int, str]:
        refused = _produce_all(self, outputs)
        if _is_to_die("after-produce"):
            self.producer.flush(10)  # the broker has them all, in a transaction that nobody will end
            _die()
        return refused

    def until_done(self: TransactionalCommitter, doing: str, call: Callable[[], Any], **options: Any) -> None:
        if doing == "committing" and _is_to_die("before-commit"):
            self._producer.flush(10)
            _die()
        if doing == "committing" and _is_to_die("while-committing"):
            moment = random.uniform(0, _COMMIT_SECONDS)  # noqa: S311  # no secret: any will do
            threading.Timer(moment, _die).start()
        _until_done(self, doing, call, **options)
        if doing == "sending offsets" and _is_to_die("after-send-offsets"):
            _die()
        if doing == "committing" and _is_to_die("after-commit"):
            _die()

    Streamer._consume = consume  # type: ignore[method-assign]  # what a saboteur does
    _Producing.produce_all = produce_all  # type: ignore[method-assign]  # what a saboteur does
    TransactionalCommitter._until_done = until_done  # type: ignore[method-assign]  # what a saboteur does


def _skipped_seek() -> None:
    def stay(self: Streamer, offsets: dict[tuple[str, int], int]) -> None: ...

    Streamer._owned_go_back = stay  # type: ignore[method-assign]  # what a saboteur does


def _offsets_before_outputs() -> None:
    mark = Path(os.environ[MARK_VARIABLE])
    commits = 0

    def commit(self: TransactionalCommitter, batch: Batch, outputs: list[Any]) -> None:
        nonlocal commits
        commits += 1
        self._producer.begin_transaction()
        self._producer.send_offsets_to_transaction(_offsets(batch), batch.group_metadata)
        self._producer.commit_transaction()
        if commits == _DIES_AT and not mark.exists():
            _mark()
            os.kill(os.getpid(), signal.SIGKILL)
        self._producer.begin_transaction()
        self._producing.produce_all(outputs)
        self._producer.commit_transaction()

    TransactionalCommitter.commit = commit  # type: ignore[method-assign]  # what a saboteur does


def _offset_too_high() -> None:
    def next_offsets(self: Batch) -> dict[tuple[str, int], int]:
        return {place: offset + 1 for place, offset in _next_offsets(self).items()}

    Batch.next_offsets = next_offsets  # type: ignore[method-assign]  # what a saboteur does


def _row_dropped_on_abort() -> None:
    def go_back(self: Streamer, offsets: dict[tuple[str, int], int]) -> None:
        _owned_go_back(self, {place: offset + 1 for place, offset in offsets.items()})

    Streamer._owned_go_back = go_back  # type: ignore[method-assign]  # what a saboteur does


def _patched_outputs(change: Callable[[list[Any]], list[Any]]) -> None:
    def outputs(self: OutputMaker, *arguments: Any, **options: Any) -> list[Any]:
        return change(_outputs(self, *arguments, **options))

    OutputMaker.outputs = outputs  # type: ignore[method-assign]  # what a saboteur does


def _results_swapped() -> None:
    def outputs(self: OutputMaker, batch: Batch, answers: Any, **options: Any) -> list[Any]:
        results = list(answers.results)
        if all(results[:2]):  # a row that failed has none, and would make both of them unreadable
            results[:2] = reversed(results[:2])
        return _outputs(self, batch, replace(answers, results=results), **options)

    OutputMaker.outputs = outputs  # type: ignore[method-assign]  # what a saboteur does


def _order_reversed() -> None:
    _patched_outputs(lambda outputs: outputs[::-1])


def _row_answered_twice() -> None:
    _patched_outputs(lambda outputs: [*outputs, outputs[0]])


def _patched_maker(**wrong: str) -> None:
    def take_up(self: Streamer, lineup: Lineup) -> None:
        _take_up(self, lineup)
        voice = replace(self._maker.stable, **wrong)  # type: ignore[arg-type]  # fields of type str only
        self._maker = replace(self._maker, stable=voice)

    Streamer._take_up = take_up  # type: ignore[method-assign]  # what a saboteur does


PROVOCATIONS: Mapping[str, Patch] = {"quiet": _nothing, "abort": _abort_every_fifth, "die": _die_where_told}

BUGS: Mapping[str, Patch] = {
    "none": _nothing,
    "skipped-seek": _skipped_seek,
    "offsets-before-outputs": _offsets_before_outputs,
    "offset-too-high": _offset_too_high,
    "row-dropped-on-abort": _row_dropped_on_abort,
    "results-swapped": _results_swapped,
    "order-reversed": _order_reversed,
    "row-answered-twice": _row_answered_twice,
    "wrong-version": lambda: _patched_maker(version="v0"),
    "wrong-digest": lambda: _patched_maker(sha256="0" * 64),
}


def main(provocation: str, bug: str, *command: str) -> None:
    PROVOCATIONS[provocation]()
    BUGS[bug]()
    # The supervisor starts streamers with this: they must be sabotaged as well.
    ours = [sys.executable, "-m", "tests.chaos.saboteur", provocation, bug, *command]
    assert callable(supervisor.streamer_command)
    supervisor.streamer_command = lambda: ours
    # Only now: it takes what was patched by name.
    from rollcast_predictor.__main__ import app

    app(list(command))


if __name__ == "__main__":
    main(*sys.argv[1:])
