# ruff: noqa: INP001  # a script beside the pages, not a package
"""Writes the pages under docs/reference/, and the states of a rollout, from the code, so that they cannot say
anything else than the code does.

Run `python docs/generate.py` after changing a setting, an option, a metric, a topic or a contract. A test
compares the committed pages with what this makes.
"""

import ast
import dataclasses
import inspect
import json
import os
import textwrap
import types
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from unittest import mock

import msgspec
import typer
import typer.main
import yaml
from prometheus_client import CollectorRegistry
from pydantic import BaseModel, SecretStr
from pydantic_core import PydanticUndefined

import rollcast_cli.__main__ as cli_commands
import rollcast_notifier.__main__ as notifier_commands
import rollcast_operator.__main__ as operator_commands
import rollcast_predictor.__main__ as predictor_commands
import rollcast_trainer.__main__ as trainer_commands
from rollcast_common import artifacts
from rollcast_common.artifacts import S3Params
from rollcast_common.contracts import (
    REQUEST_ID_HEADER,
    Assignment,
    DeadLetter,
    DeadLetterReason,
    GroundTruth,
    ModelTrained,
    Prediction,
    PredictionBins,
    PredictorStatus,
    Receipt,
    ReceiptState,
    ServedVersion,
)
from rollcast_common.contracts.dead_letter import dead_letter_headers
from rollcast_common.contracts.predictor_status import Comparison, TrackCounts, VersionReport
from rollcast_common.contracts.request import MODEL_HEADER, REPLY_TO_HEADER
from rollcast_common.kafka import (
    ABOUT_ROLES,
    KafkaBrokerParams,
    KafkaConsumerParams,
    KafkaParams,
    Pattern,
    Right,
    Role,
    Scope,
    TopicNames,
    rights,
    topic_specs,
)
from rollcast_common.kafka.params import ENVIRONMENT, KafkaProducerParams
from rollcast_common.models.card import DataFacts, Feature, GoldenRow, InputSchema, ModelCard, PredictionHistogram
from rollcast_notifier.metrics import NotifierMetrics
from rollcast_notifier.rules.columns import TYPES, Column, candidates
from rollcast_notifier.rules.document import (
    ConsoleChannel,
    InboundSettings,
    LogChannel,
    MesiboBackendChannel,
    MesiboSdkChannel,
    NotificationsDocument,
    RateLimit,
    Subscription,
    WebhookChannel,
)
from rollcast_notifier.rules.facts import FACTS, GROUPS
from rollcast_notifier.rules.templates import MORE_NAMES, MOST_CHARACTERS
from rollcast_notifier.settings import NotifierSettings
from rollcast_operator.metrics import OperatorMetrics
from rollcast_operator.settings import BridgeSettings, OperatorConfig, OperatorSettings, SlotSettings
from rollcast_predictor.metrics import PredictorMetrics
from rollcast_predictor.settings import PredictorSettings
from rollcast_rollout.phases import TRANSITIONS
from rollcast_rollout.schema import API_VERSION, KIND, crd, open_api_schema
from rollcast_rollout.validation import with_defaults
from rollcast_trainer.estimators import CLASSIFIERS, REGRESSORS
from rollcast_trainer.settings import (
    DatasetSettings,
    EstimatorSettings,
    FeatureSettings,
    SplitSettings,
    TrainSettings,
)

__all__ = ["REFERENCE", "ROLLOUT", "main", "pages", "with_states"]

_DOCS = Path(__file__).resolve().parent
REFERENCE = _DOCS / "reference"
ROLLOUT = _DOCS / "explanation" / "rollout.md"
_VALUES = _DOCS.parent / "charts" / "rollcast" / "values.yaml"
_GOLDEN = _DOCS.parent / "libs" / "common" / "tests" / "golden"

_MARK = "<!-- Made from the code by docs/generate.py (`make docs`); edits here are overwritten. -->"
_STATES_BEGIN = "<!-- states: made from the code by docs/generate.py (`make docs`) -->"
_STATES_END = "<!-- end of states -->"
_IDENTITY = "`<installation>/<namespace>/<model>`"
_EXAMPLE = "rollcast"
"""The installation whose rights are shown: an operator's default."""

_PARTITIONS = 6
"""What `rollcast topics create` makes by default."""

_WORDS = {
    bool: "true or false",
    bytes: "bytes",
    float: "number",
    int: "whole number",
    str: "text",
    Path: "path",
    SecretStr: "text, never shown",
    Any: "anything",
    msgspec.Raw: "JSON",
    dict: "mapping",
}


