# ruff: noqa: INP001  # a script beside what it writes, not a package
"""Writes the Grafana dashboards of this folder, so that panels share one look and say only what they show.

Run `python charts/rollcast/dashboards/generate.py` after a change. A test compares the committed files with what this
makes, and another asks a real Prometheus, which scrapes real services, for every query.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["dashboards", "main"]

_FOLDER = Path(__file__).resolve().parent
_COLUMNS = 24
_HEIGHT = 8
_STAT_HEIGHT = 4
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}

Json = dict[str, Any]

_OF = 'installation=~"$installation", model_namespace=~"$namespace", model=~"$model"'
_SLOT = (
    f"on (job, instance) group_left (installation, model_namespace, model, slot) rollcast_predictor_slot_info{{{_OF}}}"
)
_RATE = "$__rate_interval"


@dataclass(frozen=True)
class Panel:
    kind: str
    title: str
    description: str
    unit: str
    queries: Sequence[tuple[str, str]]
    """Each an expression and its legend."""

    width: int = 8
    stacked: bool = False
    most: float | None = None
    words: tuple[tuple[str, str], ...] = ()
    """What to show for a value."""


@dataclass(frozen=True)
class Row:
    title: str
    panels: Sequence[Panel]


def series(title: str, description: str, unit: str, *queries: tuple[str, str], **more: Any) -> Panel:
    return Panel("timeseries", title, description, unit, queries, **more)


def stat(title: str, description: str, unit: str, query: str, **more: Any) -> Panel:
    return Panel("stat", title, description, unit, [(query, "")], **{"width": 4, **more})


def table(title: str, description: str, query: str, **more: Any) -> Panel:
    return Panel("table", title, description, "short", [(query, "")], **{"width": 24, **more})


def by_slot(metric: str) -> tuple[str, str]:
    return f"{metric} * {_SLOT}", "{{slot}}"


def slots_quantile(quantile: float, histogram: str) -> str:
    return (
        f"histogram_quantile({quantile}, sum by (installation, model_namespace, model, le) "
        f"(rate({histogram}_bucket[{_RATE}]) * {_SLOT}))"
    )


def of_slots(metric: str, *labels: str) -> str:
    return f"sum by ({', '.join(('model_namespace', 'model', *labels))}) ({metric} * {_SLOT})"


def rose(metric: str) -> str:
    return f"increase({metric}[{_RATE}])"


def _turn_quantile(quantile: float) -> str:
    return f"histogram_quantile({quantile}, sum by (le) (rate(rollcast_operator_reconcile_seconds_bucket[{_RATE}])))"


_MODEL = "{{model_namespace}}/{{model}}"

_STREAM = [
    Row(
        "Now",
        [
            stat(
                "Predictions",
                "Answers committed to the output topic, a second.",
                "reqps",
                f"sum(model:rollcast_predictions:rate5m{{{_OF}}})",
            ),
            stat(
                "Waiting",
                "Requests in the topic that no slot has consumed yet.",
                "short",
                f"sum(model:rollcast_lag_records:sum{{{_OF}}})",
            ),
            stat(
                "Dead letters",
                "The share of requests that could not be scored, over 5 minutes.",
                "percentunit",
                f"max(model:rollcast_dead_letters:ratio_rate5m{{{_OF}}})",
            ),
            stat(
                "Latency, p99",
                "From a request's timestamp to the commit of its answer, over 5 minutes.",
                "s",
                f"max(model:rollcast_latency_seconds:p99_rate5m{{{_OF}}})",
            ),
            stat(
                "Ready slots",
                "Slots that serve a model and whose stream is not stalled.",
                "short",
                f"sum(model:rollcast_ready_slots:sum{{{_OF}}})",
            ),
            stat(
                "Partitions without a slot",
                "Partitions of the input topic that no slot owns. Above 0 for seconds while slots come and go.",
                "short",
                f"sum(model:rollcast_input_partitions:max{{{_OF}}} - model:rollcast_assigned_partitions:sum{{{_OF}}})",
            ),
        ],
    ),
    Row(
        "Flow",
        [
            series(
                "Predictions by model",
                "Answers committed to the output topic, by model.",
                "reqps",
                (f"model:rollcast_predictions:rate5m{{{_OF}}}", _MODEL),
            ),
            series(
                "Waiting requests",
                "Records that are not consumed yet, in the partitions of each slot.",
                "short",
                by_slot("rollcast_predictor_lag_records"),
            ),
            series(
                "Dead letters by reason",
                "Records that could not be scored, by reason. Each stands in topic dead_letters with a message.",
                "reqps",
                (
                    of_slots(f"rate(rollcast_predictor_dead_letters_total[{_RATE}])", "reason"),
                    _MODEL + " {{reason}}",
                ),
                stacked=True,
            ),
            series(
                "Aborted transactions",
                "The share of batches that were aborted and read again. Nothing is lost by it, only time.",
                "percentunit",
                (f"model:rollcast_aborted_batches:ratio_rate5m{{{_OF}}}", _MODEL),
            ),
            series(
                "Passed over",
                "Records that name another model in their header, and get no answer here.",
                "reqps",
                (of_slots(f"rate(rollcast_predictor_skipped_records_total[{_RATE}])"), _MODEL),
            ),
            series(
                "Late answers",
                "The share of answers that took longer than 1 s. 1 % is allowed.",
                "percentunit",
                (f"model:rollcast_latency_seconds:slow_ratio_5m{{{_OF}}}", _MODEL + " 5 min"),
                (f"model:rollcast_latency_seconds:slow_ratio_1h{{{_OF}}}", _MODEL + " 1 h"),
            ),
        ],
    ),
    Row(
        "Time",
        [
            series(
                "Latency",
                "From a request's timestamp to the commit of its answer: the oldest and the newest row of each batch.",
                "s",
                (f"model:rollcast_latency_seconds:p50_rate5m{{{_OF}}}", _MODEL + " p50"),
                (f"model:rollcast_latency_seconds:p99_rate5m{{{_OF}}}", _MODEL + " p99"),
                width=6,
            ),
            series(
                "Scoring a batch",
                "From handing a batch to the model hosts to their answer.",
                "s",
                (slots_quantile(0.5, "rollcast_predictor_score_seconds"), _MODEL + " p50"),
                (slots_quantile(0.99, "rollcast_predictor_score_seconds"), _MODEL + " p99"),
                width=6,
            ),
            series(
                "Transaction",
                "Producing a batch's outputs and committing them together with the offsets.",
                "s",
                (slots_quantile(0.5, "rollcast_predictor_commit_seconds"), _MODEL + " p50"),
                (slots_quantile(0.99, "rollcast_predictor_commit_seconds"), _MODEL + " p99"),
                width=6,
            ),
            series(
                "Rows in a batch",
                "Few at low load, more as load rises: that is how the loop keeps up.",
                "short",
                (slots_quantile(0.5, "rollcast_predictor_batch_rows"), _MODEL + " p50"),
                (slots_quantile(0.99, "rollcast_predictor_batch_rows"), _MODEL + " p99"),
                width=6,
            ),
        ],
    ),
    Row(
        "Slots",
        [
            series(
                "Partitions",
                "How many partitions of the input topic each slot owns.",
                "short",
                by_slot("rollcast_predictor_assigned_partitions"),
                stacked=True,
            ),
            series(
                "Host failures",
                "Model hosts that died or overran their deadline, by track. A candidate's cost nobody an answer.",
                "short",
                (
                    of_slots(rose("rollcast_predictor_host_failures_total"), "track", "kind"),
                    _MODEL + " {{track}} {{kind}}",
                ),
            ),
            series(
                "Streamers replaced",
                "How often a slot's streamer ended within an hour, and its supervisor let the next one go on.",
                "short",
                by_slot("changes(process_start_time_seconds[1h])"),
            ),
            series(
                "Loading",
                "Tries to load a model that failed and are made again, and models refused for good.",
                "short",
                (of_slots(rose("rollcast_predictor_model_load_failures_total")), _MODEL + " tried again"),
                (of_slots(rose("rollcast_predictor_models_refused_total")), _MODEL + " refused"),
            ),
            series(
                "Memory of the streamer",
                "Resident memory of the process that streams. Model hosts are processes of their own.",
                "bytes",
                by_slot("process_resident_memory_bytes"),
            ),
            series(
                "Processor of the streamer",
                "Seconds of processor time a second. At 1 the loop cannot go faster.",
                "short",
                by_slot(f"rate(process_cpu_seconds_total[{_RATE}])"),
            ),
            table(
                "What is loaded",
                "The versions that serve on each slot, as stable or as candidate.",
                "rollcast_predictor_model_info * on (job, instance) group_left (installation, model_namespace, slot) "
                f"rollcast_predictor_slot_info{{{_OF}}}",
            ),
        ],
    ),
]

_ROLLOUT = [
    Row(
        "Now",
        [
            stat(
                "Rolling out",
                "ModelVersions on their way: verified, in shadow, in canary, promoted or paused.",
                "short",
                'count(rollcast_operator_model_version_phase{phase=~"Verifying|Shadow|Canary|Promoting|Paused", '
                f"{_OF}}}) or vector(0)",
            ),
            stat(
                "Failed or rolled back",
                "ModelVersions that are in one of these phases now, whenever it happened.",
                "short",
                f'count(rollcast_operator_model_version_phase{{phase=~"Failed|RolledBack", {_OF}}}) or vector(0)',
            ),
            stat(
                "Live models",
                "Models of which a version answers all requests, or all but a candidate's share.",
                "short",
                f'count(rollcast_operator_model_version_phase{{phase="Live", {_OF}}}) or vector(0)',
            ),
            stat(
                "Slots missing",
                "Slots that should serve a version or have it ready, and do not say so.",
                "short",
                f"sum(rollcast_operator_model_version_slots{{{_OF}}} "
                f"- rollcast_operator_model_version_ready_slots{{{_OF}}})",
            ),
            stat(
                "Kafka",
                "Whether the operator reaches Kafka.",
                "short",
                "max(rollcast_operator_kafka_problem)",
                words=(("0", "reached"), ("1", "away")),
            ),
            stat(
                "Oldest reconcile",
                "How long ago the model that has waited longest had its turn. Each has one at least every 15 s.",
                "s",
                "max(rollcast_operator_oldest_reconcile_seconds)",
            ),
        ],
    ),
    Row(
        "Versions",
        [
            series(
                "Share of the keys",
                "Percentage of keys that each ModelVersion answers, as the operator has ordered.",
                "percent",
                (f"rollcast_operator_model_version_weight{{{_OF}}} > 0", "{{model}} {{version}}"),
                width=12,
                stacked=True,
                most=100,
            ),
            series(
                "Share in effect",
                "Percentage of keys that the candidate answers, as each slot follows it.",
                "percent",
                by_slot("rollcast_predictor_candidate_weight"),
                width=12,
                most=100,
            ),
            table(
                "Phases",
                "Where each ModelVersion stands.",
                f"rollcast_operator_model_version_phase{{{_OF}}}",
                width=12,
            ),
            table(
                "Why it moves, or does not",
                "The condition Progressing of each ModelVersion, with its reason.",
                f'rollcast_operator_model_version_condition{{type="Progressing", {_OF}}}',
                width=12,
            ),
            table(
                "Failures",
                "Versions that failed or were rolled back, why, and how many seconds ago.",
                f"time() - rollcast_operator_model_version_failed_timestamp_seconds{{{_OF}}}",
                width=12,
            ),
            series(
                "Slots ready",
                "Slots that serve a version, or have it ready as a candidate.",
                "short",
                (f"rollcast_operator_model_version_ready_slots{{{_OF}}}", "{{model}} {{version}}"),
                width=12,
            ),
        ],
    ),
    Row(
        "Candidate against stable",
        [
            series(
                "Errors of the candidate",
                "The share of the rows sent to it that it failed. Stable answered them.",
                "percentunit",
                (f"model:rollcast_candidate_errors:ratio_rate5m{{{_OF}}}", _MODEL),
            ),
            series(
                "Cost of the candidate",
                "What a row costs the candidate, as a multiple of what the same row costs stable.",
                "short",
                (f"model:rollcast_candidate_cost:ratio_rate5m{{{_OF}}}", _MODEL),
            ),
            series(
                "Compared rows",
                "Rows that both scored, in shadow and in every 20th canary batch, by what the candidate said.",
                "reqps",
                (f"model:rollcast_compared_rows:rate5m{{{_OF}}}", _MODEL + " {{result}}"),
                stacked=True,
            ),
            series(
                "Answers of the candidate",
                "Predictions that it made, and rows of its share that stable answered.",
                "reqps",
                (of_slots(f"rate(rollcast_predictor_candidate_predictions_total[{_RATE}])"), _MODEL + " candidate"),
                (of_slots(f"rate(rollcast_predictor_fallbacks_total[{_RATE}])"), _MODEL + " fallback"),
            ),
            series(
                "Shadow predictions lost",
                "What found no room on its way to topic shadow_predictions. Nobody waits for it.",
                "reqps",
                (of_slots(f"rate(rollcast_predictor_shadow_predictions_lost_total[{_RATE}])"), _MODEL),
            ),
            series(
                "Swaps",
                "Times that another version began to serve, on each slot.",
                "short",
                by_slot(rose("rollcast_predictor_model_swaps_total")),
            ),
        ],
    ),
    Row(
        "Operator",
        [
            series(
                "Transitions",
                "Phases reached, failures and refusals, as in the events of ModelVersions.",
                "short",
                (f"sum by (reason) ({rose('rollcast_operator_transitions_total')})", "{{reason}}"),
            ),
            series(
                "Taken back",
                "Versions that failed or were rolled back since the operator started, by reason.",
                "short",
                ("sum by (reason) (rollcast_operator_aborted_rollouts_total)", "{{reason}}"),
            ),
            series(
                "ModelVersions",
                "How many there are, by phase.",
                "short",
                ("sum by (phase) (rollcast_operator_model_versions)", "{{phase}}"),
                stacked=True,
            ),
            series(
                "Duration of a turn",
                "Look at a model, plan, carry out.",
                "s",
                (_turn_quantile(0.5), "p50"),
                (_turn_quantile(0.99), "p99"),
            ),
            series(
                "Failed turns",
                "Turns that are made again: the API server did not answer (api), or a bug of the operator (bug).",
                "short",
                (f"sum by (why) ({rose('rollcast_operator_failed_reconciles_total')})", "{{why}}"),
            ),
            series(
                "Writes to the API server",
                "By verb and resource. An operator with nothing to do writes nothing.",
                "reqps",
                (
                    f"sum by (verb, resource) (rate(rollcast_operator_api_writes_total[{_RATE}]))",
                    "{{verb}} {{resource}}",
                ),
            ),
            series(
                "Announcements",
                "Records of topic train, by what became of them.",
                "short",
                (f"sum by (result) ({rose('rollcast_operator_announcements_total')})", "{{result}}"),
            ),
            series(
                "Watches begun again",
                "How many times watching the cluster had to begin again, since the operator started.",
                "short",
                ("sum(rollcast_operator_watch_restarts)", "restarts"),
            ),
            series(
                "Slots refused",
                "Slots that the API server would not take as they were wanted.",
                "short",
                (f"sum({rose('rollcast_operator_workloads_refused_total')})", "refused"),
            ),
        ],
    ),
]


def channel_quantile(quantile: float, histogram: str) -> tuple[str, str]:
    return (
        f"histogram_quantile({quantile}, sum by (channel, le) (rate({histogram}_bucket[{_RATE}])))",
        f"{{{{channel}}}} p{quantile * 100:.0f}",
    )


_DELIVERY = [
    Row(
        "Now",
        [
            stat(
                "Predictions read",
                "Predictions that the notifier reads from app_messages, a second.",
                "reqps",
                "sum(rate(rollcast_notifier_predictions_total[5m]))",
            ),
            stat(
                "Predictions waiting",
                "Records of app_messages that the notifier has not read yet.",
                "short",
                "sum(rollcast_notifier_lag_records)",
            ),
            stat(
                "In the outbox",
                "Notifications that are still to be handed over.",
                "short",
                "sum(rollcast_notifier_outbox_open)",
            ),
            stat(
                "Oldest in the outbox",
                "How long the oldest of them has waited.",
                "s",
                "max(rollcast_notifier_outbox_oldest_seconds)",
            ),
            stat(
                "Channels down",
                "Channels over which nobody is reached now.",
                "short",
                "count(rollcast_notifier_channel_up == 0) or vector(0)",
            ),
            stat(
                "Rules",
                "Rules of notifications.yaml that are in effect.",
                "short",
                "max(rollcast_notifier_rules)",
            ),
        ],
    ),
    Row(
        "Notifications",
        [
            series(
                "By state",
                "Notifications that reached each state, a second.",
                "reqps",
                (
                    f"sum by (channel, state) (rate(rollcast_notifier_notifications_total[{_RATE}]))",
                    "{{channel}} {{state}}",
                ),
            ),
            series(
                "From prediction to channel",
                "From the timestamp of the prediction to its being handed to the channel.",
                "s",
                channel_quantile(0.5, "rollcast_notifier_delivery_seconds"),
                channel_quantile(0.99, "rollcast_notifier_delivery_seconds"),
            ),
            series(
                "Handing over",
                "How long a channel takes to accept a notification.",
                "s",
                channel_quantile(0.5, "rollcast_notifier_send_seconds"),
                channel_quantile(0.99, "rollcast_notifier_send_seconds"),
            ),
            series(
                "Open",
                "Notifications that are still to be handed over, by channel.",
                "short",
                ("sum by (channel) (rollcast_notifier_outbox_open)", "{{channel}}"),
                stacked=True,
            ),
            series(
                "Oldest",
                "How long the oldest open notification has waited, by channel.",
                "s",
                ("max by (channel) (rollcast_notifier_outbox_oldest_seconds)", "{{channel}}"),
            ),
            series(
                "Size of the outbox",
                "The file that keeps notifications until they are handed over.",
                "bytes",
                ("sum(rollcast_notifier_outbox_bytes)", "outbox"),
            ),
        ],
    ),
    Row(
        "Channels",
        [
            series(
                "Up",
                "1 while a channel can be reached.",
                "short",
                ("min by (channel) (rollcast_notifier_channel_up)", "{{channel}}"),
                most=1,
            ),
            series(
                "Tried again",
                "Notifications that a channel did not take and that are tried again.",
                "short",
                (f"sum by (channel) ({rose('rollcast_notifier_retries_total')})", "{{channel}}"),
            ),
            series(
                "Outcome unknown",
                "Handed over, and the connection ended before the answer: it may have arrived, or not.",
                "short",
                (f"sum by (channel) ({rose('rollcast_notifier_unknown_outcomes_total')})", "{{channel}}"),
            ),
        ],
    ),
    Row(
        "People",
        [
            series(
                "What people send",
                "Requests and answers that came in over a channel, and what was refused or not clear.",
                "short",
                (f"sum by (channel, kind) ({rose('rollcast_notifier_inbound_total')})", "{{channel}} {{kind}}"),
            ),
            series(
                "Console sessions",
                "Web consoles that are open now.",
                "short",
                ("sum(rollcast_notifier_console_sessions)", "sessions"),
            ),
            series(
                "Rules not accepted",
                "Changes of notifications.yaml that were not taken. The rules before them go on.",
                "short",
                (f"sum({rose('rollcast_notifier_rules_reload_failures_total')})", "refused"),
            ),
        ],
    ),
]


def dashboards() -> dict[str, Json]:
    """Each dashboard, by the name of its file."""
    of_models = _variables("installation", "model_namespace", "model")
    return {
        "stream.json": _dashboard(
            "stream", "Stream", "Requests, answers and slots: is everything answered, and how fast?", _STREAM, of_models
        ),
        "rollout.json": _dashboard(
            "rollout",
            "Rollout",
            "Which version answers which share, how a candidate does, and why.",
            _ROLLOUT,
            of_models,
        ),
        "delivery.json": _dashboard(
            "delivery", "Delivery", "Whether people are told, how soon, and what they answer.", _DELIVERY, []
        ),
    }


def main() -> None:
    for name, dashboard in dashboards().items():
        (_FOLDER / name).write_text(_text(dashboard), encoding="utf-8")


def _text(dashboard: Json) -> str:
    return json.dumps(dashboard, indent=2, ensure_ascii=False) + "\n"


def _dashboard(uid: str, title: str, description: str, rows: Sequence[Row], variables: list[Json]) -> Json:
    return {
        "uid": f"rollcast-{uid}",
        "title": f"Rollcast / {title}",
        "description": description,
        "tags": ["rollcast"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "links": [
            {"type": "dashboards", "title": "Rollcast", "tags": ["rollcast"], "asDropdown": True, "keepTime": True}
        ],
        "templating": {
            "list": [
                {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
                *variables,
            ]
        },
        "panels": _laid_out(rows),
    }


def _variables(*labels: str) -> list[Json]:
    """One for each label; what is chosen in the first narrows the next."""
    found: list[Json] = []
    chosen: list[str] = []
    for label in labels:
        name = label.removeprefix("model_")
        found.append(
            {
                "name": name,
                "label": name.capitalize(),
                "type": "query",
                "datasource": _SOURCE,
                "query": {
                    "query": f"label_values(rollcast_predictor_slot_info{{{', '.join(chosen)}}}, {label})",
                    "refId": "Variable",
                },
                "refresh": 2,
                "sort": 1,
                "multi": True,
                "includeAll": True,
                "allValue": ".*",
                "current": {"text": ["All"], "value": ["$__all"]},
            }
        )
        chosen.append(f'{label}=~"${name}"')
    return found


def _laid_out(rows: Sequence[Row]) -> list[Json]:
    """From left to right, in lines of 24 columns."""
    panels: list[Json] = []
    top = 0
    for row in rows:
        place = {"x": 0, "y": top, "w": _COLUMNS, "h": 1}
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "gridPos": place,
                "panels": [],
            }
        )
        top += 1
        left = height = 0
        for panel in row.panels:
            if left + panel.width > _COLUMNS:
                top, left = top + height, 0
            height = _STAT_HEIGHT if panel.kind == "stat" else _HEIGHT
            place = {"x": left, "y": top, "w": panel.width, "h": height}
            panels.append({"id": len(panels) + 1, "gridPos": place, **_panel(panel)})
            left += panel.width
        top += height
    return panels


def _panel(panel: Panel) -> Json:
    is_now = panel.kind in ("stat", "table")
    defaults: Json = {"unit": panel.unit, "min": 0}
    if panel.most is not None:
        defaults["max"] = panel.most
    if panel.words:
        options = {value: {"text": text, "index": index} for index, (value, text) in enumerate(panel.words)}
        defaults["mappings"] = [{"type": "value", "options": options}]
    if panel.kind == "timeseries":
        defaults["custom"] = {
            "fillOpacity": 20 if panel.stacked else 5,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        }
    targets = [
        {
            "refId": chr(ord("A") + number),
            "datasource": _SOURCE,
            "expr": expression,
            "legendFormat": legend or "__auto",
            "instant": is_now,
            "range": not is_now,
            **({"format": "table"} if panel.kind == "table" else {}),
        }
        for number, (expression, legend) in enumerate(panel.queries)
    ]
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _options(panel),
        "targets": targets,
        **({"transformations": [_without_noise()]} if panel.kind == "table" else {}),
    }


def _options(panel: Panel) -> Json:
    if panel.kind == "stat":
        return {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": "none",
            "graphMode": "none",
            "textMode": "value",
        }
    if panel.kind == "table":
        return {"showHeader": True, "cellHeight": "sm"}
    return {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }


def _without_noise() -> Json:
    """A table's columns are labels; those of the scrape say nothing here."""
    hidden = ("Time", "__name__", "job", "instance", "endpoint", "container", "pod", "namespace")
    return {
        "id": "organize",
        "options": {"excludeByName": dict.fromkeys(hidden, True), "indexByName": {}, "renameByName": {}},
    }


if __name__ == "__main__":
    main()
