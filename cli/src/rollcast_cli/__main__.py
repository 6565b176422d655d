"""The command `rollcast`."""

import json
import os
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from rollcast_cli import acls
from rollcast_cli.connection import connect
from rollcast_cli.console import Steps, one_line_errors, print_json, view_line, view_table
from rollcast_cli.rolling_commands import register

if TYPE_CHECKING:
    from rollcast_cli.dead_letters import Letter
    from rollcast_common.kafka import KafkaParams

__all__ = ["app"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Serve scikit-learn models on Kafka streams: everything on one machine, and the tools to look into it.",
    epilog="Begin with `rollcast demo`, or `rollcast up` in one terminal and `rollcast tail` in another.",
)
topics_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Create and list Rollcast's topics.")
app.add_typer(topics_app, name="topics")

dead_letters_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Records that got no prediction: list, show, send again."
)
app.add_typer(dead_letters_app, name="dead-letters")

KafkaConfig = Annotated[
    Path | None,
    typer.Option(
        envvar="ROLLCAST_KAFKA_CONFIG", help="kafka_config.yaml of the Kafka to use; default: the local stack's."
    ),
]
BrokerKind = Annotated[
    str,
    typer.Option(
        envvar="BROKER", help="auto: Apache Kafka where Java and Maven work, else embedded; or kafka, embedded."
    ),
]
TrainConfig = Annotated[
    Path | None, typer.Option(help="Training file; default: the wine prices if WINES is there, else breast-cancer.")
]
Data = Annotated[Path | None, typer.Option(help="CSV for the training file, instead of the one that it names.")]


@app.command()
def up(
    train_config: TrainConfig = None,
    data: Data = None,
    broker: BrokerKind = "auto",
    slots: Annotated[int, typer.Option(min=1, max=16, help="Predictor slots.")] = 2,
    rate: Annotated[float, typer.Option(min=0, help="Requests a second to stream; 0: none.")] = 100.0,
    bad_every: Annotated[int, typer.Option(min=0, help="Plant a bad record every so many; 0: none.")] = 100,
    train: Annotated[bool, typer.Option("--train/--no-train", help="Train and publish a first model.")] = True,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="DANGER: let model files run code when they are loaded.")
    ] = False,
    rollout: Annotated[
        Path | None, typer.Option(help="YAML, spec.rollout of the models that are announced; default: its defaults.")
    ] = None,
    notifications: Annotated[
        Path | None, typer.Option(help="notifications.yaml: who gets told what; default: a small one of its own.")
    ] = None,
) -> None:
    """Run broker, S3, predictors and a stream of requests on this machine, until Ctrl-C.

    \b
    Then, in another terminal:
      rollcast status         what runs and what it serves
      rollcast tail           predictions as they come
      rollcast predict ROW    ask for one yourself (a row to try is printed here)
      rollcast get -w         follow rollouts
      rollcast apply -f FILE  roll a model of yours out
      rollcast down           end it from there
      eval $(rollcast env)    point rollcast-trainer and others at this stack
    \b
    A rollout of a minute:
      echo '{shadow: {forSeconds: 10}, steps: [{weight: 25, forSeconds: 20}, {weight: 50}]}' > quick.yaml
      rollcast up --rollout quick.yaml
    """
    from rollcast_cli.examples import find_example
    from rollcast_cli.local.brokers import choose_broker
    from rollcast_cli.local.stack import LocalStack, StackOptions
    from rollcast_cli.local.state import StateFolder
    from rollcast_cli.rolling.template import load_rollout
    from rollcast_cli.stream_source import read_rows

    steps = Steps()
    with one_line_errors():
        template = load_rollout(rollout) if rollout is not None else {}
        example = find_example(train_config, data)
        steps.say(example.why)
        choice = choose_broker(broker, progress=steps.say)
        steps.say(choice.reason)
        slot_arguments = ("--allow-pickle",) if allow_pickle else ()
        options = StackOptions(example.model, slots, slot_arguments, template, notifications)
        with LocalStack(StateFolder(), choice, options, steps.say) as stack:
            if train:
                version = stack.train(example.config, example.data)
                stack.wait_for_version(version)
            rows = stack.request_rows(example.config, example.data)
            if rate > 0:
                stack.start_source(rows, rate=rate, bad_every=bad_every)
                steps.say(f"streaming {rate:g} requests a second")
            steps.say(
                "up; Ctrl-C ends it. In another terminal: rollcast status, rollcast tail, rollcast get -w, "
                "rollcast apply -f FILE, or"
            )
            sys.stdout.write(f"rollcast predict {shlex.quote(read_rows(rows)[0].decode())}\n")
            sys.stdout.flush()
            while True:
                stack.check()
                time.sleep(0.2)


