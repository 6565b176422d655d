"""The embedded mesibo as the demo starts it: a process on the loopback interface, people, and faults from outside."""

import json
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollcast_cli.local.mesibo_person import Person
from rollcast_cli.local.mesibo_world import MesiboWorld
from rollcast_cli.local.ports import accepts, free_ports
from rollcast_cli.local.processes import start, wait_until

APP_TOKEN = "the-app-token"


def _post(origin: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(f"{origin}{path}", json.dumps(body).encode())  # noqa: S310  # our own server
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  # as above
        said: dict[str, Any] = json.load(answer)
        return said


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[str]:
    file = tmp_path / "app-token"
    file.write_text(f"{APP_TOKEN}\n", encoding="utf-8")
    [port] = free_ports(1)
    child = start(
        [
            *(sys.executable, "-m", "rollcast_cli.local.embedded_mesibo"),
            *("--port", str(port), "--app-token-file", str(file)),
        ],
        role="mesibo (embedded)",
        log=tmp_path / "mesibo.log",
    )
    try:
        wait_until(lambda: accepts(port), what="the embedded mesibo", timeout_seconds=120, children=[child])
        yield f"http://127.0.0.1:{port}"
    finally:
        child.stop()
    assert (tmp_path / "mesibo.log").read_text(encoding="utf-8") == ""


def _person(origin: str, address: str) -> Person:
    user = {"address": address, "token": {"appid": "com.example.app", "expiry": 525600}}
    made = _post(origin, "/backend/", {"op": "useradd", "token": APP_TOKEN, "user": user})
    return Person(origin, made["user"]["token"])


def test_people_write_to_each_other_and_hear_what_became_of_it(origin: str) -> None:
    ann, bob = _person(origin, "ann"), _person(origin, "bob")
    mid = ann.send("are you there?", to="bob")
    assert bob.wait_for("there")["mid"] == mid
    bob.read(mid)
    ann.look(wait_seconds=5)
    assert ann.statuses == [(mid, "bob", 1), (mid, "bob", 2), (mid, "bob", 3)]


def test_faults_come_and_go(origin: str) -> None:
    ask = {"op": "usersget", "token": APP_TOKEN, "id": 7}
    assert _post(origin, "/backend/", ask) == {"users": [], "op": "usersget", "id": 7, "result": True}
    _post(origin, "/faults", {"error": "TOKENBREACH"})
    said = _post(origin, "/backend/", ask)
    assert said == {"op": "usersget", "id": 7, "result": False, "error": "TOKENBREACH"}
    _post(origin, "/faults", {})
    assert _post(origin, "/backend/", ask)["result"] is True


def test_the_documented_examples_are_answered_as_documented() -> None:
    world = MesiboWorld(APP_TOKEN)
    user = {"address": "xyz@example.com", "name": "User Name", "token": {"appid": "com.example.app", "expiry": 525600}}
    added = world.operate({"op": "useradd", "token": APP_TOKEN, "user": user})
    assert (added["op"], added["result"]) == ("useradd", True)
    assert added["user"].keys() == {"uid", "token"}
    assert added["user"]["uid"] == "5302"
    group = {"name": "g", "active": 1, "members": {"m": "xyz@example.com", "admin": {"owner": True}}}
    assert world.operate({"op": "groupadd", "token": APP_TOKEN, "group": group}) == {
        "group": {"gid": 102529},
        "op": "groupadd",
        "result": True,
    }
    message = {
        "from": "xyz@example.com",
        "to": "you,she,he",
        "gid": 102529,
        "type": 0,
        "expiry": 3600,
        "flags": None,
        "forced": True,
        "message": "text",
    }
    assert world.operate({"op": "message", "token": APP_TOKEN, "message": message}) == {
        "op": "message",
        "mid": 1387628,
        "result": True,
    }
    assert world.operate({"op": "someop"}) == {"op": "someop", "result": False, "error": "BADOP"}
