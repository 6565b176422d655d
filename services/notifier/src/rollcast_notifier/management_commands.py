# ruff: noqa: FBT002, D301  # typer makes flags of booleans, and its \b is meant as a backspace
"""The commands `endpoints` and `groups`: mesibo's users and groups, without its console."""

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from rollcast_common.errors import ConfigError, RollcastError
from rollcast_notifier.channels.mesibo_api import HOSTED_URL, MesiboApi
from rollcast_notifier.channels.mesibo_backend import LONGEST_ADDRESS
from rollcast_notifier.channels.secret_file import SecretFile
from rollcast_notifier.management import Endpoint, MesiboManagement, WhoSends

__all__ = ["endpoints_app", "groups_app"]

_YEAR_MINUTES = 525_600
_WIDEST = 10_000

endpoints_app = typer.Typer(
    no_args_is_help=True,
    help="mesibo's users: whoever is to be reached needs one, and so does the notifier itself.",
    rich_markup_mode=None,
)
groups_app = typer.Typer(
    no_args_is_help=True,
    help="mesibo's groups: one notification to `mesibo:group:NUMBER` reaches every member.",
    rich_markup_mode=None,
)

_Url = Annotated[
    str, typer.Option(envvar="ROLLCAST_MESIBO_URL", help="The backend API: mesibo's own, or that of your own server.")
]
_TokenFile = Annotated[
    Path,
    typer.Option(
        envvar="ROLLCAST_MESIBO_TOKEN_FILE",
        help="A file with the app token, which the mesibo console shows. It may do everything: keep it from people.",
    ),
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
_AppId = Annotated[str, typer.Option(help="Which app the token is for, such as com.example.app.")]
_Minutes = Annotated[int, typer.Option(min=1, help="For how long the token is good. Default: a year.")]
_TokenOut = Annotated[
    Path | None, typer.Option(help="Write the token into this file, readable by you alone, and do not print it.")
]
_Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="Any unique text, such as an e-mail address.")]
_Uid = Annotated[int, typer.Argument(metavar="UID", help="The user's number, as `endpoints list` says.")]
_Gid = Annotated[int, typer.Argument(metavar="GROUP", help="The group's number, as `groups create` said.")]
_Members = Annotated[list[str], typer.Argument(metavar="ADDRESS...", help="The users' addresses.")]


@endpoints_app.command("create")
def create_endpoint(
    address: _Address,
    app_id: _AppId,
    token_file: _TokenFile,
    name: Annotated[str | None, typer.Option(help="How the user is called, for people.")] = None,
    token_minutes: _Minutes = _YEAR_MINUTES,
    token_out: _TokenOut = None,
    url: _Url = HOSTED_URL,
    as_json: _Json = False,
) -> None:
    """Make a user, or give one that is there a fresh token.

    \b
    The user that the notifier sends as, and the token for a channel of type mesibo-sdk:
      rollcast-notifier endpoints create rollcast --app-id com.example.app --token-out chat-token

    The token is a password: whoever has it reads and writes as that user.
    """
    with _management(url, token_file) as mesibo:
        _refuse_address(address)
        _refuse_existing(token_out)
        made = mesibo.create_endpoint(address, name=name, app_id=app_id, token_minutes=token_minutes)
        _show_endpoint(made, token_out, as_json=as_json)


@endpoints_app.command("token")
def renew_token(
    uid: _Uid,
    app_id: _AppId,
    token_file: _TokenFile,
    token_minutes: _Minutes = _YEAR_MINUTES,
    token_out: _TokenOut = None,
    url: _Url = HOSTED_URL,
    as_json: _Json = False,
) -> None:
    """Give a user a fresh token, before the old one expires.

    The notifier reads its token from its file again when mesibo rejects the one it has: replace the file, and wait.
    """
    with _management(url, token_file) as mesibo:
        _refuse_existing(token_out)
        _show_endpoint(mesibo.renew_token(uid, app_id=app_id, token_minutes=token_minutes), token_out, as_json=as_json)


@endpoints_app.command("delete")
def delete_endpoint(uid: _Uid, token_file: _TokenFile, url: _Url = HOSTED_URL) -> None:
    """Delete a user. Messages to their address are refused from then on."""
    with _management(url, token_file) as mesibo:
        mesibo.delete_endpoint(uid)
        typer.echo(f"deleted user {uid}")


@endpoints_app.command("list")
def list_endpoints(token_file: _TokenFile, url: _Url = HOSTED_URL, as_json: _Json = False) -> None:
    """Show the app's users; mesibo tells at most 20 of them."""
    with _management(url, token_file) as mesibo:
        _show_answer(mesibo.endpoints(), as_json=as_json)


