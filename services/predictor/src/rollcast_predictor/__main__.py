"""The command `rollcast-predictor`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from rollcast_common.artifacts import load_s3_params
from rollcast_common.kafka import load_kafka_params
from rollcast_common.logs import configure_logs
from rollcast_common.service import service_run
from rollcast_predictor.settings import PredictorSettings, default_cache_dir
from rollcast_predictor.slot import run_slot
from rollcast_predictor.supervisor import Control, streamer_command, supervise
from rollcast_predictor.zygote import shared_zygote

__all__ = ["app"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Scores the stream of a model's requests: exactly once, and swaps the model between two batches.",
)


@app.callback()
def _commands() -> None:
    """Keeps `run` a command of its own, also while it is the only one."""


@app.command()
def run(
    model: Annotated[str, typer.Option(envvar="ROLLCAST_MODEL", help="Name of the model to serve.")],
    ordinal: Annotated[
        int, typer.Option(envvar="ROLLCAST_ORDINAL", min=0, help="This slot's number among the model's slots.")
    ] = 0,
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
    guarantee: Annotated[
        str,
        typer.Option(
            envvar="ROLLCAST_GUARANTEE", help="exactly_once; at_least_once only on a broker without transactions."
        ),
    ] = "exactly_once",
    batch_rows: Annotated[int, typer.Option(envvar="ROLLCAST_BATCH_ROWS", help="Most rows in a transaction.")] = 2000,
    batch_interval_seconds: Annotated[
        float,
        typer.Option(
            envvar="ROLLCAST_BATCH_INTERVAL_SECONDS",
            help="Least time from one batch to the next that is not full.",
        ),
    ] = 0.01,
    batch_deadline_seconds: Annotated[
        float, typer.Option(envvar="ROLLCAST_BATCH_DEADLINE_SECONDS", help="A model that takes longer is restarted.")
    ] = 5.0,
    candidate_deadline_seconds: Annotated[
        float,
        typer.Option(
            envvar="ROLLCAST_CANDIDATE_DEADLINE_SECONDS",
            help="Once stable has answered, a candidate is waited for this long; three times too late, it goes back.",
        ),
    ] = 1.0,
    max_request_bytes: Annotated[
        int, typer.Option(envvar="ROLLCAST_MAX_REQUEST_BYTES", help="Larger requests become dead letters.")
    ] = 1_048_576,
    include_features: Annotated[
        bool,
        typer.Option("--features/--no-features", envvar="ROLLCAST_FEATURES", help="Let predictions carry features."),
    ] = True,
    host_memory_bytes: Annotated[
        int | None, typer.Option(envvar="ROLLCAST_HOST_MEMORY_BYTES", help="Most memory that a model may take.")
    ] = None,
    allow_pickle: Annotated[
        bool,
        typer.Option(
            "--allow-pickle", envvar="ROLLCAST_ALLOW_PICKLE", help="DANGER: a pickle runs any code when it is loaded."
        ),
    ] = False,
    trusted_type: Annotated[
        list[str] | None,
        typer.Option(envvar="ROLLCAST_TRUSTED_TYPES", help="A type of yours that a skops file may hold; repeatable."),
    ] = None,
    max_model_bytes: Annotated[
        int | None,
        typer.Option(
            envvar="ROLLCAST_MAX_MODEL_BYTES",
            help="Most that a skops file may unpack to; default 200 times its size, from 256 MiB to 8 GiB.",
        ),
    ] = None,
    verify_key: Annotated[
        Path | None,
        typer.Option(
            envvar="ROLLCAST_VERIFY_KEY", help="Public key (PEM); only models that its owner signed are served."
        ),
    ] = None,
    cache_dir: Annotated[
        Path | None, typer.Option(envvar="ROLLCAST_CACHE_DIR", help="Where model files are kept; default ~/.cache.")
    ] = None,
    startup_timeout_seconds: Annotated[
        float,
        typer.Option(envvar="ROLLCAST_STARTUP_TIMEOUT_SECONDS", help="How long to look for Kafka before giving up."),
    ] = 10.0,
    standby: Annotated[
        bool,
        typer.Option(
            "--standby/--no-standby",
            envvar="ROLLCAST_STANDBY",
            help="Keep a second streamer ready to take over at once; it costs memory.",
        ),
    ] = True,
    metrics_host: Annotated[str, typer.Option(envvar="ROLLCAST_METRICS_HOST")] = "127.0.0.1",
    metrics_port: Annotated[
        int, typer.Option(envvar="ROLLCAST_METRICS_PORT", help="/metrics, /healthz, /readyz; 0 takes a free port.")
    ] = 9108,
    log_format: Annotated[str, typer.Option(envvar="ROLLCAST_LOG_FORMAT", help="json or console.")] = "json",
    log_level: Annotated[str, typer.Option(envvar="ROLLCAST_LOG_LEVEL")] = "info",
) -> None:
    """Run one predictor slot until SIGTERM or Ctrl-C; what was begun is committed first.

    It serves what topic `assignments` says of its model: reads `requests`, writes `app_messages` and
    `dead_letters`. Example:

        ROLLCAST_KAFKA_SERVERS=localhost:9092 ROLLCAST_S3_BUCKET=models rollcast-predictor run --model wine-price
    """
    with service_run("predictor", log_format) as (fmt, stopping):
        settings = PredictorSettings.from_mapping(
            {
                "model": model,
                "ordinal": ordinal,
                "installation": installation,
                "namespace": namespace,
                "guarantee": guarantee,
                "batch_rows": batch_rows,
                "batch_interval_seconds": batch_interval_seconds,
                "batch_deadline_seconds": batch_deadline_seconds,
                "candidate_deadline_seconds": candidate_deadline_seconds,
                "max_request_bytes": max_request_bytes,
                "include_features": include_features,
                "host_memory_bytes": host_memory_bytes,
                "allow_pickle": allow_pickle,
                "trusted_types": tuple(trusted_type or ()),
                "max_model_bytes": max_model_bytes,
                "verify_key": verify_key,
                "cache_dir": cache_dir or default_cache_dir(),
                "startup_timeout_seconds": startup_timeout_seconds,
                "metrics_host": metrics_host,
                "metrics_port": metrics_port,
            },
            source="command line and environment",
        )
        configure_logs("predictor", fmt=fmt, level=log_level, slot=settings.slot)
        kafka, s3 = load_kafka_params(kafka_config), load_s3_params(s3_config)
        control = Control.inherited()
        if control is None:
            sys.exit(supervise(streamer_command(), standby=standby))
        shared_zygote()  # its imports are done when they are needed
        if not control.wait_for_go():
            return
        control.on_end(stopping.set)
        run_slot(settings, kafka, s3, stopping, on_serving=control.serving)


if __name__ == "__main__":
    app()
