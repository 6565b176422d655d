"""`rollcast-notifier endpoints` and `groups`, against a server that speaks mesibo's documented backend API."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from tests.env.mesibo import APP_TOKEN, Faults, Mesibo, mesibo
from typer.testing import CliRunner, Result

from rollcast_cli.local.mesibo_person import Person
from rollcast_notifier.management_commands import endpoints_app, groups_app

app = typer.Typer()
app.add_typer(endpoints_app, name="endpoints")
app.add_typer(groups_app, name="groups")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mesibo]:
    with mesibo(tmp_path) as server:
        monkeypatch.setenv("ROLLCAST_MESIBO_URL", server.url)
        monkeypatch.setenv("ROLLCAST_MESIBO_TOKEN_FILE", str(server.app_token_file))
        yield server


def _run(*arguments: object, code: int = 0) -> Result:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == code, done.output
    assert APP_TOKEN not in done.output
    return done


def _created(address: str) -> dict[str, str]:
    done = _run("endpoints", "create", address, "--app-id", "com.example.app", "--json")
    created: dict[str, str] = json.loads(done.stdout)
    return created


def test_from_nothing_to_a_message_in_a_group(server: Mesibo) -> None:
    people = {address: Person(server.origin, _created(address)["token"]) for address in ("ann", "bob", "rollcast")}
    group = json.loads(_run("groups", "create", "wine buyers", "rollcast", "ann", "--json").stdout)["gid"]
    _run("groups", "add", group, "bob")
    people["rollcast"].send("first", gid=group)
    assert [len(people[address].look()) for address in ("ann", "bob")] == [1, 1]
    _run("groups", "remove", group, "bob", "rollcast")
    people["rollcast"].send("second", gid=group)
    assert [len(people[address].look()) for address in ("ann", "bob")] == [1, 0]
    assert json.loads(_run("groups", "members", group, "--json").stdout)["group"]["members"] == [{"address": "ann"}]


def test_a_token_is_not_broken_over_lines_and_its_warning_is_beside_it(server: Mesibo) -> None:
    done = _run("endpoints", "create", "ann@example.com", "--app-id", "com.example.app", "--name", "Ann")
    [token] = [word for word in done.stdout.split() if len(word) == 64]
    assert Person(server.origin, token).look() == []
    assert "The token is a password" in done.stderr
    assert "password" not in done.stdout


def test_a_token_goes_into_a_private_file_and_over_none(server: Mesibo, tmp_path: Path) -> None:
    file = tmp_path / "chat-token"
    done = _run("endpoints", "create", "ann", "--app-id", "com.example.app", "--token-out", file)
    token = file.read_text(encoding="utf-8").strip()
    assert token not in done.output
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert Person(server.origin, token).look() == []
    requests = server.requests
    again = _run("endpoints", "token", 5302, "--app-id", "com.example.app", "--token-out", file, code=1)
    assert "is there already" in again.stderr
    assert server.requests == requests, "a token was made and lost"


def test_a_fresh_token_works_and_a_deleted_user_is_gone(server: Mesibo) -> None:
    ann = _created("ann")
    fresh = json.loads(_run("endpoints", "token", ann["uid"], "--app-id", "com.example.app", "--json").stdout)
    assert fresh["token"] != ann["token"]
    assert Person(server.origin, fresh["token"]).look() == []
    _run("endpoints", "delete", ann["uid"])
    with pytest.raises(ValueError, match="AUTHFAIL"):
        Person(server.origin, fresh["token"]).look()


@pytest.mark.usefixtures("server")
def test_users_are_a_table_or_json() -> None:
    assert _run("endpoints", "list").stdout.strip() == "none"
    _created("ann")
    assert _run("endpoints", "list").stdout.split()[:3] == ["uid", "address", "name"]
    [user] = json.loads(_run("endpoints", "list", "--json").stdout)["users"]
    assert user["address"] == "ann"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("endpoints", "delete", 1), "userdel: BADUSER"),
        (("groups", "members", 7), "groupgetmembers: BADGROUP"),
        (("groups", "add", 7, "ann,bob"), "address was 'ann,bob', may have 1 to 63 characters and no comma"),
        (("endpoints", "create", "a" * 64, "--app-id", "x"), "may have 1 to 63 characters"),
        (("endpoints", "list", "--token-file", "/nowhere"), "--token-file /nowhere: no such file"),
        (("endpoints", "list", "--url", "http://example.com/"), "--url was http://example.com…, may be an https://"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("server")
def test_what_goes_wrong_is_one_line(arguments: tuple[object, ...], says: str) -> None:
    done = _run(*arguments, code=1)
    assert says in done.stderr
    assert done.stderr.startswith("rollcast-notifier: error: ")
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("faults", "says"),
    [
        (Faults(error="TOKENBREACH"), "the app was disabled"),
        (Faults(drop_answer=True), "look whether it was done before you try again"),
        (Faults(status=503), "answered 503"),
    ],
    ids=str,
)
def test_mesibo_s_faults_are_told(server: Mesibo, faults: Faults, says: str) -> None:
    server.faults = faults
    assert says in _run("endpoints", "create", "ann", "--app-id", "x", code=1).stderr


@pytest.mark.parametrize("command", ["endpoints create", "endpoints token", "groups create", "groups add"])
def test_the_help_needs_no_mesibo(command: str) -> None:
    assert "token-file" in _run(*command.split(), "--help").stdout
