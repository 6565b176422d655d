"""What a rollout looked like from outside: its steps, and what share of the outputs the candidate really had. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

__all__ = ["Moment", "last_made_ms", "moments"]


@dataclass(frozen=True, slots=True)
class Moment:
    """A step of a rollout. `share` is what part of the outputs until the next moment its version made; None of none."""

    time_ms: float
    version: str
    reason: str
    message: str
    share: float | None


def moments(
    events: Sequence[Mapping[str, Any]], versions: Mapping[str, str], made: Mapping[tuple[int, str], int], end_ms: float
) -> list[Moment]:
    """`events` are in order; `versions` by the ModelVersion's name; `made` are predictions by when and version."""
    times = [datetime.fromisoformat(event["time"]).timestamp() * 1000 for event in events]
    found = []
    for position, (event, time_ms) in enumerate(zip(events, times, strict=True)):
        until = times[position + 1] if position + 1 < len(times) else end_ms
        version = versions.get(event["name"] or "", "?")
        share = _share(made.items(), version, time_ms, until)
        found.append(Moment(time_ms, version, event["reason"], event["message"], share))
    return found


def _share(made: Iterable[tuple[tuple[int, str], int]], version: str, since: float, until: float) -> float | None:
    inside = [(of, count) for (at, of), count in made if since <= at < until]
    total = sum(count for _, count in inside)
    return sum(count for of, count in inside if of == version) / total if total else None


def last_made_ms(made: Mapping[tuple[int, str], int], version: str) -> int | None:
    return max((at for at, of in made if of == version), default=None)
