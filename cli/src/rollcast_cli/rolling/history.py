"""What became of each version of a model, from its ModelVersions and from what was said about them. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from rollcast_cli.rolling.printing import human_age
from rollcast_cli.rolling.resources import Resource, Said

__all__ = ["HISTORY_COLUMNS", "Past", "history_of", "history_rows"]

HISTORY_COLUMNS = ("SEQUENCE", "NAME", "VERSION", "PHASE", "LIVE SINCE", "LIVE FOR", "WHY")


@dataclass(slots=True)
class Past:
    name: str
    version: str = ""
    sequence: int | None = None
    phase: str = "Deleted"
    why: str = ""
    live: list[tuple[float, float | None]] = field(default_factory=list)
    """From when to when it was live, in seconds since the epoch; None: it still is."""


def history_of(model: str, resources: Sequence[Resource], events: Sequence[Said]) -> list[Past]:
    """By sequence. Those that were deleted come first, as far as events speak of them."""
    own = {r["metadata"]["uid"]: r for r in resources if r["spec"]["model"] == model}
    pasts: dict[str, Past] = {}
    for event in events:
        if event.uid in own or (event.model == model and event.uid):
            pasts.setdefault(event.uid, Past(event.name, event.version))
    for uid, resource in own.items():
        _tell(pasts.setdefault(uid, Past(resource["metadata"]["name"])), resource)
    live: str | None = None
    for event in events:
        past = pasts.get(event.uid)
        if past is None:
            continue
        if event.reason == "ModelEnded":
            _end(pasts, live, event.time)
            live = None
        if event.reason == "Live" and live != event.uid:
            _end(pasts, live, event.time)
            past.live.append((event.time, None))
            live = event.uid
        if past.phase == "Deleted":
            past.why = event.message
    return sorted(pasts.values(), key=lambda past: (past.sequence is not None, past.sequence or 0))


def _end(pasts: Mapping[str, Past], uid: str | None, time: float) -> None:
    if uid is not None:
        since, _ = pasts[uid].live[-1]
        pasts[uid].live[-1] = (since, time)


def _tell(past: Past, resource: Resource) -> None:
    status: Mapping[str, Any] = resource.get("status") or {}
    past.version = resource["spec"]["version"]
    past.sequence = status.get("sequence")
    past.phase = "Deleting" if "deletionTimestamp" in resource["metadata"] else status.get("phase", "")
    failure = status.get("lastFailure") or {}
    ready: Mapping[str, Any] = next((c for c in status.get("conditions") or [] if c["type"] == "Ready"), {})
    if past.phase in ("Failed", "RolledBack") and failure:
        past.why = f"{failure['reason']}: {failure['message']}"
    else:
        past.why = ready.get("message", "")


def history_rows(pasts: Sequence[Past], now: float) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for past in pasts:
        since = datetime.fromtimestamp(past.live[-1][0], tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if past.live else "-"
        seconds = sum((now if end is None else end) - begin for begin, end in past.live)
        rows.append(
            (
                "" if past.sequence is None else str(past.sequence),
                past.name,
                past.version,
                past.phase,
                since,
                human_age(seconds) if past.live else "-",
                past.why,
            )
        )
    return rows