def pages() -> dict[str, str]:
    """The text of every reference page, by file name."""
    return {
        "acls.md": _acls(),
        "cli.md": _cli(),
        "configuration.md": _configuration(),
        "metrics.md": _metrics(),
        "model-version.md": _model_version(),
        "notifications.md": _notifications(),
        "topics.md": _topics(),
        "values.md": _values(),
    }


def main() -> None:
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")
    ROLLOUT.write_text(with_states(ROLLOUT.read_text(encoding="utf-8")), encoding="utf-8")


def with_states(page: str) -> str:
    """The page about rollouts, with the state diagram as the code has it."""
    before, begin, rest = page.partition(_STATES_BEGIN)
    _, end, after = rest.partition(_STATES_END)
    return f"{before}{begin}\n\n{_states()}\n\n{end}{after}"


def _states() -> str:
    lines = ["stateDiagram-v2", "    [*] --> Pending"]
    lines += [
        f"    {before} --> {after}: {why}"
        for before, following in TRANSITIONS.items()
        for after, why in following.items()
    ]
    return "\n".join(["```mermaid", *lines, "```"])


# Pages.


def _configuration() -> str:
    environment = {path: name for name, path in ENVIRONMENT.items()}
    s3_environment = {path[0]: name for name, path in artifacts._ENVIRONMENT.items()}  # noqa: SLF001  # the table itself
    return _page(
        "Configuration",
        "Files are YAML 1.2: `2022-08-19` and `yes` are texts. An unknown setting is an error. A variable of the "
        "environment goes over the file.",
        "## kafka_config.yaml",
        "Read by every command that talks to Kafka (`--kafka-config`). Four sections; only `broker.servers` must be "
        "there, in the file or in the environment.",
        *(
            part
            for section, model in (
                ("broker", KafkaBrokerParams),
                ("consumer", KafkaConsumerParams),
                ("producer", KafkaProducerParams),
                ("topics", TopicNames),
            )
            for part in (
                f"### {section}",
                _sentences(model),
                _settings_table(
                    model, {name: environment.get((section, name), "") for name in model.model_fields}, extra="variable"
                ),
            )
        ),
        "## s3_config.yaml",
        "Read by `rollcast-trainer fit` and `rollcast-predictor run` (`--s3-config`). " + _sentences(S3Params),
        _settings_table(S3Params, s3_environment, extra="variable"),
        "## train.yaml",
        "Read by `rollcast-trainer fit` (`--config`).",
        _settings_table(TrainSettings),
        *(
            part
            for section, model in (
                ("dataset", DatasetSettings),
                ("features", FeatureSettings),
                ("split", SplitSettings),
                ("estimator", EstimatorSettings),
            )
            for part in (f"### {section}", _sentences(model), _settings_table(model))
        ),
        "### Estimators",
        "`estimator.type` may be one of these; `estimator.params` are scikit-learn's own parameters. *Encoding* is "
        "what strings get when `encoding` is left out; *missing* says whether the estimator takes missing numbers "
        "itself (else they are imputed with the median); *scaled* whether numbers are standardised first.",
        _estimators(),
        "## Predictor",
        "Given as options or variables of `rollcast-predictor run`; a setting without an option has its default.",
        _settings_table(
            PredictorSettings,
            _options(predictor_commands.app, trusted_type="trusted_types"),
            extra="option, variable",
        ),
        "## Notifier",
        "Given as options or variables of `rollcast-notifier run`.",
        _settings_table(
            NotifierSettings, _options(notifier_commands.app, console_name="console_hosts"), extra="option, variable"
        ),
        "## Operator",
        "Given as options or variables of `rollcast-operator run`; sections are those of operator_config.yaml.",
        _settings_table(
            OperatorSettings,
            _options(operator_commands.app, watch_namespace="namespaces"),
            extra="option, variable",
        ),
        "## operator_config.yaml",
        "Read by `rollcast-operator run` (`--config`).",
        _settings_table(OperatorConfig),
        *(
            part
            for section, model in (("slots", SlotSettings), ("bridge", BridgeSettings))
            for part in (f"### {section}", _sentences(model), _settings_table(model))
        ),
        "## The local stack",
        _table(
            ("variable", "meaning"),
            [
                ("`ROLLCAST_HOME`", "The folder of the local stack: state, logs, cache. Default `.rollcast`."),
                ("`BROKER`", "Which Kafka `up` and `demo` start: `auto`, `kafka` or `embedded`."),
                ("`WINES`", "The path of `wines_SPA.csv`: the example is then the wine prices."),
                ("`ROLLCAST_KAFKA_CONFIG`", "`kafka_config.yaml` for `tail`, `status`, `predict` and `topics`."),
                ("`JAVA_HOME`", "Which Java runs Apache Kafka; else the `java` that is found in `PATH`."),
                (
                    "`XDG_CACHE_HOME`",
                    "Kafka's jars and model files are cached in `rollcast` in it, else in `~/.cache`.",
                ),
            ],
        ),
    )


