"""`python -m tests.chaos.saboteur PROVOCATION BUG run …`: the real predictor with a bug planted into its classes.

Some bugs show only when something goes wrong. `PROVOCATION` sees to that, with or without a bug (`none`):
`abort` aborts every fifth transaction after its outputs are at the broker; `die` kills the streamer once, between
two of its transactions' steps; with `quiet` nothing is provoked.
"""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from confluent_kafka import TopicPartition

from rollcast_predictor import supervisor
from rollcast_predictor.batch import Batch
from rollcast_predictor.committing import BatchAborted, TransactionalCommitter
from rollcast_predictor.lineup import Lineup
from rollcast_predictor.outputs import OutputMaker
from rollcast_predictor.streamer import Streamer

__all__ = ["BUGS", "MARK_VARIABLE", "PROVOCATIONS"]

MARK_VARIABLE = "ROLLCAST_TEST_DIED"
"""Names the file by which the next streamer knows that one has died already."""

_EVERY = 5
_DIES_AT = 20

Patch = Callable[[], None]
# What is patched is found by its name: a method that is renamed must end the saboteur, not disarm it.
_commit = TransactionalCommitter.commit
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
        raise BatchAborted("provoked")

    TransactionalCommitter.commit = commit  # type: ignore[method-assign]  # what a saboteur does


def _die_once() -> None:
    mark = Path(os.environ[MARK_VARIABLE])
    commits = 0
    sent = TransactionalCommitter._until_done

    def until_done(self: TransactionalCommitter, doing: str, call: Callable[[], Any], **options: Any) -> None:
        nonlocal commits
        sent(self, doing, call, **options)
        if doing == "sending offsets":
            commits += 1
            if commits == _DIES_AT and not mark.exists():
                mark.touch()
                self._producer.flush(10)
                os.kill(os.getpid(), signal.SIGKILL)

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
            mark.touch()
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


PROVOCATIONS: Mapping[str, Patch] = {"quiet": _nothing, "abort": _abort_every_fifth, "die": _die_once}

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
