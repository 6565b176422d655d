"""Free TCP ports on the loopback interface."""

import contextlib
import secrets
import socket

from rollcast_common.errors import ConfigError, RollcastError

__all__ = ["accepts", "check_free", "free_ports"]

# Below the range from which Linux and macOS take the ports of outgoing connections: a client that keeps trying a
# killed broker's port would else sooner or later connect to itself and so keep the broker from having it back.
_FIRST, _LAST = 15_000, 32_000
_TRIES = 1_000


def free_ports(count: int) -> list[int]:
    """Different ports that nobody listens on now. Raises RollcastError when there are none."""
    with contextlib.ExitStack() as held:  # all stay bound until all are found, so they differ
        found: list[int] = []
        for _ in range(_TRIES):
            if len(found) == count:
                return found
            port = _FIRST + secrets.randbelow(_LAST - _FIRST)
            listener = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                listener.bind(("127.0.0.1", port))
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