def _acls() -> str:
    parts: list[str] = []
    for role in Role:
        parts += [f"## {role.capitalize()}", ABOUT_ROLES[role]]
        parts.append(
            _table(
                ("on", "name", "may", "because it"),
                [_right(each) for each in rights(role, Scope(installation=_EXAMPLE))],
            )
        )
    return _page(
        "Rights on Kafka",
        "The least that each part needs where Kafka checks rights; without any one of them it does not work, it needs "
        f"no other. Names are the default ones, of the installation `{_EXAMPLE}`; a prefix stands before each topic. "
        "`*` is anything. Kafka adds the right to describe to each right to read or write.",
        "`rollcast acls` prints them as commands of Kafka's tools, as Strimzi's KafkaUsers, as a table or JSON, for "
        "your names, and gives them with `--apply`: see [Secure Kafka](../how-to/secure-kafka.md#who-may-do-what).",
        *parts,
        "## The slots of one model",
        "`rollcast acls --role predictor --namespace shop --model wine-price`: the topics as above, and",
        _table(
            ("on", "name", "may", "because it"),
            [
                _right(each)
                for each in rights(Role.PREDICTOR, Scope(installation=_EXAMPLE, namespace="shop", model="wine-price"))
                if each.resource != "topic"
            ],
        ),
    )


def _right(right: Right) -> tuple[str, ...]:
    name = f"`{right.name}*`" if right.pattern is Pattern.PREFIXED else f"`{right.name}`"
    return right.resource.value, name, ", ".join(right.operations), right.why


def _cli() -> str:
    parts: list[str] = []
    for name, app in (
        ("rollcast", cli_commands.app),
        ("rollcast-trainer", trainer_commands.app),
        ("rollcast-predictor", predictor_commands.app),
        ("rollcast-notifier", notifier_commands.app),
        ("rollcast-operator", operator_commands.app),
    ):
        parts.extend(_command(name, typer.main.get_command(app), depth=2))
    return _page(
        "Commands",
        "Errors that a user can cause are one line on stderr and exit code 1; a wrong option is exit code 2; Ctrl-C is "
        "130 (`rollcast-predictor` and `rollcast-notifier` finish what they began and end with 0).",
        *parts,
    )


def _metrics() -> str:
    predictor, operator = PredictorMetrics(CollectorRegistry()), OperatorMetrics(CollectorRegistry())
    notifier = NotifierMetrics(CollectorRegistry())
    return _page(
        "Metrics",
        "Predictor slots, the notifier and the operator serve `/metrics` (Prometheus), `/healthz` and `/readyz` (JSON) "
        "at `--metrics-host` and `--metrics-port`. Each also tells of its process: `process_start_time_seconds`, "
        "`process_cpu_seconds_total`, `process_resident_memory_bytes`, `process_open_fds`. The trainer is a job that "
        "ends and serves none. [How to watch them](../how-to/monitor.md).",
        "## Predictor",
        inspect.cleandoc(inspect.getmodule(PredictorMetrics).__doc__ or ""),
        _metrics_table(predictor),
        "Buckets of the histograms in seconds: " + _numbers(predictor.latency_seconds) + ".",
        "Buckets of `rollcast_predictor_batch_rows`: " + _numbers(predictor.batch_rows) + ".",
        "`reason` is one of " + ", ".join(f"`{reason.value}`" for reason in DeadLetterReason) + ".",
        "`track` is `stable` or `candidate`, `kind` is `death` or `timeout`, `result` is `same`, `different` or "
        "`failed`.",
        "## Notifier",
        inspect.cleandoc(inspect.getmodule(NotifierMetrics).__doc__ or ""),
        _metrics_table(notifier),
        "`state` is one of " + ", ".join(f"`{state}`" for state in get_args(ReceiptState)) + ".",
        "Buckets of `rollcast_notifier_send_seconds`: " + _numbers(notifier.send_seconds) + ".",
        "Buckets of `rollcast_notifier_delivery_seconds`: " + _numbers(notifier.delivery_seconds) + ".",
        "## Operator",
        inspect.cleandoc(inspect.getmodule(OperatorMetrics).__doc__ or ""),
        _metrics_table(operator),
        "Buckets of the histogram in seconds: " + _numbers(operator.reconcile_seconds) + ".",
        "`why` is `api` or `bug`; `result` is `created`, `known`, `other` or `invalid`. `phase`, `type`, `status` and "
        "`reason` are those of [the ModelVersion](model-version.md)'s status.",
    )


