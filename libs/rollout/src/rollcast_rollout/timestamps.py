"""Times as statuses show them: RFC 3339 in UTC, whole seconds."""

from datetime import UTC, datetime

__all__ = ["rfc3339", "seconds_of"]


def rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_of(text: object) -> float:
    """0 for what is no time."""
    try:
        return datetime.fromisoformat(text).timestamp() if isinstance(text, str) else 0.0
    except ValueError:
        return 0.0
