"""Makes model hosts in milliseconds: a process that has scikit-learn imported and forks.

Importing it takes a second or two, which a stream would have to wait each time a model kills its host. The
zygote holds no model and no credential; its hosts share its memory as long as nobody writes to it. It ends, and
its hosts with it, when the streamer that it serves ends, however that ends.

A supervisor keeps a template, a zygote that serves nobody and is forked for each streamer: so a streamer that takes
over need not wait for the imports either, and several streamers share them.
"""

import atexit
import contextlib
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Literal

import msgspec

from rollcast_common.errors import RollcastError
from rollcast_predictor import host
from rollcast_predictor.wire import Channel, ChannelClosed, ChannelTimeout

__all__ = [
    "ZYGOTE_VARIABLE",
    "HostHandle",
    "Template",
    "Zygote",
    "ZygoteGone",
    "host_environment",
    "main",
    "shared_zygote",
]

ZYGOTE_VARIABLE = "ROLLCAST_ZYGOTE_FD"
"""Names the file descriptor of a streamer's socket to a zygote that its supervisor had forked for it."""

# All that a host is told of the environment: enough to find Python and its libraries, no credential.
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "TMPDIR", "TZ", "VIRTUAL_ENV")

_ANSWER_SECONDS = 60.0
"""The first answer waits for the imports, on a machine that may be busy."""


class ZygoteGone(RollcastError):
    retryable = True


class _Command(msgspec.Struct, frozen=True):
    """`fork` is followed by the host's end of a socket pair; `poll` and `kill` name a host by its pid."""

    do: Literal["fork", "poll", "kill"]
    pid: int = 0
    memory_bytes: int = 0
    search_path: list[str] = []
    """Where the host finds modules beyond our own: the streamer's PYTHONPATH."""


class _Answer(msgspec.Struct, frozen=True):
    """The pid of a new host; or the exit code of one, negative for a signal, None while it runs."""

    pid: int = 0
    exit_code: int | None = None


_answers = msgspec.msgpack.Decoder(_Answer)
_commands = msgspec.msgpack.Decoder(_Command)


def host_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Hosts run one thread each: several hosts with OpenMP teams of their own slow each other to a third."""
    passed_on = {name: environ[name] for name in _PASSED_ON if name in environ}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return passed_on | threads | {"PYTHONUNBUFFERED": "1"}


class HostHandle:
    """A host as its streamer sees it. Only the zygote may wait for it and signal it: it is its parent."""

    def __init__(self, zygote: "Zygote", pid: int) -> None:
        self._zygote = zygote
        self.pid = pid
        self._exit_code: int | None = None

    def exit_code(self) -> int | None:
        """None while it runs, negative when a signal ended it."""
        if self._exit_code is None:
            self._exit_code = self._zygote.ask(_Command("poll", pid=self.pid))
        return self._exit_code

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._exit_code is None:
            self._exit_code = self._zygote.ask(_Command("kill", pid=self.pid))


class Zygote:
    """The streamer's side. Used from several threads: the loader makes hosts while the loop looks after one."""

    def __init__(self, inherited: socket.socket | None = None) -> None:
        """Without a socket to one that was forked for us, one of our own is started."""
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        if inherited is None:
            inherited, theirs = socket.socketpair()
            with theirs:
                self._process = _start("serve", theirs)
        self._socket = inherited
        self._channel = Channel(inherited)
        self._is_gone = False

    @property
    def is_running(self) -> bool:
        return not self._is_gone and (self._process is None or self._process.poll() is None)

    def fork(self, end: socket.socket, *, memory_bytes: int | None) -> HostHandle:
        """A new host that serves the other side of `end`. Raises ZygoteGone."""
        with self._lock:
            search_path = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
            answer = self._exchange(_Command("fork", memory_bytes=memory_bytes or 0, search_path=search_path), end)
        return HostHandle(self, answer.pid)

    def ask(self, command: _Command) -> int | None:
        """The host's exit code; a host whose zygote is gone is gone with it."""
        try:
            with self._lock:
                return self._exchange(command, None).exit_code
        except ZygoteGone:
            return -signal.SIGKILL

    def _exchange(self, command: _Command, end: socket.socket | None) -> _Answer:
        try:
            self._channel.send(command, timeout_seconds=_ANSWER_SECONDS)
            if end is not None:
                socket.send_fds(self._socket, [b"f"], [end.fileno()])
            return self._channel.receive(_answers, timeout_seconds=_ANSWER_SECONDS)
        except (ChannelClosed, ChannelTimeout, OSError):
            self._is_gone = True
            raise ZygoteGone("the process that makes model hosts is gone") from None

    def close(self) -> None:
        """End it and every host of it."""
        self._socket.close()
        if self._process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5.0)
            return
        self._process.kill()
        self._process.wait()