def _metrics_table(metrics: object) -> str:
    rows = []
    for metric in vars(metrics).values():
        if not hasattr(metric, "describe"):
            continue
        (family,) = metric.describe()
        suffix = "_total" if family.type == "counter" else ""
        labels = ", ".join(f"`{label}`" for label in metric._labelnames)  # noqa: SLF001  # told nowhere else
        rows.append((f"`{family.name}{suffix}`", family.type, labels or "-", family.documentation))
    return _table(("metric", "type", "labels", "meaning"), rows)


def _topics() -> str:
    names = TopicNames()
    specs = {spec.name: spec for spec in topic_specs(names, partitions=_PARTITIONS)}
    about = {
        "requests": ("the entity's key", "features, a JSON object", "any client", "predictor"),
        "app_messages": (
            "as its request",
            "[Prediction](#prediction)",
            "predictor, in its transaction",
            "notifier, any client",
        ),
        "dead_letters": ("as its request", "the original bytes, [headers](#dead-letter)", "the same", "any client"),
        "train": (
            "the model's name",
            "[ModelTrained](#modeltrained), or a bare path",
            "trainer, anyone",
            "operator, `rollcast up`",
        ),
        "assignments": (_IDENTITY, "[Assignment](#assignment)", "operator, `rollcast up`", "predictor"),
        "predictor_status": (
            f"{_IDENTITY}`/<ordinal>`",
            "[PredictorStatus](#predictorstatus)",
            "predictor",
            "operator, `rollcast up`",
        ),
        "shadow_predictions": (
            "as its request",
            "the candidate's [Prediction](#prediction)",
            "predictor, not in a transaction: some may be lost",
            "any client",
        ),
        "feedback": ("prediction id", "[GroundTruth](#groundtruth)", "notifier, any client", "any client"),
        "notifications": ("prediction id", "[Receipt](#receipt)", "notifier", "any client"),
        "notifications_failed": ("prediction id", "[Receipt](#receipt), with the text", "notifier", "any client"),
    }
    rows = []
    for name, spec in specs.items():
        config = ", ".join(f"`{setting}={to}`" for setting, to in spec.config.items())
        rows.append((f"`{name}`", *about[name], str(spec.partitions), config))
    return _page(
        "Topics and messages",
        "`rollcast topics create` makes what is missing, with these partitions (`--partitions` changes them where "
        "order is by key). Names and a prefix are set under `topics:` in "
        "[kafka_config.yaml](configuration.md#kafka_configyaml).",
        _table(("topic", "key", "value", "written by", "read by", "partitions", "configuration"), rows),
        "Read `app_messages` and `dead_letters` with `isolation.level=read_committed`. Every contract carries "
        "`schema`, major.minor: a reader takes every minor of a major that it knows and refuses other majors.",
        "## Request",
        "A JSON object of features. What it must hold is in the model's [card](#model-card). Headers, all optional:",
        _table(
            ("header", "meaning"),
            [
                (f"`{REQUEST_ID_HEADER}`", "The client's own id; else the id is `<topic>-<partition>-<offset>`."),
                (f"`{MODEL_HEADER}`", "Only this model shall answer; predictors of other models pass the record over."),
                (
                    f"`{REPLY_TO_HEADER}`",
                    "Who gets the answer as a message, such as `mesibo:ann@example.com`; the notifier sends it there.",
                ),
            ],
        ),
        "## Prediction",
        _sentences(Prediction),
        _struct_table(Prediction),
        _example("prediction.json"),
        "## Dead letter",
        inspect.cleandoc(inspect.getmodule(DeadLetter).__doc__ or ""),
        _dead_letter_headers(),
        "`rollcast-reason` is one of " + ", ".join(f"`{reason.value}`" for reason in DeadLetterReason) + "; each is "
        "explained in [Troubleshooting](../how-to/troubleshoot.md#dead-letters).",
        "## ModelTrained",
        inspect.cleandoc(inspect.getmodule(ModelTrained).__doc__ or ""),
        _sentences(ModelTrained),
        _struct_table(ModelTrained),
        _example("model_trained.json"),
        "## Assignment",
        inspect.cleandoc(inspect.getmodule(Assignment).__doc__ or ""),
        *(
            part
            for struct in (Assignment, ServedVersion, PredictionBins)
            for part in (
                f"### {struct.__name__}" if struct is not Assignment else "",
                _sentences(struct),
                _struct_table(struct),
            )
        ),
        _example("assignment.json"),
        "## PredictorStatus",
        inspect.cleandoc(inspect.getmodule(PredictorStatus).__doc__ or ""),
        *(
            part
            for struct in (PredictorStatus, VersionReport, TrackCounts, Comparison)
            for part in (
                f"### {struct.__name__}" if struct is not PredictorStatus else "",
                _sentences(struct),
                _struct_table(struct),
            )
        ),
        _example("predictor_status.json"),
        "## GroundTruth",
        _sentences(GroundTruth),
        _struct_table(GroundTruth),
        _example("ground_truth.json"),
        "## Receipt",
        _sentences(Receipt),
        _struct_table(Receipt),
        _example("receipt.json"),
        "## Model card",
        inspect.cleandoc(inspect.getmodule(ModelCard).__doc__ or "")
        + " The card of `models/x.skops` is `models/x.card.json`.",
        _struct_table(ModelCard),
        *(
            part
            for struct in (InputSchema, Feature, DataFacts, GoldenRow, PredictionHistogram)
            for part in (f"### {struct.__name__}", _sentences(struct), _struct_table(struct))
        ),
    )


