"""Ctrl-C and SIGTERM end a run at once, in one line.

Not by KeyboardInterrupt: compiled code that is interrupted at the wrong moment swallows that exception and
goes on, or turns it into another (a boosted fit did both). And not in Python's own handler, which waits
until a long compiled call returns. Instead a thread waits for the signal's number on a pipe.
"""

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Leftovers", "ending_on_signals"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHELLS_OFFSET = 128
"""A shell expects 128 + the signal's number as exit code: 130 after Ctrl-C, 143 after SIGTERM."""


class Leftovers:
    """The folder to remove when a run ends early, while there is one."""

    def __init__(self) -> None:
        self.folder: Path | None = None

    def remove(self) -> None:
        for _ in range(3):  # the run is still writing
            if self.folder is not None and self.folder.exists():
                shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def ending_on_signals(line: Callable[[signal.Signals], bytes], leftovers: Leftovers) -> Iterator[None]:
    """On Ctrl-C or SIGTERM: remove what is left over, write `line(signal)` to stderr, and end the process.

    To be used in the main thread, as Python's signals are.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def wait() -> None:
        while number := os.read(reader, 1):
            if number[0] in _SIGNALS:
                leftovers.remove()
                os.write(2, line(signal.Signals(number[0])))  # sys.stderr may be in the middle of a line
                os._exit(_SHELLS_OFFSET + number[0])

    waiter = threading.Thread(target=wait, name="signals", daemon=True)
    waiter.start()
    # Python writes to the pipe only for signals that have a handler of Python's.
    handlers = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
    old_writer = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(old_writer)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(writer)
        waiter.join()
        os.close(reader)
