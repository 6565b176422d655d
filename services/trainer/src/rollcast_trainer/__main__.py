"""Command `rollcast-trainer`. Heavy imports wait inside, so that help and mistakes are told at once."""

import contextlib
import json
import logging
import re
import signal
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import structlog
import typer

from rollcast_common.errors import ArtifactExists, ConfigError, RollcastError
from rollcast_common.logs import LogFormat, configure_logs
from rollcast_trainer.interruption import Leftovers, ending_on_signals
from rollcast_trainer.progress import Progress
from rollcast_trainer.settings import load_settings

if TYPE_CHECKING:
    from rollcast_trainer.training import Trained

__all__ = ["app"]

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

app = typer.Typer(
    name="rollcast-trainer",
    help="Fit scikit-learn models, put them on S3, and announce them on Kafka.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _commands() -> None:
    """Commands `fit` and `rows`."""


@app.command()
def fit(
    config: Annotated[Path, typer.Option(help="The training file: what to train on, what to predict, with what.")],
    data: Annotated[Path | None, typer.Option(help="CSV file, instead of the training file's dataset.csv.")] = None,
    version: Annotated[str | None, typer.Option(help="Name of this version. Default: the time now, in UTC.")] = None,
    kafka_config: Annotated[
        Path | None, typer.Option(help="kafka_config.yaml. Environment variables ROLLCAST_KAFKA_… go over it.")
    ] = None,
    s3_config: Annotated[
        Path | None, typer.Option(help="s3_config.yaml. Environment variables ROLLCAST_S3_… go over it.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder to leave model and card in, too.")] = None,
    publish: Annotated[
        bool,
        typer.Option("--publish/--no-publish", help="Upload and announce. --no-publish needs neither S3 nor Kafka."),
    ] = True,
    signing_key: Annotated[
        Path | None,
        typer.Option(envvar="ROLLCAST_SIGNING_KEY", help="Private key (PEM, elliptic curve) to sign the model with."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="Instead of split.seed.")] = None,
    log_format: Annotated[LogFormat, typer.Option(help="Lines for people, or JSON for machines.")] = "console",
) -> None:
    """Fit one model, measure it on rows it never saw, save it, and publish it.

    \b
    Try it without S3 and Kafka, on data that ships inside scikit-learn:
      rollcast-trainer fit --config examples/breast-cancer/train.yaml --no-publish --output /tmp/models

    \b
    Train on your own CSV file and publish:
      rollcast-trainer fit --config examples/wine-price/train.yaml --data wines_SPA.csv \\
        --kafka-config kafka_config.yaml --s3-config s3_config.yaml

    The model goes to S3 as models/<model>/<version>.skops, its card (inputs, figures, golden rows) beside
    it; then one message on topic train names both. Nothing is announced that is not fully uploaded.
    """  # \b keeps the lines of a paragraph as they are in the help
    if not publish and output is None:
        raise typer.BadParameter("needs --output DIR, or the model would go nowhere", param_hint="--no-publish")
    with _told_in_one_line(log_format) as (progress, leftovers):
        _run(
            config,
            data,
            version,
            kafka_config,
            s3_config,
            output,
            signing_key,
            seed,
            log_format,
            progress,
            leftovers,
            publish=publish,
        )


@app.command()
def rows(
    config: Annotated[Path, typer.Option(help="The training file whose data set is meant.")],
    output: Annotated[Path, typer.Option(help="Where to write them, as JSON lines.")],
    data: Annotated[Path | None, typer.Option(help="CSV file, instead of the training file's dataset.csv.")] = None,
    log_format: Annotated[LogFormat, typer.Option(help="Lines for people, or JSON for machines.")] = "console",
) -> None:
    """Write the rows of a data set as requests: one JSON object a line, every value a text.

    What a stream of them looks like to a predictor is what the model was trained on; try a model with them.

    \b
      rollcast-trainer rows --config examples/breast-cancer/train.yaml --output rows.jsonl
    """  # \b keeps the lines of a paragraph as they are in the help
    with _told_in_one_line(log_format) as (progress, _):
        settings = load_settings(config, data=data)
        with progress.step("reading"):
            from rollcast_trainer.datasets import read_dataset

            frame = read_dataset(settings.dataset).frame
        with progress.step("writing"), output.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in frame.to_dict("records"))


