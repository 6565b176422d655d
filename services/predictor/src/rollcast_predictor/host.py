"""A model host: a process that holds one model and turns raw rows into encoded results.

It is forked from the zygote with one end of a socket pair and nothing else: no Kafka, no S3, no
credentials. Whatever the model does in here, raise, hang, leak, crash, the stream goes on.
"""

import contextlib
import ctypes
import os
import resource
import signal
import socket
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rollcast_common.errors import RollcastError
from rollcast_predictor.wire import Channel, ChannelClosed, Loaded, LoadModel, Refused, ScoreBatch, Scored

if TYPE_CHECKING:
    from rollcast_common.models.scoring import Scorer

__all__ = ["OUT_OF_MEMORY_EXIT_CODE", "import_libraries", "serve"]

_PR_SET_PDEATHSIG = 1

OUT_OF_MEMORY_EXIT_CODE = 71


class _OutOfMemory(BaseException):
    """Not an Exception: what is scored row by row after one would find no memory either."""


def _ending_without_memory(model: Any) -> Any:
    """The same predictor, except that a MemoryError is not an error of one row: a host that has leaked all that it
    may have would refuse every row after it, a fresh one will not.
    """

    class Predictor:
        def __getattr__(self, name: str) -> Any:
            return getattr(model, name)

        def predict(self, rows: Any) -> Any:
            try:
                return model.predict(rows)
            except MemoryError:
                raise _OutOfMemory from None

    Predictor.__name__ = type(model).__name__
    try:
        return Predictor() if callable(getattr(model, "predict", None)) else model
    except Exception:  # noqa: BLE001  # Scorer asks again, and says what is wrong
        return model


def import_libraries() -> None:
    """What every host needs, and what most models are made of: a second or two that are then behind us."""
    import sklearn.compose
    import sklearn.ensemble
    import sklearn.linear_model
    import sklearn.pipeline
    import sklearn.preprocessing  # noqa: F401  # for their side effect: they are loaded

    from rollcast_common.models import card, files, scoring  # noqa: F401  # the same


def serve(file_descriptor: int, memory_bytes: int) -> None:
    """Serve the streamer at `file_descriptor` until it closes its end; 0 `memory_bytes` is no limit."""
    _die_with_parent()
    if memory_bytes:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    # What a model warns about is no reason to fail a row, and no line per batch.
    warnings.simplefilter("ignore")
    channel = Channel(socket.socket(fileno=file_descriptor))
    try:
        with contextlib.suppress(ChannelClosed):
            _serve(channel)
    except (MemoryError, _OutOfMemory):
        os._exit(OUT_OF_MEMORY_EXIT_CODE)


def _serve(channel: Channel) -> None:
    order = channel.receive(msgspec.msgpack.Decoder(LoadModel))
    try:
        answer, scorer = _load(order)
    except RollcastError as error:
        channel.send(Refused(type(error).__name__, str(error)))
        return
    except (MemoryError, _OutOfMemory):
        channel.send(Refused("UnusableModel", f"{order.name}: does not fit into the host's memory limit"))
        return
    channel.send(answer)
    decoder = msgspec.msgpack.Decoder(ScoreBatch)
    while True:
        batch = channel.receive(decoder)
        started = time.monotonic()
        scored = scorer.score(batch.values)
        seconds = time.monotonic() - started
        errors = [(index, str(error.reason), error.message) for index, error in scored.errors.items()]
        channel.send(Scored(batch.sequence, scored.results, errors, seconds))


def _load(order: LoadModel) -> "tuple[Loaded, Scorer]":
    # Here, not at the top: the streamer imports this module for its constants, and has no use for scikit-learn.
    from rollcast_common.models.card import check_card_is_of, decode_card
    from rollcast_common.models.files import check_sklearn_version, load_model
    from rollcast_common.models.scoring import Scorer, check_golden_rows

    started = time.monotonic()
    card = None
    if order.card_path is not None:
        card = decode_card(Path(order.card_path).read_bytes(), source=order.name)
        check_card_is_of(card, order.sha256, source=order.name)
        if made_with := card.libraries.get("scikit-learn"):
            check_sklearn_version(made_with, order.name)
    model = load_model(
        Path(order.path),
        order.format,
        allow_pickle=order.allow_pickle,
        trusted_types=order.trusted_types,
        max_unpacked_bytes=order.max_unpacked_bytes,
    )
    loaded = time.monotonic()
    scorer = Scorer(_ending_without_memory(model), card.input if card else None)
    golden = list(card.golden_rows) if card else []
    if golden:
        check_golden_rows(scorer, golden)
        rows = [bytes(row.row) for row in golden]
        scorer.score((rows * (order.warm_rows // len(rows) + 1))[: order.warm_rows])
    else:
        scorer.score([b"{}"])
    estimator = type(model).__name__
    return Loaded(estimator, loaded - started, time.monotonic() - loaded, len(golden)), scorer


def _die_with_parent() -> None:
    """A hanging model would never notice that its streamer is gone; the kernel does. Linux only."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the call
            sys.exit(1)
