"""Channel `mesibo-sdk`: a mesibo user of our own, through mesibo's SDK in a process beside us (`mesibo_process.py`).

Unlike the backend API it hears: whether a message was delivered and read, and what people write. A notification is
handed over only while the user is online: what waits, waits in our outbox, which outlives us, and not in the SDK's.
"""

import contextlib
import itertools
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import IO, Any

import structlog

from rollcast_common.errors import ConfigError
from rollcast_notifier.channels.channel import ChannelEvents, OutcomeUnknown, Refused, Sent, Throttled, Unavailable
from rollcast_notifier.channels.mesibo_backend import message_of
from rollcast_notifier.channels.mesibo_import import is_installed
from rollcast_notifier.channels.mesibo_status import ONLINE, RATELIMIT, SILENT, connection_problem, receipt_of
from rollcast_notifier.channels.secret_file import SecretFile
from rollcast_notifier.notification import Inbound, Notification, Receiver

__all__ = ["MesiboSdkChannel"]

_log = structlog.get_logger()

_PATIENCE_SECONDS = 60.0
"""Not online for so long: a fresh process begins anew, with the token that is in the file by then."""
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0
_ANSWER_SECONDS = 10.0
_STOP_SECONDS = 3.0
_NEWS_PAUSES_SECONDS = (0.2, 1.0, 5.0)
_ITS_OWN = (
    *("HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "TMPDIR", "TZ"),
    "ROLLCAST_EMBEDDED_MESIBO",  # for the demo's stand-in for the SDK
)
_NEWS_SECONDS = 5.0
"""For what was heard and is not recorded yet, at the end."""


class MesiboSdkChannel:
    """Raises ConfigError when the SDK is not installed or its folder cannot be made.

    `folder` holds the SDK's own database, which lets it know what it has received already.
    """

    def __init__(
        self,
        name: str,
        token: SecretFile,
        *,
        app_id: str,
        database: str,
        folder: Path,
        patience_seconds: float = _PATIENCE_SECONDS,
    ) -> None:
        if not is_installed():
            raise ConfigError(
                f"channel {name}: type mesibo-sdk needs the package mesibo, which has its own terms; "
                "install it with `pip install 'rollcast-notifier[mesibo]'`, or use type mesibo-backend"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"channel {name}: folder {folder} cannot be made: {error.strerror or error}") from None
        self.name = name
        self._token = token
        self._app_id = app_id
        self._database = database
        self._folder = folder
        self._patience_seconds = patience_seconds
        self._problem: str | None = "not started"
        self._silent = True
        self._events: ChannelEvents | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Future[dict[str, Any]]] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"channel-{name}", daemon=True)
        self._news: queue.SimpleQueue[partial[None] | None] = queue.SimpleQueue()
        self._teller = threading.Thread(target=self._tell_news, name=f"channel-{name}-news", daemon=True)

    @property
    def problem(self) -> str | None:
        return self._problem and f"mesibo SDK: {self._problem}"

    def start(self, events: ChannelEvents) -> None:
        self._events = events
        self._problem = "connecting"
        self._thread.start()
        self._teller.start()

    def stop(self) -> None:
        self._stopping.set()
        self._end_child()
        if self._thread.is_alive():
            self._thread.join()
        if self._teller.is_alive():
            self._news.put(None)
            self._teller.join(_NEWS_SECONDS)

    def send(self, notification: Notification) -> Sent:
        asked = message_of(notification, sender="", now=time.time())
        order = {
            **({"group": asked["gid"]} if "gid" in asked else {"to": asked["to"]}),
            "text": notification.text,
            "expiry": asked.get("expiry"),
            "receipts": sorted(notification.wants),
        }
        answer = self._answered(order)
        if "error" in answer:
            raise Refused(f"mesibo SDK: it cannot send this: {answer['error']}")
        result = answer["result"]
        if result == 0:
            return Sent(str(answer["mid"]))
        if result == RATELIMIT:
            raise Throttled("mesibo SDK: RATELIMIT: it wants fewer messages")
        if self._problem is not None:  # it went offline in between, and says so as if the message were wrong
            raise Unavailable(f"mesibo SDK: {self._problem}")
        raise Refused(f"mesibo SDK: it refused the message (result {result:#x})")

    def _answered(self, order: dict[str, Any]) -> dict[str, Any]:
        number, future = next(self._numbers), Future[dict[str, Any]]()
        with self._lock:
            if self._problem is not None or self._child is None:
                raise Unavailable(f"mesibo SDK: {self._problem or 'connecting'}")
            self._waiting[number] = future
            try:
                _tell(self._child, {"send": number, **order})
            except (OSError, ValueError):  # ValueError: its end has been told already
                del self._waiting[number]
                raise Unavailable("mesibo SDK: its process ended; it is started again") from None
        try:
            return future.result(timeout=_ANSWER_SECONDS)
        except TimeoutError:
            self._end_child()  # it hangs; a fresh one may not
            raise OutcomeUnknown(f"mesibo SDK: no answer within {_ANSWER_SECONDS:g} s") from None
        finally:
            with self._lock:
                self._waiting.pop(number, None)

    def _run(self) -> None:
        """One life of the process after the other."""
        pause = _FIRST_PAUSE_SECONDS
        while not self._stopping.is_set():
            was_online = False
            try:
                was_online = self._live()
            except (OSError, Unavailable) as error:  # it cannot be started, or its token cannot be read
                self._problem = str(error)
            if self._stopping.is_set():
                break
            pause = _FIRST_PAUSE_SECONDS if was_online else min(pause * 2, _LONGEST_PAUSE_SECONDS)
            _log.warning("mesibo SDK ended", channel=self.name, problem=self._problem, again_in_seconds=pause)
            self._stopping.wait(pause)
        self._problem = "stopped"

    def _live(self) -> bool:
        """Until the process ends: whether it ever was online."""
        token = self._token.read().get_secret_value()
        # -P: its working directory, where the SDK keeps its files, is no place to import from.
        command = [sys.executable, "-P", "-m", "rollcast_notifier.channels.mesibo_process"]
        child = subprocess.Popen(  # noqa: S603  # our own module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self._folder,
            env=_its_environment(),
        )
        assert child.stdout is not None  # noqa: S101  # asked for above
        assert child.stderr is not None  # noqa: S101  # asked for above
        words = threading.Thread(target=self._repeat, args=(child.stderr, token), daemon=True)
        words.start()
        patience = _Patience(self._patience_seconds, self._lose_patience)
        was_online = False
        self._silent = True
        with self._lock:
            self._child = child
        try:
            if self._stopping.is_set():
                self._end(child)
            else:
                with contextlib.suppress(OSError):
                    _tell(child, {"token": token, "app_id": self._app_id, "database": self._database})
            for line in child.stdout:
                if not line.endswith(b"\n"):  # its end came in the middle
                    break
                said = json.loads(line)
                if "status" in said:
                    self._silent = False
                    self._problem = connection_problem(said["status"])
                    was_online |= said["status"] == ONLINE
                    patience.reset(running=self._problem is not None)
                    _log.info("mesibo SDK", channel=self.name, status=said["status"], problem=self._problem)
                else:
                    self._hear(said)
        finally:
            patience.reset(running=False)
            self._bury(child)
            child.stdout.close()
            words.join()
        return was_online

    def _bury(self, child: subprocess.Popen[bytes]) -> None:
        self._end(child)
        with self._lock:
            self._child = None
            # SIGKILL is how we end one that hangs: then the problem is why we ended it.
            if child.returncode < 0 and (self._problem is None or child.returncode != -signal.SIGKILL):
                self._problem = f"its process died of signal {-child.returncode}; it is started again"
            elif self._problem is None:
                self._problem = "its process ended; it is started again"
            waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            future.set_exception(OutcomeUnknown("mesibo SDK: its process ended before it answered"))

    def _hear(self, said: dict[str, Any]) -> None:
        events = self._events
        assert events is not None  # noqa: S101  # start() has set it
        if "problem" in said:
            self._problem = said["problem"]
        elif "sent" in said:
            with self._lock:
                future = self._waiting.pop(said["sent"], None)
            if future is not None:
                future.set_result(said)
        elif "receipt" in said:
            if receipt := receipt_of(said["became"]):
                self._news.put(partial(events.receipt, self.name, said["receipt"], *receipt))
        elif "message" in said:
            sender = Receiver(self.name, said["from"])
            inbound = Inbound(said["message"], sender, said["text"], int(time.time() * 1000))
            self._news.put(partial(events.message, inbound))

    def _tell_news(self) -> None:
        """In a thread of its own: while a person's question is looked into, answers to `send` are still read.

        What was heard cannot be given back: what fails is tried again, and given up only for the sake of what follows.
        """
        while (news := self._news.get()) is not None:
            for pause in (*_NEWS_PAUSES_SECONDS, None):
                try:
                    news()
                    break
                except Exception:  # noqa: BLE001  # whatever the service's own code raises
                    _log.exception("an event was not taken", channel=self.name, again_in_seconds=pause)
                if pause is not None:
                    self._stopping.wait(pause)

    def _repeat(self, words: IO[bytes], token: str) -> None:
        """What the SDK prints is for whoever looks closely."""
        with words:
            for line in words:
                text = line.decode(errors="replace").strip().replace(token, "***")
                if text:
                    _log.debug("mesibo SDK prints", channel=self.name, text=text)

    def _lose_patience(self) -> None:
        if self._silent:
            self._problem = SILENT
        self._end_child()

    def _end_child(self) -> None:
        with self._lock:
            child = self._child
        if child is not None:
            self._end(child)

    def _end(self, child: subprocess.Popen[bytes]) -> None:
        """The end of its input is the end; but native code may hang."""
        with contextlib.suppress(OSError, ValueError):
            assert child.stdin is not None  # noqa: S101  # asked for when it was started
            child.stdin.close()
        try:
            child.wait(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


class _Patience:
    """Calls once when it has been running for so long."""

    def __init__(self, seconds: float, call: Any) -> None:
        self._seconds = seconds
        self._call = call
        self._timer: threading.Timer | None = None
        self.reset(running=True)

    def reset(self, *, running: bool) -> None:
        """Running on is not beginning again: a connection that comes and goes does not go on for ever."""
        if running and self._timer is None:
            self._timer = threading.Timer(self._seconds, self._call)
            self._timer.daemon = True
            self._timer.start()
        elif not running and self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _its_environment() -> dict[str, str]:
    """Not ours: Kafka's and S3's credentials may be in it, and none of them are the SDK's business."""
    return {name: value for name, value in os.environ.items() if name in _ITS_OWN or name.startswith("LC_")}


def _tell(child: subprocess.Popen[bytes], said: dict[str, Any]) -> None:
    """Raises OSError when it has ended, or is ended here because it hangs: a long text does not fit into the pipe."""
    assert child.stdin is not None  # noqa: S101  # asked for when it was started
    end = threading.Timer(_ANSWER_SECONDS, child.kill)
    end.daemon = True
    end.start()
    try:
        child.stdin.write(json.dumps(said).encode() + b"\n")
        child.stdin.flush()
    finally:
        end.cancel()
