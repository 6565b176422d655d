"""What a mesibo server knows: users, groups, messages and what became of them. No network here, and no thread.

The operations, their fields and their answers are those of the documented backend API. What mesibo does not document
(the answers to `usersget` and `groupgetmembers`, the names of errors other than BADOP) is of our own making: nothing
may depend on it.
"""

import itertools
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["MesiboWorld", "Message"]

SENT, DELIVERED, READ, INVALIDDEST, EXPIRED = 1, 2, 3, 0x83, 0x84

_LONGEST_ADDRESS = 63
_USERS_AT_ONCE = 20


@dataclass(frozen=True)
class Message:
    mid: int
    sender: str
    to: tuple[str, ...]
    """Addresses; of a group, its members without the sender."""
    gid: int
    text: str
    time: int
    """Milliseconds since the epoch."""
    expires: int | None


@dataclass
class User:
    uid: int
    address: str
    name: str = ""
    tokens: set[str] = field(default_factory=set)
    events: list[dict[str, Any]] = field(default_factory=list)
    """What their client has to be told, in order; it asks for what comes after a number."""


class Refusal(Exception):
    """Its text is the error that is answered."""


class MesiboWorld:
    def __init__(self, app_token: str, now: Callable[[], float] = time.time) -> None:
        self.messages: list[Message] = []
        """All that were ever accepted, oldest first."""
        self.users: dict[str, User] = {}
        self._app_token = app_token
        self._now = now
        self._groups: dict[int, set[str]] = {}
        self._senders: dict[int, str] = {}
        self._uids = itertools.count(5302)
        self._gids = itertools.count(102529)
        self._mids = itertools.count(1387628)
        self._operations = {
            "useradd": self._useradd,
            "usertoken": self._usertoken,
            "userdel": self._userdel,
            "usersget": self._usersget,
            "groupadd": self._groupadd,
            "groupeditmembers": self._groupeditmembers,
            "groupgetmembers": self._groupgetmembers,
            "message": self._message,
        }

    def operate(self, request: dict[str, Any], *, error: str | None = None) -> dict[str, Any]:
        """One operation of the backend API: its answer. With `error` it ends in that."""
        echo = {"op": request.get("op"), **({"id": request["id"]} if "id" in request else {})}
        operation = self._operations.get(str(request.get("op")))
        error = error or (None if operation else "BADOP")
        if error is None and request.get("token") != self._app_token:
            error = "BADTOKEN"
        if error is None and operation is not None:
            try:
                return {**operation(request), **echo, "result": True}
            except Refusal as refusal:
                error = str(refusal)
            except (KeyError, TypeError, ValueError, AttributeError):
                error = "BADREQUEST"
        return {**echo, "result": False, "error": error}

    def user_with(self, token: str) -> User | None:
        return next((user for user in self.users.values() if token in user.tokens), None)

    def accept(self, sender: str, wanted: dict[str, Any]) -> int:
        """A message is on its way: its mid. Raises Refusal."""
        gid = int(wanted.get("gid") or 0)
        addresses = _listed(wanted.get("to"))
        if gid:
            addresses += sorted(self._group(gid) - {sender})
        if not addresses:
            raise Refusal("INVALIDDEST")
        now = int(self._now() * 1000)
        expires = now + 1000 * int(wanted["expiry"]) if wanted.get("expiry") else None
        message = Message(next(self._mids), sender, tuple(addresses), gid, str(wanted["message"]), now, expires)
        self.messages.append(message)
        self._senders[message.mid] = sender
        self.report(message.mid, addresses[0], SENT)
        for address in addresses:
            if user := self.users.get(address):
                user.events.append({"kind": "message", "fetched": False, **asdict(message)})
            else:
                self.report(message.mid, address, INVALIDDEST)
        return message.mid

    def report(self, mid: int, peer: str, status: int) -> None:
        """Tell whoever sent a message what became of one copy of it."""
        if sender := self.users.get(self._senders.get(mid, "")):
            sender.events.append({"kind": "status", "mid": mid, "peer": peer, "status": status})

    def fetch(self, user: User, after: int) -> list[dict[str, Any]]:
        """What their client has not heard yet."""
        self.expire()
        events = user.events[after:]
        for event in events:
            event["fetched"] = True
        return events

    def expire(self) -> None:
        """What was not fetched in time never is. Clients ask for what comes after a number: its place is kept."""
        now = self._now() * 1000
        for user in self.users.values():
            for event in user.events:
                if event["kind"] == "message" and not event["fetched"] and event["expires"] and event["expires"] < now:
                    event["kind"] = "nothing"
                    self.report(event["mid"], user.address, EXPIRED)

    def _useradd(self, request: dict[str, Any]) -> dict[str, Any]:
        wanted = request["user"]
        address = str(wanted["address"])
        if not 0 < len(address) <= _LONGEST_ADDRESS:
            raise Refusal("BADADDRESS")
        user = self.users.get(address)
        if user is None:
            user = self.users[address] = User(next(self._uids), address)
        user.name = str(wanted.get("name", user.name))
        return {"user": {"uid": str(user.uid), **({"token": _new_token(user)} if "token" in wanted else {})}}

    def _usertoken(self, request: dict[str, Any]) -> dict[str, Any]:
        user = self._by_uid(request["user"]["uid"])
        return {"user": {"uid": str(user.uid), "token": _new_token(user)}}

    def _userdel(self, request: dict[str, Any]) -> dict[str, Any]:
        user = self._by_uid(request["user"]["uid"])
        del self.users[user.address]
        for members in self._groups.values():
            members.discard(user.address)
        return {}

    def _usersget(self, _request: dict[str, Any]) -> dict[str, Any]:
        users = list(self.users.values())[:_USERS_AT_ONCE]
        return {"users": [{"uid": str(user.uid), "address": user.address, "name": user.name} for user in users]}

    def _groupadd(self, request: dict[str, Any]) -> dict[str, Any]:
        gid = next(self._gids)
        self._groups[gid] = set(_members_in(request["group"]))
        return {"group": {"gid": gid}}

    def _groupeditmembers(self, request: dict[str, Any]) -> dict[str, Any]:
        group = request["group"]
        members, named = self._group(group["gid"]), _members_in(group)
        if group["members"].get("remove"):
            members.difference_update(named)
        else:
            members.update(named)
        return {"group": {"gid": int(group["gid"])}}

    def _groupgetmembers(self, request: dict[str, Any]) -> dict[str, Any]:
        gid = int(request["group"]["gid"])
        return {"group": {"gid": gid, "members": [{"address": address} for address in sorted(self._group(gid))]}}

    def _message(self, request: dict[str, Any]) -> dict[str, Any]:
        wanted = request["message"]
        if wanted["from"] not in self.users:
            raise Refusal("BADFROM")
        return {"mid": self.accept(wanted["from"], wanted)}

    def _by_uid(self, uid: Any) -> User:
        for user in self.users.values():
            if user.uid == int(uid):
                return user
        raise Refusal("BADUSER")

    def _group(self, gid: Any) -> set[str]:
        try:
            return self._groups[int(gid)]
        except KeyError:
            raise Refusal("BADGROUP") from None


def _listed(addresses: Any) -> list[str]:
    return [address.strip() for address in str(addresses or "").split(",") if address.strip()]


def _members_in(group: dict[str, Any]) -> list[str]:
    return _listed(group.get("members", {}).get("m"))


def _new_token(user: User) -> str:
    token = secrets.token_hex(32)
    user.tokens.add(token)
    return token
