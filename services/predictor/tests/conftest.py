"""Model files that hosts can load, records as the client gives them, and the profile of hypothesis."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import pytest
from confluent_kafka import Message
from hypothesis import settings

from rollcast_predictor.host_process import HostProcess
from rollcast_predictor.wire import LoadModel

# Reproducible: the same examples in every run, none of them stored.
settings.register_profile("rollcast", derandomize=True, database=None, deadline=None, max_examples=200)
settings.load_profile("rollcast")

_IMPORTABLE = Path(__file__).parent / "importable"
_MEMORY_BYTES = 1_500_000_000


@pytest.fixture(scope="session")
def moody() -> Any:
    """The module of misbehaving models, under the name by which a host imports it."""
    spec = importlib.util.spec_from_file_location("moody", _IMPORTABLE / "moody.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["moody"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def moody_file(moody: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "moody.pkl"
    joblib.dump(moody.Moody(), path)
    return path


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that hosts import from."""
    monkeypatch.setenv("PYTHONPATH", str(_IMPORTABLE))
    return _IMPORTABLE


StartHost = Callable[[], HostProcess]


@pytest.fixture
def host_of(moody_file: Path, importable: Path) -> Iterator[StartHost]:  # noqa: ARG001  # hosts must find the class
    """Start a host and let it load the moody model; all are ended with the test."""
    hosts: list[HostProcess] = []

    def started() -> HostProcess:
        host = HostProcess("moody@1", memory_bytes=_MEMORY_BYTES)
        hosts.append(host)
        request = LoadModel(path=str(moody_file), format="pickle", name="moody@1", allow_pickle=True)
        host.load(request, deadline_seconds=60)
        return host

    yield started
    for host in hosts:
        host.kill()


MakeMessage = Callable[..., Message]


@pytest.fixture
def record() -> MakeMessage:
    """A consumed record of topic requests."""

    def made(
        value: bytes | None = b'{"x":1}',
        *,
        partition: int = 0,
        offset: int = 0,
        key: bytes | None = b"key",
        headers: list[tuple[str, str | bytes | None]] | None = None,
        time_ms: int = 1_700_000_000_000,
    ) -> Message:
        return Message(
            topic="requests",
            partition=partition,
            offset=offset,
            key=key,
            value=value,
            headers=headers,
            timestamp=(1, time_ms),
        )

    return made