def _model_version() -> str:
    schema = open_api_schema()
    short = crd()["spec"]["names"]["shortNames"][0]
    least = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": "wine-price-2022-08-19"},
        "spec": {
            "model": "wine-price",
            "version": "2022-08-19",
            "artifact": {"uri": "s3://wines-models/models/2022-08-19.skops"},
        },
    }
    columns = ", ".join(
        column["name"]
        for column in crd()["spec"]["versions"][0]["additionalPrinterColumns"]
        if "priority" not in column
    )
    return _page(
        KIND,
        schema["description"],
        f"`{API_VERSION}`, {crd()['spec']['scope'].lower()}. `kubectl get {short}` shows {columns}; `kubectl explain "
        f"{short}.spec.rollout` says what stands here. An unknown field is an error.",
        "## All that must be said",
        _yaml_example(least),
        "## With everything that is filled in",
        _yaml_example(with_defaults(least)),
        *_schema_tables("spec", schema["properties"]["spec"]),
        "## Rules across fields",
        "Broken ones are refused with these words or with longer ones that say the values.",
        _table(("field", "rule"), [(f"`{path}`", message) for path, message in _schema_rules(schema, "")]),
        *_schema_tables("status", schema["properties"]["status"]),
    )


# Parts of pages.


def _notifications() -> str:
    channels = (ConsoleChannel, LogChannel, WebhookChannel, MesiboBackendChannel, MesiboSdkChannel)
    texts = _field_docs(NotificationsDocument)
    kinds = {"text": "text", "number": "number", "bool": "true or false", "numbers": "list", "texts": "list"}
    rows = [(f"`{name}`", Column(name), FACTS[name]) for name in FACTS]
    rows += [(f"`{group}.<name>`", Column("x", group), GROUPS[group]) for group in GROUPS]
    assert set(kinds) | {"any"} == set(TYPES)  # noqa: S101  # a type without words would be missing here
    return _page(
        "notifications.yaml",
        "Who gets told what: read by `rollcast-notifier run`, and by `check` and `test-rule`, which say what it means. "
        "YAML 1.2; an unknown setting is an error. How to write it: "
        "[Notify people](../how-to/notify-people.md).",
        _table(
            ("section", "holds", "meaning"),
            [
                ("`channels`", "mapping of names to channels", texts["channels"]),
                ("`subscriptions`", "list of subscriptions", texts["subscriptions"]),
                ("`inbound`", "section", texts["inbound"]),
            ],
        ),
        "## Channels",
        *(
            part
            for channel in channels
            for part in (
                f"### {get_args(channel.model_fields['type'].annotation)[0]}",
                _sentences(channel),
                _settings_table(channel),
            )
        ),
        "## Subscriptions",
        _sentences(Subscription),
        _settings_table(Subscription),
        "### rate_limit",
        _sentences(RateLimit),
        _settings_table(RateLimit),
        "### Columns of conditions",
        "A column is of the type that the condition needs: compared with a number it is a number, with a text a text. "
        "What a prediction has not, or has as something that cannot be that, is null, and a condition that is null is "
        "not true. A number is also what is sent as its text.",
        _table(
            ("column", "may be", "is"),
            [
                (name, _either(list(dict.fromkeys(kinds[kind] for kind in candidates(column)))), text)
                for name, column, text in rows
            ],
        ),
        "### Names in templates",
        f"All columns, and these. What a prediction has not is written `?`; a text ends after {MOST_CHARACTERS} "
        "characters.",
        _table(("name", "is"), [(f"`{name}`", text) for name, text in MORE_NAMES.items()]),
        "## inbound",
        _sentences(InboundSettings),
        _settings_table(InboundSettings),
    )