@groups_app.command("create")
def create_group(
    name: Annotated[str, typer.Argument(metavar="NAME", help="How the group is called, for people.")],
    token_file: _TokenFile,
    members: Annotated[list[str] | None, typer.Argument(metavar="[ADDRESS...]", help="The first members.")] = None,
    sends: Annotated[WhoSends, typer.Option(help="Who may write to the group.")] = WhoSends.MEMBERS,
    round_robin: Annotated[
        bool, typer.Option("--round-robin", help="Each message reaches one member, in turn: a support desk.")
    ] = False,
    store: Annotated[bool, typer.Option(help="--no-store: who is offline misses what is sent meanwhile.")] = True,
    url: _Url = HOSTED_URL,
    as_json: _Json = False,
) -> None:
    """Make a group. The user that the notifier sends as must be a member, unless anyone may write.

    \b
      rollcast-notifier groups create "wine buyers" rollcast ann@example.com bob@example.com
    """
    with _management(url, token_file) as mesibo:
        for member in members or []:
            _refuse_address(member)
        gid = mesibo.create_group(name, members or [], who_sends=sends, round_robin=round_robin, store=store)
        if as_json:
            _print_json({"gid": gid})
        else:
            typer.echo(f"group {gid}; as a receiver in notifications.yaml: <channel>:group:{gid}")


@groups_app.command("add")
def add_members(group: _Gid, members: _Members, token_file: _TokenFile, url: _Url = HOSTED_URL) -> None:
    """Make users members of a group."""
    with _management(url, token_file) as mesibo:
        for member in members:
            _refuse_address(member)
        mesibo.add_members(group, members)
        typer.echo(f"group {group}: added {', '.join(members)}")


@groups_app.command("remove")
def remove_members(group: _Gid, members: _Members, token_file: _TokenFile, url: _Url = HOSTED_URL) -> None:
    """Take users out of a group."""
    with _management(url, token_file) as mesibo:
        for member in members:
            _refuse_address(member)
        mesibo.remove_members(group, members)
        typer.echo(f"group {group}: removed {', '.join(members)}")


@groups_app.command("members")
def group_members(group: _Gid, token_file: _TokenFile, url: _Url = HOSTED_URL, as_json: _Json = False) -> None:
    """Show a group's members."""
    with _management(url, token_file) as mesibo:
        _show_answer(mesibo.members(group), as_json=as_json)


@contextlib.contextmanager
def _management(url: str, token_file: Path) -> Iterator[MesiboManagement]:
    """What goes wrong is one line and exit code 1."""
    try:
        token = SecretFile(token_file, channel="mesibo", setting="--token-file")
        api = MesiboApi(url, token, what="--url")
        try:
            yield MesiboManagement(api)
        finally:
            api.close()
    except RollcastError as error:
        typer.echo(f"rollcast-notifier: error: {error}", err=True)
        raise typer.Exit(1) from None


def _refuse_address(address: str) -> None:
    if not address or "," in address or len(address) > LONGEST_ADDRESS:
        raise ConfigError(f"address was {address!r}, may have 1 to {LONGEST_ADDRESS} characters and no comma")


def _refuse_existing(token_out: Path | None) -> None:
    """Before mesibo has made a token that could then not be kept."""
    if token_out is not None and token_out.exists():
        raise ConfigError(f"--token-out {token_out} is there already; remove it, or name another file")


def _show_endpoint(endpoint: Endpoint, token_out: Path | None, *, as_json: bool) -> None:
    shown = {"uid": endpoint.uid, "address": endpoint.address, "token": endpoint.token}
    if token_out is not None:
        _write_privately(token_out, endpoint.token or "")
        shown["token"] = f"in {token_out}"
    if as_json:
        _print_json(shown)
    else:
        _print_table([{name: value for name, value in shown.items() if value}])
    if token_out is None:
        typer.echo(
            "The token is a password: whoever has it reads and writes as this user. Keep it in a secret; "
            "--token-out FILE does not print it.",
            err=True,
        )


def _write_privately(file: Path, text: str) -> None:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(text + "\n")
    except OSError as error:
        raise ConfigError(f"--token-out {file}: cannot be written: {error.strerror or error}") from None


def _show_answer(answer: dict[str, Any], *, as_json: bool) -> None:
    """A table of the first list of objects in it, wherever that is; all of it where there is none."""
    rows = _first_objects(answer)
    if as_json or rows is None:
        _print_json(answer)
    elif rows:
        _print_table(rows)
    else:
        typer.echo("none")


def _first_objects(value: Any) -> list[dict[str, Any]] | None:
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return value
    for part in value.values() if isinstance(value, dict) else ():
        if (found := _first_objects(part)) is not None:
            return found
    return None


def _print_table(rows: Sequence[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    names = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(*names, box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*(Text(str(row.get(name, ""))) for name in names))
    # As wide as its content, whatever the terminal: a token that is broken over two lines cannot be copied.
    console = Console(width=_WIDEST)
    console.width = console.measure(table).maximum
    console.print(table, soft_wrap=True)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))