@app.command()
def down() -> None:
    """End the local stack: what Ctrl-C does in the terminal of `rollcast up`."""
    from rollcast_cli.local.state import StateFolder

    with one_line_errors():
        StateFolder().stop_stack(timeout_seconds=60)


@app.command()
def demo(
    train_config: TrainConfig = None,
    data: Data = None,
    broker: BrokerKind = "auto",
    slots: Annotated[int, typer.Option(min=1, max=16, help="Predictor slots.")] = 2,
    rate: Annotated[float, typer.Option(min=1, help="Requests a second.")] = 500.0,
    bad_every: Annotated[int, typer.Option(min=0, help="Plant a bad record every so many; 0: none.")] = 100,
    before_seconds: Annotated[float, typer.Option(min=0, help="Traffic before the second model is trained.")] = 6.0,
    after_seconds: Annotated[float, typer.Option(min=0, help="Traffic after it has taken over.")] = 6.0,
) -> None:
    """Train, publish, stream, train again under traffic, and count: was anything lost or doubled?

    On a terminal it streams on until Ctrl-C and then reports; elsewhere it ends by itself. The exit code is 0
    only if every request was answered exactly once and every record planted as bad came back as a dead letter.
    """
    from rollcast_cli.demo import DemoOptions, run_demo
    from rollcast_cli.examples import find_example
    from rollcast_cli.local.state import StateFolder

    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    with one_line_errors():
        options = DemoOptions(broker, slots, rate, bad_every, before_seconds, after_seconds)
        if not run_demo(find_example(train_config, data), options, StateFolder(), console):
            raise typer.Exit(1)


@app.command()
def tail(
    kafka_config: KafkaConfig = None,
    seconds: Annotated[float, typer.Option(min=0, help="End after so long; 0: at Ctrl-C.")] = 0,
) -> None:
    """Watch predictions as they are committed: by model version, how many, how fast, how late.

    Latency is from the request's timestamp to its arrival here, over the last 5 seconds.
    """
    from rollcast_cli.results import ResultReader
    from rollcast_common.kafka import reach_broker

    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    with one_line_errors():
        connection = connect(kafka_config, environ=dict(os.environ))
        reach_broker(connection.kafka, client_id="rollcast-tail")
        end = time.monotonic() + seconds if seconds else float("inf")
        with ResultReader(connection.kafka) as reader:
            try:
                if console.is_terminal:
                    with Live(console=console, auto_refresh=False) as live:
                        while time.monotonic() < end:
                            reader.check()
                            title = f"predictions on {connection.kafka.topics.full('app_messages')} (Ctrl-C ends)"
                            live.update(view_table(reader.views(), reader.dead_letters(), title), refresh=True)
                            time.sleep(0.25)
                else:
                    while time.monotonic() < end:
                        reader.check()
                        console.print(view_line(reader.views(), reader.dead_letters()))
                        time.sleep(min(1.0, max(0.0, end - time.monotonic())))
            except KeyboardInterrupt:
                return


