"""What runs and what it does: `rollcast status`."""

from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from rich.table import Table

from rollcast_cli.connection import Connection
from rollcast_cli.local.stack import slot_health
from rollcast_cli.local.state import state_home
from rollcast_cli.rolling.model_store import ModelStore
from rollcast_common.kafka import ErrorWatch, make_consumer, problem_from, reach_broker, topic_ends

__all__ = ["collect_status", "status_tables"]


def collect_status(connection: Connection) -> dict[str, Any]:
    """Processes and slots of the local stack, and how many records each topic holds. Raises KafkaProblem."""
    kafka = connection.kafka
    reach_broker(kafka, client_id="rollcast-status")
    status: dict[str, Any] = {"servers": kafka.broker.servers, "topics": {}}
    if (stack := connection.stack) is not None:
        status |= {
            "installation": stack.installation,
            "broker": stack.broker,
            "guarantee": stack.guarantee,
            "model": stack.model,
            "s3": stack.s3.endpoint_url,
            "console": stack.console.model_dump() if stack.console is not None else None,
            "processes": [{"role": p.role, "pid": p.pid, "alive": p.alive} for p in stack.processes],
            "slots": [{"role": role, **(slot_health(port) or {})} for role, port in stack.metrics_ports.items()],
            "model_versions": [_model_version(resource) for resource in ModelStore(state_home() / "models").all()],
        }
    watch = ErrorWatch(kafka.broker.servers)
    consumer = make_consumer(kafka, watch, client_id="rollcast-status", group_id="rollcast-status")
    doing = "listing topics"
    try:
        present = consumer.list_topics(timeout=10).topics
        for topic in kafka.topics.all_full():
            if topic not in present:
                status["topics"][topic] = None
                continue
            doing = f"reading {topic}"
            ends = topic_ends(consumer, topic, kafka.broker.servers)
            records = 0
            for end in ends:
                watermarks = consumer.get_watermark_offsets(TopicPartition(end.topic, end.partition), timeout=10)
                records += watermarks[1] - watermarks[0]
            status["topics"][topic] = {"partitions": len(ends), "offsets": records}
    except KafkaException as error:
        raise problem_from(error.args[0], doing, kafka.broker.servers) from None
    finally:
        consumer.close()
    return status


def _model_version(resource: Mapping[str, Any]) -> dict[str, Any]:
    state = resource.get("status") or {}
    conditions = state.get("conditions") or []
    return {
        "name": resource["metadata"]["name"],
        "model": resource["spec"]["model"],
        "version": resource["spec"]["version"],
        "phase": state.get("phase"),
        "weight": (state.get("rollout") or {}).get("weight"),
        "reason": next((condition["reason"] for condition in conditions if condition["type"] == "Ready"), None),
    }


def status_tables(status: dict[str, Any]) -> list[Table]:
    tables = []
    if "processes" in status:
        guarantee = status["guarantee"].replace("_", " ")
        title = f"broker {status['broker']} ({guarantee})"
        access = status.get("console")
        caption = f"web console {access['url']}, user {access['user']}, token {access['token']}" if access else None
        processes = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
        for name in ("process", "pid", "state"):
            processes.add_column(name)
        for process in status["processes"]:
            processes.add_row(process["role"], str(process["pid"]), "runs" if process["alive"] else "[red]ended[/red]")
        tables += [processes, _versions_table(status["model_versions"]), _slots_table(status["slots"])]
    topics = Table(title=f"topics at {status['servers']}", title_justify="left")
    topics.add_column("topic")
    topics.add_column("partitions", justify="right")
    # A transaction's end takes an offset, too, so this is no count of records.
    topics.add_column("offsets, markers included", justify="right")
    for topic, facts in status["topics"].items():
        if facts is None:
            topics.add_row(topic, "[red]missing[/red]", "`rollcast topics create`")
        else:
            topics.add_row(topic, str(facts["partitions"]), f"{facts['offsets']:,}")
    return [*tables, topics]


def _versions_table(versions: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="model versions (`rollcast get`)", title_justify="left")
    for name in ("name", "model", "version", "phase", "weight", "why"):
        table.add_column(name, overflow="fold")
    for version in versions:
        weight = version["weight"]
        table.add_row(
            version["name"],
            version["model"],
            version["version"],
            version["phase"] or "-",
            "-" if weight is None else f"{weight} %",
            version["reason"] or "-",
        )
    return table


def _slots_table(slots: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="slots", title_justify="left")
    for name in ("slot", "state", "version", "candidate", "partitions", "problem"):
        table.add_column(name, overflow="fold")
    for slot in slots:
        state = "no answer" if "ready" not in slot else "ready" if slot["ready"] else "waiting for a model"
        candidate = slot.get("candidate")
        weight = f", {slot['weight']:g} %" if slot.get("weight") else ""
        table.add_row(
            slot["role"],
            state,
            slot.get("version") or "-",
            f"{candidate}{weight}" if candidate else "-",
            str(slot.get("partitions", "-")),
            slot.get("problem") or "-",
        )
    return table