def _page(title: str, *parts: str) -> str:
    return "\n\n".join([f"# {title}", _MARK, *(part for part in parts if part)]) + "\n"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _settings_table(model: type[BaseModel], more: Mapping[str, str] | None = None, *, extra: str = "") -> str:
    head = ("setting", "type", "default", *([extra] if extra else []), "meaning")
    texts = _field_docs(model)
    rows = []
    # What comes from a base class stands first there, and is the least of it.
    own = sorted(model.model_fields.items(), key=lambda item: item[0] not in vars(model).get("__annotations__", {}))
    for name, field in own:
        default = "required" if field.is_required() else _shown(field.get_default(call_default_factory=True))
        if field.default_factory is not None and field.annotation is Path:
            default = _default_folder(field.default_factory)
        limits = _limits(field.metadata)
        kind = _type(field.annotation) + (f", {limits}" if limits else "")
        more_cell = [_code((more or {}).get(name, ""))] if extra else []
        rows.append((f"`{field.alias or name}`", kind, default, *more_cell, texts.get(name, "")))
    return _table(head, rows)


def _struct_table(struct: type[msgspec.Struct]) -> str:
    texts = _field_docs(struct)
    rows = []
    for field in msgspec.structs.fields(struct):
        default = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        shown = "required" if default is msgspec.NODEFAULT else _shown(default)
        nothing = " or null" if type(None) in get_args(field.type) else ""
        rows.append((f"`{field.name}`", _type(field.type) + nothing, shown, texts.get(field.name, "")))
    return _table(("field", "type", "default", "meaning"), rows)


def _dead_letter_headers() -> str:
    texts = {
        "rollcast-schema": "Version of this contract.",
        "rollcast-reason": "Why, in one word.",
        "rollcast-message": "Why, for a person; at most 500 characters.",
        "rollcast-source-topic": "Where the record was read.",
        "rollcast-source-partition": "The same.",
        "rollcast-source-offset": "The same.",
        "rollcast-model": "Which model refused it.",
        "rollcast-version": "Which version of it.",
        "rollcast-request-id": "As a prediction would carry it.",
        "rollcast-truncated": "`true` when the value was cut; else absent.",
        "rollcast-original-size": "Bytes of the uncut value; absent when nothing was cut.",
    }
    letter = DeadLetter(
        reason=DeadLetterReason.NOT_JSON,
        message="",
        source_topic="requests",
        source_partition=0,
        source_offset=0,
        model="model",
        version="version",
        request_id="id",
        truncated=True,
        original_size_bytes=1,
    )
    return _table(("header", "meaning"), [(f"`{name}`", texts[name]) for name, _ in dead_letter_headers(letter)])


def _example(name: str) -> str:
    text = json.dumps(json.loads((_GOLDEN / name).read_text(encoding="utf-8")), indent=2, ensure_ascii=False)
    return f"```json\n{text}\n```"


def _yaml_example(model_version: Mapping[str, Any]) -> str:
    return f"```yaml model_version\n{yaml.safe_dump(model_version, sort_keys=False)}```"


def _schema_tables(path: str, schema: Mapping[str, Any]) -> Iterator[str]:
    """A section for an object of the resource, then those for the objects in it."""
    yield f"## {path}"
    yield schema["description"]
    rows = []
    inner = []
    for name, field in schema["properties"].items():
        below = field.get("items", field)
        place = f"{path}.{name}" + ("[]" if "items" in field else "")
        kind = _schema_type(field)
        if "properties" in below:
            inner.append((place, below | {"description": field["description"]}))
            kind = f"[{kind}](#{place.lower().replace('.', '').replace('[]', '')})"
        default = "required" if name in schema.get("required", ()) else _schema_default(field)
        rows.append((f"`{name}`", kind, default, field["description"]))
    yield _table(("field", "type", "default", "meaning"), rows)
    for place, below in inner:
        yield from _schema_tables(place, below)