def _run(
    config: Path,
    data: Path | None,
    version: str | None,
    kafka_config: Path | None,
    s3_config: Path | None,
    output: Path | None,
    signing_key: Path | None,
    seed: int | None,
    log_format: LogFormat,
    progress: Progress,
    leftovers: Leftovers,
    *,
    publish: bool,
) -> None:
    settings = load_settings(config, data=data, seed=seed)
    now = datetime.now(UTC)
    named = version or now.strftime("%Y-%m-%dT%H%M%SZ")
    _check_version(named)
    if settings.dataset.csv is not None and not settings.dataset.csv.is_file():
        raise ConfigError(f"data file {settings.dataset.csv}: no such file; give --data, or correct dataset.csv")
    if output is not None:
        _check_output(output, named)

    with progress.step("loading"):  # scikit-learn, boto3: seconds on a cold machine
        from rollcast_trainer import publishing
        from rollcast_trainer.training import train

        signer = None
        if signing_key is not None:
            from rollcast_common.signing import Signer

            signer = Signer(signing_key)

    destination = None
    if publish:
        with progress.step("connecting") as notes:
            destination = publishing.connect(kafka_config, s3_config)
            if version is not None:
                publishing.check_version_is_free(destination.store, settings.model, version)
            notes.append(f"topic {destination.topic}, bucket {destination.store.bucket}")

    # Inside the output folder, so that a finished file is moved there in one step.
    with tempfile.TemporaryDirectory(prefix=".rollcast-", dir=output) as folder:
        leftovers.folder = Path(folder)
        trained = train(settings, version=named, now=now, folder=Path(folder), progress=progress)
        went: list[str] = []
        signature = None
        if signer is not None:
            with progress.step("signing"):
                signature = trained.model_path.with_name(f"{trained.model_path.name}.sig")
                signer.sign(trained.model_path, signature)
        if destination is not None:
            with progress.step("uploading"):
                uploaded = publishing.upload(destination.store, trained, signature)
            with progress.step("announcing"):
                publishing.announce(destination.kafka, publishing.event_for(trained.card, uploaded))
            went += [uploaded.model.uri, uploaded.card.uri]
            went += [uploaded.signature.uri] if uploaded.signature else []
            went += [f"announced on topic {destination.topic}"]
        progress.current = "finishing"
        if output is not None:
            for path in (trained.model_path, trained.card_path, *([signature] if signature else [])):
                went.append(str(path.replace(output / path.name)))
    _report(trained, went, log_format)


def _check_version(version: str) -> None:
    if not _VERSION.fullmatch(version):
        raise ConfigError(
            f"--version was {version!r}, may be letters, digits, '.', '_' and '-' "
            "(at most 128, beginning with a letter or digit)"
        )


def _check_output(output: Path, version: str) -> None:
    """Make the folder, and refuse to write over a version that is in it."""
    output.mkdir(parents=True, exist_ok=True)
    for name in (f"{version}.skops", f"{version}.card.json", f"{version}.skops.sig"):
        if (output / name).exists():
            raise ArtifactExists(f"{output / name} is there already; a version is written once: choose another")


def _report(trained: "Trained", went: list[str], log_format: LogFormat) -> None:
    card = trained.card
    if log_format == "console":
        from rollcast_trainer.report import print_report

        print_report(trained, "\n".join(went))
        return
    structlog.get_logger().info(
        "trained",
        model=card.model,
        version=card.version,
        sha256=card.artifact_sha256,
        size_bytes=card.artifact_size_bytes,
        rows=card.data.rows,
        unique_rows=card.data.unique_rows,
        train_rows=card.data.train_rows,
        test_rows=card.data.test_rows,
        metrics=card.metrics,
        baseline_metrics=card.baseline_metrics,
        went=went,
    )


@contextlib.contextmanager
def _told_in_one_line(log_format: LogFormat) -> Iterator[tuple[Progress, Leftovers]]:
    """What a user can cause ends in one line and an exit code: 1 for an error, 130 for Ctrl-C."""
    configure_logs("rollcast-trainer", fmt=log_format, level="info" if log_format == "json" else "error")
    if log_format == "console":
        # librdkafka tells every failed attempt to connect; our own line says it once.
        logging.getLogger("rollcast.kafka").setLevel(logging.CRITICAL)
    progress, leftovers = Progress(log_format), Leftovers()
    with ending_on_signals(lambda number: _last_words(number, progress.current, log_format), leftovers):
        try:
            yield progress, leftovers
        except RollcastError as error:
            _tell(f"error: {error}", log_format)
            raise typer.Exit(1) from None
        except OSError as error:  # a full disk, a folder that may not be written
            where = f"{error.filename}: " if error.filename else ""
            _tell(f"error: {where}{error.strerror or error} (while {progress.current})", log_format)
            raise typer.Exit(1) from None


def _tell(text: str, log_format: LogFormat) -> None:
    line = " ".join(text.split())
    if log_format == "json":
        structlog.get_logger().error(line)
    else:
        sys.stderr.write(f"rollcast-trainer: {line}\n")


def _last_words(number: signal.Signals, step: str, log_format: LogFormat) -> bytes:
    """Without the logger, whose locks may be held by what is being interrupted."""
    verb = "interrupted" if number == signal.SIGINT else "terminated"
    text = f"{verb} while {step}; {_left_behind(step)}"
    if log_format == "json":
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        entry = {"event": text, "level": "error", "service": "rollcast-trainer", "timestamp": now}
        return json.dumps(entry).encode() + b"\n"
    # On a terminal the spinner's line is erased, and the cursor that it hid shown.
    wipe = "\r\x1b[2K\x1b[?25h" if sys.stderr.isatty() else ""
    return f"{wipe}rollcast-trainer: {text}\n".encode()


def _left_behind(step: str) -> str:
    if step == "uploading":
        return "nothing was announced; what was uploaded lies unused"
    if step == "announcing":
        return "the model is uploaded, but may not have been announced: look at topic train"
    if step == "finishing":
        return "the model was made and, unless --no-publish was given, published"
    return "nothing was published"


if __name__ == "__main__":
    app()