class Template:
    """The supervisor's side. It costs nothing to ask for a zygote before the template is ready: it is waited for."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = _start("template", theirs)

    @property
    def pid(self) -> int:
        return self._process.pid

    def fork(self) -> socket.socket | None:
        """The streamer's end of a socket to a zygote of its own; None when the template is gone."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._socket, [b"z"], [theirs.fileno()])
            except OSError:
                ours.close()
                return None
        return ours

    def reaped(self, code: int) -> None:
        """Whoever waits for any child has waited for this one."""
        self._process.returncode = code
        self._socket.close()

    def close(self) -> None:
        """It ends; the zygotes that were forked from it end with their streamers."""
        self._socket.close()


def _start(role: Literal["serve", "template"], end: socket.socket) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603  # our own module
        [sys.executable, "-m", "rollcast_predictor.zygote", role, str(end.fileno())],
        pass_fds=(end.fileno(),),
        env=host_environment(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr.fileno(),  # a model that prints must not end up in somebody's data
    )


def _inherited() -> socket.socket | None:
    value = os.environ.pop(ZYGOTE_VARIABLE, None)
    return socket.socket(fileno=int(value)) if value else None


_shared: Zygote | None = None
_shared_lock = threading.Lock()


def shared_zygote() -> Zygote:
    """The one zygote of this process, started now if there is none, or none any more."""
    global _shared  # noqa: PLW0603  # one of a kind, like the process that it belongs to
    with _shared_lock:
        if _shared is None or not _shared.is_running:
            if _shared is not None:
                _shared.close()
            _shared = Zygote(_inherited())
            atexit.register(_shared.close)
        return _shared


def main(arguments: list[str]) -> None:
    """`python -m rollcast_predictor.zygote serve FD`: serve the streamer at file descriptor FD until it is gone.

    `template FD`: fork such a zygote for each socket that comes in at FD, until whoever sends them is gone.
    """
    # The streamer decides when this ends; what a terminal or an init system tells the whole group is for it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    host.import_libraries()
    gc.collect()
    gc.freeze()  # the collector of a host would write to every page that it shares with us
    role, control = arguments[0], socket.socket(fileno=int(arguments[1]))
    if role == "template":
        control = _next_streamer(control)
    children: set[int] = set()
    try:
        _serve(control, children)
    except ChannelClosed:
        for pid in children:
            os.kill(pid, signal.SIGKILL)


def _next_streamer(supervisor: socket.socket) -> socket.socket:
    """Returns in each child that is forked, with its streamer's socket; in the template itself never."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a zygote ended
    while True:
        said, descriptors, _, _ = socket.recv_fds(supervisor, 1, 1)
        if not said:
            os._exit(0)
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            supervisor.close()
            return socket.socket(fileno=descriptors[0])
        os.close(descriptors[0])


def _serve(control: socket.socket, children: set[int]) -> None:
    channel = Channel(control)
    exit_codes: dict[int, int] = {}
    while True:
        command = channel.receive(_commands)
        if command.do == "fork":
            _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
            pid = os.fork()
            if pid == 0:
                control.close()
                sys.path += [entry for entry in command.search_path if entry not in sys.path]
                _become_host(descriptors[0], command.memory_bytes)
            os.close(descriptors[0])
            children.add(pid)
            exit_codes.pop(pid, None)
            channel.send(_Answer(pid=pid))
            continue
        # Two threads may ask after one host. Once it was waited for, its pid may be anybody's.
        if command.pid in children:
            if command.do == "kill":
                os.kill(command.pid, signal.SIGKILL)
            reaped, status = os.waitpid(command.pid, 0 if command.do == "kill" else os.WNOHANG)
            if reaped:
                children.discard(command.pid)
                exit_codes[command.pid] = os.waitstatus_to_exitcode(status)
        channel.send(_Answer(exit_code=exit_codes.get(command.pid)))


def _become_host(file_descriptor: int, memory_bytes: int) -> None:
    """Never returns: what the zygote would do next is not a host's business."""
    code = 1
    try:
        host.serve(file_descriptor, memory_bytes)
        code = 0
    except SystemExit as asked:
        code = asked.code if isinstance(asked.code, int) else 1
    except BaseException as error:  # noqa: BLE001  # the exit code and this line are all that is left of it
        sys.stderr.write(f"model host: {type(error).__name__}: {error}\n")
    finally:
        os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
