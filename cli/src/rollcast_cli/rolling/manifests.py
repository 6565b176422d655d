"""What `-f` names: files, folders of files, or standard input."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollcast_common.errors import ConfigError
from rollcast_rollout.validation import parse_model_versions

__all__ = ["Manifest", "manifests"]

_ENDINGS = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Manifest:
    source: str
    value: dict[str, Any]


def manifests(names: list[str]) -> Iterator[Manifest | ConfigError]:
    """In order. What cannot be read is an error among the others: it does not keep them from being applied."""
    for name in names:
        try:
            sources = list(_sources(name))
        except ConfigError as error:
            yield error
            continue
        for source in sources:
            try:
                for value in parse_model_versions(_text(source), source):
                    yield Manifest(source, value)
            except ConfigError as error:
                yield error


def _sources(name: str) -> Iterator[str]:
    path = Path(name)
    if name == "-" or path.is_file():
        yield name
    elif path.is_dir():
        found = sorted(each for each in path.iterdir() if each.suffix in _ENDINGS and each.is_file())
        if not found:
            raise ConfigError(f"{name}: holds no file that ends in {', '.join(_ENDINGS)}")
        yield from map(str, found)
    else:
        raise ConfigError(f"{name}: no such file or folder")


def _text(source: str) -> str:
    try:
        return sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{source}: cannot be read: it is not UTF-8 text") from None
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read: {error.strerror or error}") from None