@app.command()
def status(
    kafka_config: KafkaConfig = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show what runs, which model every slot serves, and what the topics hold."""
    from rollcast_cli.status import collect_status, status_tables

    with one_line_errors():
        collected = collect_status(connect(kafka_config, environ=dict(os.environ)))
        if as_json:
            print_json(collected)
            return
        console = Console(highlight=False)
        for table in status_tables(collected):
            console.print(table)


@app.command()
def predict(
    row: Annotated[str, typer.Argument(help="Features, a JSON object; - reads it from standard input.")],
    key: Annotated[str | None, typer.Option(help="The entity's key; default: one of its own.")] = None,
    model: Annotated[str | None, typer.Option(help="Only this model shall answer.")] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for the answer.")] = 10.0,
    kafka_config: KafkaConfig = None,
) -> None:
    """Send one request and print its prediction as JSON.

    \b
    Example:
      rollcast predict '{"winery": "Artadi", "wine": "Vina El Pison", "year": "2018", "rating": "4.9",
                         "num_reviews": "31", "region": "Vino de Espana", "type": "Tempranillo"}'
    """
    from rollcast_cli.asking import ask

    with one_line_errors():
        connection = connect(kafka_config, environ=dict(os.environ))
        text = sys.stdin.read() if row == "-" else row
        print_json(ask(connection.kafka, text, key=key, model=model, timeout_seconds=timeout))


@app.command()
def env() -> None:
    """Print the local stack's settings as shell exports: `eval $(rollcast env)`."""
    from rollcast_cli.local.stack import stack_environment
    from rollcast_cli.local.state import StateFolder

    with one_line_errors():
        stack = StateFolder().read_stack()
        for name, value in stack_environment(stack).items():
            sys.stdout.write(f"export {name}={shlex.quote(value)}\n")


@topics_app.command("create")
def topics_create(
    kafka_config: KafkaConfig = None,
    partitions: Annotated[int, typer.Option(min=1, help="Of every topic whose order is by key.")] = 6,
    replication: Annotated[int, typer.Option(min=-1, help="Replicas; -1: the broker's default.")] = -1,
) -> None:
    """Create what is missing of Rollcast's topics; what is there is left as it is."""
    from rollcast_common.kafka import ErrorWatch, create_topics, make_admin, reach_broker, topic_specs

    with one_line_errors():
        kafka = connect(kafka_config, environ=dict(os.environ)).kafka
        reach_broker(kafka, client_id="rollcast-topics")
        servers = kafka.broker.servers
        admin = make_admin(kafka, ErrorWatch(servers), client_id="rollcast-topics")
        specs = topic_specs(kafka.topics, partitions=partitions)
        for name, created in create_topics(admin, specs, replication=replication, servers=servers).items():
            sys.stdout.write(f"{name}: {'created' if created else 'exists'}\n")


@topics_app.command("list")
def topics_list(kafka_config: KafkaConfig = None) -> None:
    """List Rollcast's topics with their partitions and how far they go."""
    from rollcast_cli.status import collect_status, status_tables

    with one_line_errors():
        collected = collect_status(connect(kafka_config, environ=dict(os.environ)))
        Console(highlight=False).print(status_tables(collected)[-1])


register(app)
acls.register(app)


Reason = Annotated[list[str] | None, typer.Option("--reason", help="Only these reasons; repeatable.")]
OfModel = Annotated[str | None, typer.Option("--model", help="Only those that this model refused.")]
OfVersion = Annotated[str | None, typer.Option("--version", help="Only those that this version refused.")]
Since = Annotated[str | None, typer.Option(help="Only younger ones: 90s, 10m, 2h, 1d, or a date and time.")]


@dead_letters_app.command("list")
def dead_letters_list(
    reason: Reason = None,
    model: OfModel = None,
    version: OfVersion = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="The youngest so many.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: all that is known, as JSON lines.")] = False,
    kafka_config: KafkaConfig = None,
) -> None:
    """List dead letters, oldest first, with why each got no prediction."""
    with one_line_errors():
        letters = _letters(kafka_config, reason, model, version, since, None)[1]
        if as_json:
            for letter in letters[-limit:]:
                sys.stdout.write(json.dumps(letter.as_json(), ensure_ascii=False) + "\n")
            return
        table = Table(title=f"{len(letters):,} dead letters, {min(limit, len(letters)):,} shown", title_justify="left")
        for name in ("place", "time", "reason", "model", "message", "replayed"):
            table.add_column(name, overflow="fold")
        for letter in letters[-limit:]:
            shown = letter.as_json()
            table.add_row(
                shown["place"],
                shown["time"][:19],
                shown["reason"],
                f"{shown['model']}@{shown['version']}",
                shown["message"],
                "yes" if letter.replayed else "",
            )
        Console(highlight=False).print(table)


