"""Who may write to us and be answered: patterns such as `mesibo:*@example.com`."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from rollcast_notifier.notification import Receiver

__all__ = ["is_allowed"]


def is_allowed(who: Receiver, patterns: Sequence[str]) -> bool:
    """`*` is any text and `?` any character. A group is allowed only where a pattern names groups: it has members
    that nobody here knows.
    """
    text = str(who)
    return any(
        fnmatchcase(text, pattern.replace("[", "[[]"))
        for pattern in patterns
        if who.kind == "address" or pattern.startswith(f"{who.channel}:group:")
    )
