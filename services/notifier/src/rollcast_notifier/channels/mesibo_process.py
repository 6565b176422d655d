# ruff: noqa: N802, FBT003  # the SDK's own names and signatures
"""The process in which mesibo's SDK runs: `mesibo_sdk.py` starts it and talks to it in JSON lines.

The SDK is native code that prints, ends its process on an unsupported platform or when a callback raises, and was seen
to die of a segmentation fault. None of that may touch the other channels and the console: hence a process.

In, on stdin: first `{"token", "app_id", "database"}`, then orders
`{"send": number, "to" | "group", "text", "expiry", "receipts"}`; the end of stdin is the end.
Out, on what was stdout: `{"problem"}` before it ends for a reason, `{"status"}`, `{"sent": number, "result", "mid"}` or
`{"sent": number, "error"}`,
`{"receipt": mid, "became"}`, `{"message": id, "from", "text"}`. What the SDK itself prints goes to stderr.
"""

import functools
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rollcast_notifier.channels.mesibo_import import import_mesibo

__all__: list[str] = []


class _Wire:
    """Lines to whoever started us, written in a thread of its own: a callback of the SDK never waits for a reader."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="wire", daemon=True)
        self._thread.start()

    def tell(self, **said: Any) -> None:
        self._lines.put(json.dumps(said).encode() + b"\n")

    def close(self) -> None:
        self._lines.put(None)
        self._thread.join(timeout=5)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                while line:
                    line = line[self._file.write(line) or 0 :]
            except OSError:  # whoever started us is gone: the end of stdin says so, too
                return


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started us
    wire = _Wire(os.dup(1))
    os.dup2(2, 1)
    orders = iter(sys.stdin.buffer.readline, b"")
    hello = json.loads(next(orders))
    try:
        sdk = import_mesibo(Path.cwd() / "sdk")
        api, listener = _signed_in(sdk, wire, **hello)
    except ImportError as error:
        wire.tell(problem=f"the SDK cannot be imported: {error}")
    except SystemExit as end:  # its way to say that it does not support this platform
        wire.tell(problem=f"the SDK gave up: {' '.join(str(end).split())}")
    else:
        for order in orders:
            _send(api, wire, json.loads(order))
        api.stop()
        del listener
    wire.close()
    # Not through the SDK's own farewell, whose threads may still call into Python.
    os._exit(0)


def _signed_in(sdk: Any, wire: _Wire, token: str, app_id: str, database: str) -> tuple[Any, Any]:
    api = sdk.getInstance()
    listener = _listener(sdk, wire)
    api.addListener(listener)
    if api.setAccessToken(token) in (sdk.MESIBO_RESULT_FAIL, -1):  # its documents compare with either
        raise SystemExit("it refused the user token")
    api.setAppName(app_id)  # 2.7.1 dies without it
    api.setDatabase(database, 0)
    api.start()
    return api, listener  # the SDK does not keep the listener alive


def _listener(sdk: Any, wire: _Wire) -> Any:
    """The SDK calls it from threads of its own, and for what we send from ours."""

    class Listener(sdk.MesiboListener):  # type: ignore[misc]  # the SDK has no types
        @_callback
        def Mesibo_onConnectionStatus(self, status: int) -> None:
            wire.tell(status=status)

        @_callback
        def Mesibo_onMessage(self, message: Any) -> None:
            # Also called for what we send, and for what the database has stored.
            if message.isIncoming() and message.isRealtimeMessage() and (text := _text_of(message)):
                wire.tell(message=f"{message.peer}/{message.mid}", **{"from": message.peer}, text=text)

        @_callback
        def Mesibo_onMessageStatus(self, message: Any) -> None:
            wire.tell(receipt=str(message.mid), became=message.getStatus())

        @_callback
        def Mesibo_onMessageUpdate(self, _message: Any) -> None:
            pass

        @_callback
        def Mesibo_onPresence(self, _presence: Any) -> None:
            pass

        @_callback
        def Mesibo_onEndToEndEncryption(self, _address: str, _status: int) -> None:
            pass

    return Listener()


def _callback(method: Callable[..., None]) -> Callable[..., int]:
    """What the SDK may call: it wants 0, and an exception would end the process (std::terminate)."""

    @functools.wraps(method)
    def called(*arguments: Any) -> int:
        try:
            method(*arguments)
        except Exception:  # noqa: BLE001  # as above
            traceback.print_exc()
        return 0

    return called


def _text_of(message: Any) -> str | None:
    """A plain message has its text in `data`, a rich one, with a file or a title, in `message`."""
    for text in (message.data, message.message):
        if text:
            try:
                return text.decode() if isinstance(text, bytes | bytearray) else str(text)
            except UnicodeDecodeError:  # no text: a picture, say
                return None
    return None


def _send(api: Any, wire: _Wire, order: dict[str, Any]) -> None:
    try:
        message = api.newGroupMessage(order["group"]) if "group" in order else api.newMessage(order["to"])
        message.message = order["text"]
        if "delivered" in order["receipts"]:
            message.enableDeliveryReceipt(True)
        if "read" in order["receipts"]:
            message.enableReadReceipt(True)
        if order["expiry"] is not None:
            message.setExpiry(order["expiry"])
        result, mid = message.send(), str(message.mid)
    except Exception as error:  # noqa: BLE001  # what native code cannot take must not end the process for all others
        wire.tell(sent=order["send"], error=f"{type(error).__name__}: {error}")
    else:
        wire.tell(sent=order["send"], result=result, mid=mid)


if __name__ == "__main__":
    main()
