# ruff: noqa: N802, ARG002, FBT001, SLF001  # the SDK's own names and signatures; one module that knows itself
"""Stands in for mesibo's SDK 2.x: its names, its statuses, its habits, on the embedded mesibo instead of mesibo's own.

Where this file's folder comes first on PYTHONPATH, `import mesibo` is this; ROLLCAST_EMBEDDED_MESIBO says where the
embedded server listens. Only what a notifier needs is here. As the real one it

- runs its listener in a thread of its own, and for what is sent in the sender's;
- calls `Mesibo_onMessage` for outgoing and for stored messages, too, with the text in `data`, not in `message`;
- takes every token, and tells with status AUTHFAIL when it was wrong, or when nobody is there;
- refuses to send before it has ever signed in, and queues when the connection is gone again;
- keeps in its database, a file in the working directory, what it has received.
"""

import json
import os
import random
import threading
import urllib.request
from pathlib import Path
from typing import Any

MESIBO_STATUS_ONLINE = 1
MESIBO_STATUS_OFFLINE = 2
MESIBO_STATUS_AUTHFAIL = 4
MESIBO_STATUS_STOPPED = 5
MESIBO_STATUS_CONNECTING = 6

MESIBO_MSGSTATUS_OUTBOX = 0
MESIBO_MSGSTATUS_SENT = 1
MESIBO_MSGSTATUS_DELIVERED = 2
MESIBO_MSGSTATUS_READ = 3
MESIBO_MSGSTATUS_RECEIVEDNEW = 0x12
MESIBO_MSGSTATUS_FAIL = 0x80

MESIBO_RESULT_OK = 0
MESIBO_RESULT_FAIL = 0x80
MESIBO_RESULT_BADREQ = 0x85

_AGAIN_SECONDS = 0.2
_WAIT_SECONDS = 2.0


class MesiboListener:
    """To be subclassed; every callback returns 0."""

    def Mesibo_onConnectionStatus(self, status: int) -> int:
        return 0

    def Mesibo_onMessage(self, message: "MesiboMessage") -> int:
        return 0

    def Mesibo_onMessageUpdate(self, message: "MesiboMessage") -> int:
        return 0

    def Mesibo_onMessageStatus(self, message: "MesiboMessage") -> int:
        return 0

    def Mesibo_onPresence(self, presence: object) -> int:
        return 0

    def Mesibo_onEndToEndEncryption(self, address: str, status: int) -> int:
        return 0


class MesiboMessage:
    def __init__(self, api: "Mesibo", peer: str | None, groupid: int) -> None:
        self._api = api
        self._status = MESIBO_MSGSTATUS_OUTBOX
        self._stored = False
        self._expiry: int | None = None
        self.mid = random.getrandbits(31)  # a name, not a secret
        self.uid = 0
        self.peer = peer
        self.groupid = groupid
        self.message: str | None = None
        self.data: str | bytes = b""

    def enableDeliveryReceipt(self, enable: bool) -> None:
        """Receipts always come here."""

    def enableReadReceipt(self, enable: bool) -> None:
        """Receipts always come here."""

    def setExpiry(self, seconds: int) -> None:
        self._expiry = seconds

    def send(self) -> int:
        return self._api._send(self)

    def isIncoming(self) -> bool:
        return self._status == MESIBO_MSGSTATUS_RECEIVEDNEW

    def isOutgoing(self) -> bool:
        return not self.isIncoming()

    def isRealtimeMessage(self) -> bool:
        return not self._stored

    def isDbMessage(self) -> bool:
        return self._stored

    def isGroupMessage(self) -> bool:
        return self.groupid != 0

    def getStatus(self) -> int:
        return self._status


class _NotThere(Exception):
    """The server, or the user of this token."""


