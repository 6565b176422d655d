"""mesibo's users and groups, through its backend API.

mesibo documents what these operations are asked with, but not what `usersget` and `groupgetmembers` answer: their
answers are handed on as they come.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from rollcast_common.errors import RollcastError
from rollcast_notifier.channels.channel import OutcomeUnknown, SendFailed
from rollcast_notifier.channels.mesibo_api import MesiboApi

__all__ = ["Endpoint", "ManagementFailed", "MesiboManagement", "WhoSends"]

_ROUND_ROBIN = 0x20
_NO_STORE = 0x40


class ManagementFailed(RollcastError):
    """mesibo did not do it, or nobody knows whether it did."""


class WhoSends(StrEnum):
    """Who may write to a group."""

    MEMBERS = "members"
    SELECTED = "selected"
    ANYONE = "anyone"

    @property
    def flag(self) -> int:
        return list(WhoSends).index(self)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A mesibo user. Whoever has `token` is that user."""

    uid: str
    address: str
    token: str | None


class MesiboManagement:
    """Each method is one operation, and raises ManagementFailed."""

    def __init__(self, api: MesiboApi) -> None:
        self._api = api

    def create_endpoint(self, address: str, *, name: str | None, app_id: str, token_minutes: int) -> Endpoint:
        """An address that exists already keeps its uid and gets a fresh token."""
        user: dict[str, Any] = {"address": address, "token": {"appid": app_id, "expiry": token_minutes}}
        if name is not None:
            user["name"] = name
        return _endpoint(self._call("useradd", user=user), address)

    def renew_token(self, uid: int, *, app_id: str, token_minutes: int) -> Endpoint:
        user = {"uid": uid, "token": {"appid": app_id, "expiry": token_minutes}}
        return _endpoint(self._call("usertoken", user=user), "")

    def delete_endpoint(self, uid: int) -> None:
        self._call("userdel", user={"uid": uid})

    def endpoints(self) -> dict[str, Any]:
        """At most 20, says mesibo."""
        return self._call("usersget")

    def create_group(
        self, name: str, members: Sequence[str], *, who_sends: WhoSends, round_robin: bool, store: bool
    ) -> int:
        """The group's number."""
        flags = who_sends.flag | (_ROUND_ROBIN if round_robin else 0) | (0 if store else _NO_STORE)
        group: dict[str, Any] = {"name": name, "flags": flags, "active": 1}
        if members:
            group["members"] = {"m": ",".join(members)}
        said = self._call("groupadd", group=group)
        try:
            return int(said["group"]["gid"])
        except (KeyError, TypeError, ValueError):
            raise ManagementFailed(
                "mesibo made the group, but did not say its number; see the mesibo console"
            ) from None

    def add_members(self, gid: int, members: Sequence[str]) -> None:
        self._call("groupeditmembers", group={"gid": gid, "members": {"m": ",".join(members)}})

    def remove_members(self, gid: int, members: Sequence[str]) -> None:
        self._call("groupeditmembers", group={"gid": gid, "members": {"m": ",".join(members), "remove": 1}})

    def members(self, gid: int) -> dict[str, Any]:
        return self._call("groupgetmembers", group={"gid": gid})

    def _call(self, op: str, **fields: Any) -> dict[str, Any]:
        try:
            return self._api.call(op, **fields)
        except OutcomeUnknown as unknown:
            raise ManagementFailed(f"{unknown}: look whether it was done before you try again") from None
        except SendFailed as failed:
            raise ManagementFailed(str(failed)) from None


def _endpoint(said: dict[str, Any], address: str) -> Endpoint:
    user = said.get("user")
    if not isinstance(user, dict) or "token" not in user:
        raise ManagementFailed("mesibo said yes, but gave no token; is the app active in the mesibo console?")
    return Endpoint(str(user.get("uid", "")), str(user.get("address", address)), str(user["token"]))