@dead_letters_app.command("show")
def dead_letters_show(
    place: Annotated[str, typer.Argument(help="partition:offset, as `list` prints it.")],
    kafka_config: KafkaConfig = None,
) -> None:
    """Print one dead letter whole: why, from where, its headers and its value, as JSON."""
    from rollcast_common.errors import ConfigError

    with one_line_errors():
        letters = _letters(kafka_config, None, None, None, None, [place])[1]
        if not letters:
            raise ConfigError(f"there is no dead letter at {place}; `rollcast dead-letters list` says where they are")
        print_json(letters[0].as_json())


@dead_letters_app.command("replay")
def dead_letters_replay(
    places: Annotated[
        list[str] | None, typer.Argument(help="partition:offset; none: all that the options take.")
    ] = None,
    reason: Reason = None,
    model: OfModel = None,
    version: OfVersion = None,
    since: Since = None,
    everything: Annotated[bool, typer.Option("--all", help="Without any place or filter: really all.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Also those that were replayed before.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")] = False,
    kafka_config: KafkaConfig = None,
) -> None:
    """Send dead letters to the topic that they came from, with their own key and headers, and mark them.

    Sending and marking is one transaction, so a letter is not sent twice by accident, also when two people
    do it at once. A letter whose value was cut cannot be sent.

    \b
    Example, after a better model has taken over:
      rollcast dead-letters replay --reason model-error --since 2h --dry-run
      rollcast dead-letters replay --reason model-error --since 2h
    """
    from rollcast_cli.dead_letters import replay
    from rollcast_common.errors import ConfigError

    with one_line_errors():
        if not (places or reason or model or version or since or everything):
            raise ConfigError("name what to replay: places, --reason, --model, --version or --since; or --all")
        kafka, letters = _letters(kafka_config, reason, model, version, since, places)
        steps = Steps()
        done = replay(
            kafka,
            letters,
            again=again,
            dry_run=dry_run,
            progress=lambda count: steps.say(f"{count:,} sent and marked"),
        )
        left = [f"{done.already:,} were replayed before (--again sends them once more)"] if done.already else []
        left += [f"{done.truncated:,} were cut and cannot be sent"] if done.truncated else []
        verb = "would be sent" if dry_run else "sent"
        sys.stdout.write("; ".join([f"{done.sent:,} {verb}", *left]) + "\n")


def _letters(
    kafka_config: Path | None,
    reasons: list[str] | None,
    model: str | None,
    version: str | None,
    since: str | None,
    places: list[str] | None,
) -> "tuple[KafkaParams, list[Letter]]":
    from rollcast_cli.dead_letters import Filter, parse_place, parse_since, read_letters
    from rollcast_common.contracts import DeadLetterReason
    from rollcast_common.errors import ConfigError
    from rollcast_common.kafka import reach_broker

    for reason in reasons or ():
        if reason not in list(DeadLetterReason):
            raise ConfigError(f"--reason was {reason!r}, may be {', '.join(DeadLetterReason)}")
    wanted = Filter(
        reasons=frozenset(map(DeadLetterReason, reasons)) if reasons else None,
        model=model,
        version=version,
        since=parse_since(since, now=time.time()) if since else None,
        places=frozenset(map(parse_place, places)) if places else None,
    )
    kafka = connect(kafka_config, environ=dict(os.environ)).kafka
    reach_broker(kafka, client_id="rollcast-dead-letters")
    return kafka, [letter for letter in read_letters(kafka) if wanted.takes(letter)]


if __name__ == "__main__":
    app()