class Mesibo:
    def __init__(self) -> None:
        self._listeners: list[MesiboListener] = []
        self._token = ""
        self._database = Path("mesibo.json")
        self._state: dict[str, Any] = {"heard": 0, "stored": [], "sent": {}}
        self._outbox: list[MesiboMessage] = []
        self._signed_in = False
        self._status = 0
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def addListener(self, listener: MesiboListener) -> int:
        self._listeners.append(listener)
        return MESIBO_RESULT_OK

    def setAccessToken(self, token: str) -> int:
        self._token = token
        return MESIBO_RESULT_OK

    def setAppName(self, name: str) -> None:
        """Any app will do."""

    def setDatabase(self, name: str, _reset: int) -> int:
        self._database = Path(f"{name}.json").absolute()
        if self._database.exists():
            self._state = json.loads(self._database.read_text(encoding="utf-8"))
        return MESIBO_RESULT_OK

    def start(self) -> int:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return MESIBO_RESULT_OK

    def stop(self) -> int:
        self._over.set()
        return MESIBO_RESULT_OK

    def reconnect(self) -> int:
        """It tries all the time."""
        return MESIBO_RESULT_OK

    def wait(self) -> None:
        self._over.wait()

    def getConnectionStatus(self) -> int:
        return self._status

    def newMessage(self, peer: str) -> MesiboMessage:
        return MesiboMessage(self, peer, 0)

    def newGroupMessage(self, gid: int) -> MesiboMessage:
        return MesiboMessage(self, None, gid)

    def _send(self, message: MesiboMessage) -> int:
        (message.message or "").encode()  # as the real one, which raises for half a character
        shown = MesiboMessage(self, message.peer, message.groupid)
        shown.mid, shown.data = message.mid, message.message or b""
        self._tell("Mesibo_onMessage", shown)
        with self._lock:
            if not self._signed_in:
                return MESIBO_RESULT_BADREQ
            self._outbox.append(message)
            try:
                self._empty_outbox()
            except _NotThere:
                self._turn(MESIBO_STATUS_OFFLINE)
        return MESIBO_RESULT_OK

    def _run(self) -> None:
        for stored in self._state["stored"]:
            self._tell("Mesibo_onMessage", self._received(stored, stored=True))
        while not self._over.is_set():
            try:
                self._hear(self._posted("events", after=self._state["heard"], wait_seconds=0))
                self._signed_in = True
                self._turn(MESIBO_STATUS_ONLINE)
                with self._lock:
                    self._empty_outbox()
                while not self._over.is_set():
                    self._hear(self._posted("events", after=self._state["heard"], wait_seconds=_WAIT_SECONDS))
            except _NotThere:
                self._turn(MESIBO_STATUS_OFFLINE if self._signed_in else MESIBO_STATUS_AUTHFAIL)
                self._over.wait(_AGAIN_SECONDS)

    def _hear(self, answer: dict[str, Any]) -> None:
        for event in answer["events"]:
            self._state["heard"] += 1
            if event["kind"] == "message":
                self._posted("got", mid=event["mid"])
                self._state["stored"].append(event)
                self._save()
                self._tell("Mesibo_onMessage", self._received(event, stored=False))
            elif event["kind"] == "status":
                self._save()
                message = MesiboMessage(self, event["peer"], 0)
                with self._lock:  # until a send has noted which is which
                    message.mid = self._state["sent"].get(str(event["mid"]), event["mid"])
                message._status = event["status"]
                self._tell("Mesibo_onMessageStatus", message)

    def _received(self, event: dict[str, Any], *, stored: bool) -> MesiboMessage:
        message = MesiboMessage(self, event["sender"], event["gid"])
        message.mid, message.data = event["mid"], event["text"]
        message._status, message._stored = MESIBO_MSGSTATUS_RECEIVEDNEW, stored
        return message

    def _empty_outbox(self) -> None:
        while self._outbox:
            message = self._outbox[0]
            sent = self._posted(
                "send", to=message.peer or "", gid=message.groupid, message=message.message, expiry=message._expiry
            )
            self._outbox.pop(0)
            if "mid" in sent:
                self._state["sent"][str(sent["mid"])] = message.mid
                self._save()
            else:
                message._status = MESIBO_MSGSTATUS_FAIL
                self._tell("Mesibo_onMessageStatus", message)

    def _turn(self, status: int) -> None:
        if status != self._status:
            self._status = status
            self._tell("Mesibo_onConnectionStatus", status)

    def _tell(self, callback: str, what: object) -> None:
        for listener in self._listeners:
            getattr(listener, callback)(what)

    def _save(self) -> None:
        with self._lock:
            part = self._database.with_suffix(".part")
            part.write_text(json.dumps(self._state), encoding="utf-8")
            part.replace(self._database)

    def _posted(self, what: str, **fields: Any) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310  # the loopback address of the embedded server
            f"{os.environ['ROLLCAST_EMBEDDED_MESIBO']}/people/{what}",
            json.dumps({"token": self._token, **fields}).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310  # as above
                answer: dict[str, Any] = json.load(response)
        except (OSError, ValueError) as error:
            raise _NotThere from error
        if answer.get("error") == "AUTHFAIL":
            raise _NotThere
        return answer


_instance: Mesibo | None = None
_instance_lock = threading.Lock()


def getInstance() -> Mesibo:
    """One a process, as in the SDK."""
    global _instance  # noqa: PLW0603  # a singleton is what it is
    with _instance_lock:
        if _instance is None:
            _instance = Mesibo()
        return _instance
