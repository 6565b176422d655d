"""Kafka record headers as this code handles them: UTF-8 text, first one of a name wins."""

from collections.abc import Iterable

__all__ = ["RawHeaders", "header", "header_texts"]

RawHeaders = Iterable[tuple[str, bytes | str | None]]


def _text(value: bytes | str | None) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value or ""


def header(headers: RawHeaders | None, name: str) -> str | None:
    for key, value in headers or ():
        if key == name:
            return _text(value)
    return None


def header_texts(headers: RawHeaders | None) -> dict[str, str]:
    """All headers as text; of a repeated name the first one."""
    texts: dict[str, str] = {}
    for key, value in headers or ():
        texts.setdefault(key, _text(value))
    return texts
