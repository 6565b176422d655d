"""Free TCP ports on the loopback interface."""

import contextlib
import fcntl
import os
import secrets
import socket
import tempfile
import threading
from pathlib import Path

from rollcast_common.errors import ConfigError, RollcastError

__all__ = ["accepts", "check_free", "free_ports"]

# Below the range from which Linux and macOS take the ports of outgoing connections: a client that keeps trying a
# killed broker's port would else sooner or later connect to itself and so keep the broker from having it back.
_FIRST, _LAST = 15_000, 32_000
_TRIES = 1_000


class _Promised:
    """The ports that were given away on this machine: one byte each of a file that all processes of a user lock.

    The kernel takes a lock back when its process ends, however it does.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._own: set[int] = set()
        self._file: int | None = None

    def take(self, port: int) -> bool:
        """Whether nobody had it. Where no file can be locked, only this process is asked."""
        with self._lock:
            if port in self._own:  # a process is never in the way of itself
                return False
            try:
                if self._file is None:
                    # Never closed: that would give all locks back.
                    path = Path(tempfile.gettempdir()) / f"rollcast-ports-{os.getuid()}"
                    self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            except BlockingIOError:
                return False
            except OSError:
                pass
            self._own.add(port)
            return True


_promised = _Promised()


def free_ports(count: int) -> list[int]:
    """Different ports that nobody listens on now, and that nobody else is given while this process lives.

    A server takes seconds to start: until then its port looks as free as before. Raises RollcastError when there are
    none.
    """
    with contextlib.ExitStack() as held:  # all stay bound until all are found, so they differ
        found: list[int] = []
        for _ in range(_TRIES):
            if len(found) == count:
                return found
            port = _FIRST + secrets.randbelow(_LAST - _FIRST)
            listener = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                listener.bind(("127.0.0.1", port))
                if _promised.take(port):
                    found.append(port)
    raise RollcastError(f"no free port between {_FIRST} and {_LAST} on 127.0.0.1")


def check_free(port: int) -> None:
    """Before a server is started there: else another's answer would pass for its own. Raises ConfigError."""
    if accepts(port):
        raise ConfigError(f"127.0.0.1:{port} is taken: another process listens there; choose another port")


def accepts(port: int) -> bool:
    """Whether somebody listens on 127.0.0.1:port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
