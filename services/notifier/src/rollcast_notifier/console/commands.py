"""What the command line can do for the console."""

from typing import Annotated

import typer

from rollcast_common.errors import ConfigError
from rollcast_notifier.console.users import new_token

__all__ = ["console_token"]


def console_token(user: Annotated[str, typer.Argument(help="The name that this person logs in with.")]) -> None:
    """Make a new token for a person to enter the web console with, and the lines of the users file for it."""
    try:
        made = new_token(user)
    except ConfigError as error:
        typer.echo(f"rollcast-notifier: error: {error}", err=True)
        raise typer.Exit(2) from None
    typer.echo(f"Token for {user}, shown only now:\n\n  {made.token}\n")
    typer.echo(f"In the users file, under `users:`\n\n{made.lines}")
