"""The command `rollcast-notifier`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from rollcast_common.artifacts import S3Params, load_s3_params
from rollcast_common.kafka import load_kafka_params
from rollcast_common.logs import configure_logs
from rollcast_common.service import service_run
from rollcast_notifier.console.commands import console_token
from rollcast_notifier.management_commands import endpoints_app, groups_app
from rollcast_notifier.outbox_commands import held_app, outbox
from rollcast_notifier.rule_commands import check, test_rule
from rollcast_notifier.service import run_notifier
from rollcast_notifier.settings import NotifierSettings

__all__ = ["app"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Tells people what a stream's models predict, and brings their answers back.",
)
app.command()(check)
app.command()(test_rule)
app.command()(outbox)
app.add_typer(held_app, name="held")
app.command()(console_token)
app.add_typer(endpoints_app, name="endpoints")
app.add_typer(groups_app, name="groups")


@app.command()
def run(
    notifications: Annotated[
        Path,
        typer.Option(envvar="ROLLCAST_NOTIFICATIONS", help="notifications.yaml: the channels, and who gets told what."),
    ],
    outbox: Annotated[
        Path,
        typer.Option(
            envvar="ROLLCAST_OUTBOX", help="The SQLite file of what is to be sent; it must outlive the process."
        ),
    ] = Path("outbox.db"),
    installation: Annotated[str, typer.Option(envvar="ROLLCAST_INSTALLATION")] = "local",
    namespace: Annotated[str, typer.Option(envvar="ROLLCAST_NAMESPACE")] = "default",
    kafka_config: Annotated[
        Path | None,
        typer.Option(envvar="ROLLCAST_KAFKA_CONFIG", help="kafka_config.yaml; ROLLCAST_KAFKA_… variables override it."),
    ] = None,
    s3_config: Annotated[
        Path | None,
        typer.Option(envvar="ROLLCAST_S3_CONFIG", help="s3_config.yaml; ROLLCAST_S3_… variables override it."),
    ] = None,
    batch_rows: Annotated[
        int, typer.Option(envvar="ROLLCAST_BATCH_ROWS", help="Most predictions recorded at once.")
    ] = 2000,
    keep_days: Annotated[
        float,
        typer.Option(envvar="ROLLCAST_KEEP_DAYS", help="How long what was sent is remembered."),
    ] = 7.0,
    give_up_days: Annotated[
        float,
        typer.Option(envvar="ROLLCAST_GIVE_UP_DAYS", help="What could not be sent for so long has failed."),
    ] = 3.0,
    give_up_attempts: Annotated[
        int,
        typer.Option(
            envvar="ROLLCAST_GIVE_UP_ATTEMPTS", help="Tried so often, it has failed, if others on its channel arrive."
        ),
    ] = 20,
    console_host: Annotated[str, typer.Option(envvar="ROLLCAST_CONSOLE_HOST")] = "127.0.0.1",
    console_port: Annotated[
        int, typer.Option(envvar="ROLLCAST_CONSOLE_PORT", help="The web console; 0 takes a free port.")
    ] = 8080,
    console_users: Annotated[
        Path | None,
        typer.Option(envvar="ROLLCAST_CONSOLE_USERS", help="Who may enter the web console; without it there is none."),
    ] = None,
    console_hosts: Annotated[
        list[str] | None,
        typer.Option(
            "--console-name",
            envvar="ROLLCAST_CONSOLE_HOSTS",
            help="A name that the console is called by; repeatable. Requests to other names are refused.",
        ),
    ] = None,
    startup_timeout_seconds: Annotated[
        float,
        typer.Option(envvar="ROLLCAST_STARTUP_TIMEOUT_SECONDS", help="How long to look for Kafka before giving up."),
    ] = 10.0,
    metrics_host: Annotated[str, typer.Option(envvar="ROLLCAST_METRICS_HOST")] = "127.0.0.1",
    metrics_port: Annotated[
        int, typer.Option(envvar="ROLLCAST_METRICS_PORT", help="/metrics, /healthz, /readyz; 0 takes a free port.")
    ] = 9110,
    log_format: Annotated[str, typer.Option(envvar="ROLLCAST_LOG_FORMAT", help="json or console.")] = "json",
    log_level: Annotated[str, typer.Option(envvar="ROLLCAST_LOG_LEVEL")] = "info",
) -> None:
    """Run the notifier until SIGTERM or Ctrl-C; what was begun is finished and written down first.

    It reads `app_messages`, records what notifications.yaml selects in its outbox, and sends that. Example:

        ROLLCAST_KAFKA_SERVERS=localhost:9092 rollcast-notifier run --notifications notifications.yaml
    """
    with service_run("notifier", log_format) as (fmt, stopping):
        settings = NotifierSettings.from_mapping(
            {
                "notifications": notifications,
                "outbox": outbox,
                "installation": installation,
                "namespace": namespace,
                "batch_rows": batch_rows,
                "keep_days": keep_days,
                "give_up_days": give_up_days,
                "give_up_attempts": give_up_attempts,
                "console_host": console_host,
                "console_port": console_port,
                "console_users": console_users,
                "console_hosts": console_hosts or (),
                "startup_timeout_seconds": startup_timeout_seconds,
                "metrics_host": metrics_host,
                "metrics_port": metrics_port,
            },
            source="command line and environment",
        )
        configure_logs("notifier", fmt=fmt, level=log_level)
        run_notifier(settings, load_kafka_params(kafka_config), _s3(s3_config), stopping)


def _s3(config: Path | None) -> S3Params | None:
    """Models' cards lie there; without them people are told what is predicted all the same."""
    return load_s3_params(config) if config is not None or "ROLLCAST_S3_BUCKET" in os.environ else None


if __name__ == "__main__":
    app()