def _schema_rules(schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield f"{path}{rule.get('fieldPath', '')}".lstrip("."), rule["message"]
    for name, field in schema.get("properties", {}).items():
        yield from _schema_rules(field, f"{path}.{name}".lstrip("."))


def _schema_type(field: Mapping[str, Any]) -> str:
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    if "enum" in field:
        return _either([f"`{value}`" for value in field["enum"]])
    parts = [words.get(field["type"], "list" if "items" in field else "section")]
    bounds = [("minimum", "more than" if field.get("exclusiveMinimum") else "from"), ("maximum", "to")]
    if limits := " ".join(f"{word} {field[name]}" for name, word in bounds if name in field):
        parts.append(limits)
    if "pattern" in field:
        parts.append(f"like `{field['pattern']}`")
    if field.get("format") == "date-time":
        parts = ["time"]
    return ", ".join(parts) + (" or null" if field.get("nullable") else "")


def _schema_default(field: Mapping[str, Any]) -> str:
    if "default" not in field:
        return "null" if field.get("nullable") else "-"
    if "items" in field:
        return "see above"
    return "its defaults" if "properties" in field else f"`{json.dumps(field['default']).strip(chr(34))}`"


def _estimators() -> str:
    rows = [
        (
            f"`{name}`",
            task,
            kind.encoding,
            "itself" if kind.takes_missing else "imputed",
            "yes" if kind.scaled else "no",
        )
        for task, kinds in (("regression", REGRESSORS), ("classification", CLASSIFIERS))
        for name, kind in kinds.items()
    ]
    return _table(("estimator.type", "task", "encoding", "missing", "scaled"), rows)


def _values() -> str:
    lines = _VALUES.read_text(encoding="utf-8").splitlines()
    root = yaml.compose("\n".join(lines), Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)  # noqa: S101  # the chart's tests load it
    loose = [(key, value) for key, value in root.value if not _is_section(value, lines)]
    return _page(
        "Values of the chart",
        "What `helm install -f my-values.yaml` may say; an unknown name is refused. `kafka.servers` and `s3.bucket` "
        "must be given. How to use them: [install](../how-to/install.md).",
        _values_table(loose, "", lines),
        *(
            part
            for key, value in root.value
            if _is_section(value, lines)
            for part in (f"## {key.value}", _comment(key, lines), _values_table(value.value, key.value, lines))
        ),
    )


def _values_table(pairs: list[tuple[yaml.Node, yaml.Node]], path: str, lines: list[str]) -> str:
    return _table(("value", "default", "meaning"), list(_value_rows(pairs, path, lines)))


def _value_rows(pairs: list[tuple[yaml.Node, yaml.Node]], path: str, lines: list[str]) -> Iterator[tuple[str, ...]]:
    for key, value in pairs:
        name = f"{path}.{key.value}".lstrip(".")
        if isinstance(value, yaml.MappingNode) and _is_section(value, lines):
            if comment := _comment(key, lines):
                yield f"`{name}`", "section", comment
            yield from _value_rows(value.value, name, lines)
        else:
            loader = yaml.SafeLoader("")
            shown = json.dumps(loader.construct_object(value, deep=True), ensure_ascii=False)
            yield f"`{name}`", "empty" if shown == '""' else f"`{shown.strip(chr(34))}`", _comment(key, lines)


def _is_section(value: yaml.Node, lines: list[str]) -> bool:
    """A mapping some of whose keys are explained; any other is one value. Whatever has a section of its own is one."""
    return isinstance(value, yaml.MappingNode) and any(
        _comment(key, lines) or _is_section(inner, lines) for key, inner in value.value
    )


def _comment(key: yaml.Node, lines: list[str]) -> str:
    """The lines right above a key, as long as they are comments of its depth."""
    mark, found = key.start_mark, []
    indent = " " * mark.column + "# "
    for line in reversed(lines[: mark.line]):
        if not line.startswith(indent):
            break
        found.append(line.removeprefix(indent))
    return " ".join(reversed(found))


def _command(name: str, command: Any, *, depth: int) -> Iterator[str]:
    yield f"{'#' * depth} {name}"
    yield _help(command.help or "")
    if isinstance(children := getattr(command, "commands", None), dict):
        for child_name, child in children.items():
            yield from _command(f"{name} {child_name}", child, depth=depth + 1)
        return
    rows = []
    for option in command.params:
        is_option = option.opts[0].startswith("-")
        shown = "/".join([*option.opts, *option.secondary_opts]) if is_option else option.name.upper()
        kind = "flag" if getattr(option, "is_flag", False) else _type(option.type_descriptor.annotation)
        limits = ", ".join(
            f"{word} {limit}" for word, limit in (("from", option.min), ("to", option.max)) if limit is not None
        )
        repeat = ", repeatable" if getattr(option, "multiple", False) else ""
        default = "required" if option.required else _shown(option.default)
        rows.append(
            (
                f"`{shown}`",
                kind + (f", {limits}" if limits else "") + repeat,
                default,
                _code(option.envvar or ""),
                option.help or "",
            )
        )
    if rows:
        yield _table(("option", "type", "default", "variable", "meaning"), rows)


def _help(text: str) -> str:
    """Paragraphs as they are; one that begins with a backspace keeps its lines, as code."""
    parts = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith("\b\n"):
            title, *lines = paragraph.removeprefix("\b\n").splitlines()
            if not lines:
                title, lines = "", [title]
            parts.append(f"{title}\n\n```text\n{textwrap.dedent(chr(10).join(lines))}\n```".lstrip())
        else:
            parts.append(paragraph)
    return "\n\n".join(parts)


def _options(app: typer.Typer, **aliases: str) -> dict[str, str]:
    """Of the command `run`, by the setting that each gives."""
    command: Any = typer.main.get_command(app)
    return {
        aliases.get(option.name, option.name): " ".join([*option.opts, *option.secondary_opts, option.envvar or ""])
        for option in command.commands["run"].params
    }


# What the code says of itself.


def _sentences(model: type) -> str:
    """The docstring, or nothing where there is none of its own."""
    return inspect.cleandoc(vars(model).get("__doc__") or "") if not _is_generated_doc(model) else ""


def _is_generated_doc(model: type) -> bool:
    return dataclasses.is_dataclass(model) and (model.__doc__ or "").startswith(f"{model.__name__}(")


def _field_docs(model: type) -> dict[str, str]:
    """The docstring that stands under a field."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(tree, ast.ClassDef)  # noqa: S101  # the source of a class
    texts = {}
    for statement, after in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            texts[statement.target.id] = " ".join(after.value.value.split())
    for base in model.__bases__:
        if issubclass(base, BaseModel) and base is not BaseModel:
            texts = _field_docs(base) | texts
    return texts


def _type(annotation: Any) -> str:  # noqa: C901, PLR0911  # a table of cases
    """A type in words."""
    if annotation in _WORDS:
        return _WORDS[annotation]
    if annotation is type(None):
        return "nothing"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        limits = _limits([limit for field in arguments[1:] for limit in getattr(field, "metadata", [field])])
        return _type(arguments[0]) + (f", {limits}" if limits else "")
    if origin is Literal:
        return _either([f"`{value}`" for value in arguments])
    if origin in (Union, types.UnionType):
        return _either([_type(argument) for argument in arguments if argument is not type(None)])
    if origin in (list, tuple):
        return f"list of: {_type(arguments[0])}"
    if origin is dict:
        return f"mapping to {_type(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return _either([f"`{member.value}`" for member in annotation])
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section, see below"
    raise TypeError(f"docs/generate.py has no words for the type {annotation!r}")


def _either(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _limits(metadata: list[Any]) -> str:
    names = {"ge": "from", "gt": "more than", "le": "to", "lt": "less than", "pattern": "like"}
    found = [
        f"{word} {getattr(limit, name)}" if name != "pattern" else f"like `{limit.pattern}`"
        for limit in metadata
        for name, word in names.items()
        if getattr(limit, name, None) is not None
    ]
    return ", ".join(found)


def _shown(value: Any) -> str:  # noqa: PLR0911  # a table of cases
    if value is None or value is PydanticUndefined:
        return "-"
    if isinstance(value, BaseModel):
        return "its defaults"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, msgspec.Raw):
        return f"`{bytes(value).decode()}`"
    if isinstance(value, tuple | list):
        return ", ".join(f'`"{item}"`' for item in value) or "none"
    if isinstance(value, dict):
        return "none"
    return f"`{value}`" if value != "" else "empty"


def _default_folder(factory: Any) -> str:
    with mock.patch.dict(os.environ):
        os.environ.pop("XDG_CACHE_HOME", None)
        folder: Path = factory()
        return f"`~/{folder.relative_to(Path.home())}`"


def _code(text: str) -> str:
    return " ".join(f"`{word}`" for word in text.split()) or "-"


def _numbers(histogram: Any) -> str:
    bounds = histogram._upper_bounds  # noqa: SLF001  # told nowhere else
    return ", ".join(f"{bound:g}" for bound in bounds if bound != float("inf"))


# The four sections are named in `_configuration`; a fifth would be missing there.
assert set(KafkaParams.model_fields) == {"broker", "consumer", "producer", "topics"}  # noqa: S101  # see above


if __name__ == "__main__":
    main()
