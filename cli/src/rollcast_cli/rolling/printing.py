"""ModelVersions in kubectl's columns and words. Pure: what is printed depends on nothing but the arguments."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import yaml

from rollcast_cli.rolling.resources import RESOURCE_TYPE, Resource, Said
from rollcast_rollout.validation import with_defaults

__all__ = [
    "COLUMNS",
    "WIDE_COLUMNS",
    "as_json",
    "as_yaml",
    "columns",
    "described",
    "event_rows",
    "full_name",
    "human_age",
    "row",
]

NONE = "<none>"
COLUMNS = ("NAME", "MODEL", "VERSION", "PHASE", "WEIGHT", "READY", "REASON", "AGE")
WIDE_COLUMNS = (*COLUMNS, "SEQUENCE", "SHA256", "SLOTS", "SAMPLES", "ARTIFACT")
EVENT_COLUMNS = ("LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE")

_SHORT_DIGEST = 12
_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 86400, 365 * 86400


def full_name(name: str) -> str:
    return f"{RESOURCE_TYPE}/{name}"


def columns(rows: Sequence[Sequence[str]], widths: Sequence[int] = ()) -> list[str]:
    """As kubectl lines them up; `widths` are at least these."""
    most = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    most = [max(width, least) for width, least in zip(most, [*widths, *([0] * len(most))], strict=False)]
    return ["   ".join(cell.ljust(width) for cell, width in zip(row, most, strict=True)).rstrip() for row in rows]


def row(resource: Resource, now: float, *, wide: bool = False, digest: str | None = None) -> tuple[str, ...]:
    """`digest` is what its bytes were pinned to."""
    spec, status = resource["spec"], resource.get("status") or {}
    ready = _condition(resource, "Ready")
    rollout = status.get("rollout") or {}
    cells: tuple[Any, ...] = (
        resource["metadata"]["name"],
        spec["model"],
        spec["version"],
        status.get("phase", ""),
        rollout.get("weight", ""),
        ready.get("status", ""),
        ready.get("reason", ""),
        human_age(now - _seconds(resource["metadata"]["creationTimestamp"])),
    )
    if wide:
        slots = status.get("predictor")
        digest = spec["artifact"].get("sha256") or digest
        cells += (
            status.get("sequence", ""),
            digest[:_SHORT_DIGEST] if digest else NONE,
            f"{slots['readySlots']}/{slots['slots']}" if slots else NONE,
            rollout.get("samples", NONE),
            spec["artifact"]["uri"],
        )
    return tuple(map(str, cells))


def event_rows(events: Iterable[Said], now: float) -> list[tuple[str, ...]]:
    return [
        (
            human_age(now - event.time),
            event.type,
            event.reason,
            f"modelversion/{event.name}",
            event.message,
        )
        for event in events
    ]


def as_json(resources: Sequence[Resource], *, is_list: bool) -> str:
    return json.dumps(_listed(resources) if is_list else resources[0], indent=4, ensure_ascii=False) + "\n"


def as_yaml(resources: Sequence[Resource], *, is_list: bool) -> str:
    shown = _listed(resources) if is_list else resources[0]
    return yaml.safe_dump(shown, sort_keys=True, allow_unicode=True, default_flow_style=False)


def _listed(resources: Sequence[Resource]) -> dict[str, Any]:
    return {"apiVersion": "v1", "items": list(resources), "kind": "List", "metadata": {"resourceVersion": ""}}


def human_age(seconds: float) -> str:
    """As kubectl says it: the older, the coarser."""
    whole = max(int(seconds), 0)
    for until, shown in _AGES:
        if whole < until:
            return shown(whole)
    return f"{whole // _YEAR}y"


def _two(whole: int, large: int, large_name: str, small: int, small_name: str) -> str:
    rest = whole % large // small
    return f"{whole // large}{large_name}" + (f"{rest}{small_name}" if rest else "")


_AGES: Sequence[tuple[int, Callable[[int], str]]] = (
    (2 * _MINUTE, lambda age: f"{age}s"),
    (10 * _MINUTE, lambda age: _two(age, _MINUTE, "m", 1, "s")),
    (3 * _HOUR, lambda age: f"{age // _MINUTE}m"),
    (8 * _HOUR, lambda age: _two(age, _HOUR, "h", _MINUTE, "m")),
    (2 * _DAY, lambda age: f"{age // _HOUR}h"),
    (8 * _DAY, lambda age: _two(age, _DAY, "d", _HOUR, "h")),
    (2 * _YEAR, lambda age: f"{age // _DAY}d"),
    (8 * _YEAR, lambda age: _two(age, _YEAR, "y", _DAY, "d")),
)


# One of them, at length.


def described(resource: Resource, events: Sequence[Said], now: float, *, digest: str | None = None) -> str:
    """`events` are its own, the oldest first."""
    metadata, status = resource["metadata"], resource.get("status") or {}
    spec = with_defaults(resource)["spec"]
    facts = [
        ("Name", metadata["name"]),
        ("Namespace", metadata.get("namespace", NONE)),
        ("Labels", _marks(metadata.get("labels"))),
        ("Annotations", _marks(metadata.get("annotations"))),
        ("Created", _moment(metadata["creationTimestamp"], now)),
        *([("Deleted", _moment(metadata["deletionTimestamp"], now))] if "deletionTimestamp" in metadata else []),
        ("Model", spec["model"]),
        ("Version", spec["version"]),
        ("Artifact", f"{spec['artifact']['uri']} ({spec['artifact']['format']})"),
        ("Sha256", spec["artifact"].get("sha256") or digest or "not pinned yet"),
        ("Serving", _serving(spec["serving"])),
        ("Rollout", _steps(spec["rollout"])),
        ("Aborts", _abort(spec["rollout"]["abort"])),
        ("Phase", _phase(status)),
    ]
    if rollout := status.get("rollout"):
        facts.append(("Step", _rolling(rollout, now)))
    if slots := status.get("predictor"):
        facts.append(("Slots", f"{slots['readySlots']} of {slots['slots']} ready"))
    if failure := status.get("lastFailure"):
        when = _moment(failure["time"], now)
        facts.append(
            ("Last failure", f"{failure['reason']}: {failure['message']} (version {failure['version']}, {when})")
        )
    lines = columns([(f"{name}:", value) for name, value in facts])
    lines += _section("Conditions", ("TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"), _conditions(status, now))
    shown = [(human_age(now - event.time), event.type, event.reason, event.message) for event in events]
    lines += _section("Events", ("AGE", "TYPE", "REASON", "MESSAGE"), shown)
    return "\n".join(lines) + "\n"


def _section(title: str, head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    if not rows:
        return [f"{title}:  {NONE}"]
    return [f"{title}:", *(f"  {line}" for line in columns([head, *rows]))]


def _conditions(status: Mapping[str, Any], now: float) -> list[tuple[str, ...]]:
    return [
        (
            condition["type"],
            condition["status"],
            condition["reason"],
            human_age(now - _seconds(condition["lastTransitionTime"])),
            condition["message"],
        )
        for condition in status.get("conditions") or []
    ]


def _phase(status: Mapping[str, Any]) -> str:
    phase = status.get("phase")
    return f"{phase} (sequence {status.get('sequence')})" if phase else "nobody has looked at it yet"


def _rolling(rollout: Mapping[str, Any], now: float) -> str:
    samples = f", {rollout['samples']} predictions" if "samples" in rollout else ""
    since = human_age(now - _seconds(rollout["since"]))
    return f"{rollout.get('step', '?')}, {rollout.get('weight', 0)} % of the keys for {since}{samples}"


def _serving(serving: Mapping[str, Any]) -> str:
    scaling = serving.get("autoscaling")
    slots = f"{scaling['min']} to {scaling['max']}" if scaling else str(serving["replicas"])
    image = f", image {serving['image']}" if serving.get("image") else ""
    return f"{serving['inputTopic']} -> {serving['outputTopic']}, slots: {slots}{image}"


def _steps(rollout: Mapping[str, Any]) -> str:
    shadow = rollout["shadow"]["forSeconds"]
    parts = [f"shadow {shadow} s"] if shadow else []
    for step in rollout["steps"]:
        least = f" and {step['minPredictions']} predictions" if step.get("minPredictions") else ""
        parts.append(f"{step['weight']} % for {step.get('forSeconds', 0)} s{least}")
    return ", ".join([*parts, "all"]) + (" (spec.rollout.paused)" if rollout["paused"] else "")


def _abort(abort: Mapping[str, Any]) -> str:
    words = {
        "errorRatioAbove": "error ratio",
        "costRatioAbove": "cost ratio",
        "predictionDriftAbove": "prediction drift",
        "liveErrorRatioAbove": "live error ratio",
    }
    on = [f"{word} above {abort[name]:g}" for name, word in words.items() if abort.get(name) is not None]
    return ", ".join(on) or "never"


def _marks(marks: Mapping[str, str] | None) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted((marks or {}).items())) or NONE


def _condition(resource: Resource, kind: str) -> Mapping[str, Any]:
    conditions = (resource.get("status") or {}).get("conditions") or []
    return next((condition for condition in conditions if condition["type"] == kind), {})


def _moment(text: str, now: float) -> str:
    at = datetime.fromisoformat(text)
    return f"{at:%Y-%m-%dT%H:%M:%SZ}, {human_age(now - at.timestamp())} ago"


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
