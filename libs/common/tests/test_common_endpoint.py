"""The endpoint that probes and Prometheus ask."""

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry, Counter

from rollcast_common.endpoint import Endpoint, Health
from rollcast_common.errors import ConfigError


@contextmanager
def endpoint(health: Health | Exception) -> Iterator[str]:
    def state() -> Health:
        if isinstance(health, Exception):
            raise health
        return health

    registry = CollectorRegistry()
    Counter("rollcast_rows", "Rows scored.", registry=registry).inc(3)
    with Endpoint("127.0.0.1", 0, registry, state) as running:
        yield f"http://127.0.0.1:{running.port}"


def get(url: str) -> tuple[int, str, str]:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310  # our own address
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


@pytest.mark.parametrize(
    ("alive", "ready", "healthz", "readyz"),
    [(True, True, 200, 200), (True, False, 200, 503), (False, False, 503, 503), (False, True, 503, 200)],
)
def test_probes(alive: bool, ready: bool, healthz: int, readyz: int) -> None:  # noqa: FBT001  # columns of the table
    with endpoint(Health(alive, ready, {"version": "v2"})) as url:
        for path, status in (("/healthz", healthz), ("/readyz", readyz), ("/healthz?verbose=1", healthz)):
            answered, content_type, body = get(url + path)
            assert (answered, content_type) == (status, "application/json")
            assert json.loads(body) == {"alive": alive, "ready": ready, "version": "v2"}


def test_metrics() -> None:
    with endpoint(Health(alive=False, ready=False, detail={})) as url:
        status, content_type, body = get(url + "/metrics")
    assert status == 200
    assert content_type.startswith("text/plain")
    assert "rollcast_rows_total 3.0" in body.splitlines()


def test_other_paths() -> None:
    with endpoint(Health(alive=True, ready=True, detail={})) as url:
        assert get(url + "/")[::2] == (404, "/metrics /healthz /readyz\n")


def test_a_service_that_cannot_tell_is_not_well() -> None:
    with endpoint(RuntimeError("hunter2")) as url:
        status, _, body = get(url + "/healthz")
    assert status == 503
    assert json.loads(body) == {"alive": False, "ready": False, "error": "RuntimeError"}


def test_details_that_are_no_json() -> None:
    since = datetime(2022, 8, 19, tzinfo=UTC)
    with endpoint(Health(alive=True, ready=True, detail={"since": since})) as url:
        status, _, body = get(url + "/healthz")
    assert (status, json.loads(body)["since"]) == (200, str(since))


def test_a_port_in_use() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            ConfigError, match=f"127.0.0.1:{port} cannot be had: Address already in use; choose another"
        ):
            Endpoint("127.0.0.1", port, CollectorRegistry(), lambda: Health(alive=True, ready=True, detail={}))


def test_no_such_port() -> None:
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:70000 cannot be had: .*0-65535"):
        Endpoint("127.0.0.1", 70_000, CollectorRegistry(), lambda: Health(alive=True, ready=True, detail={}))


def test_after_it_ends_nobody_answers() -> None:
    with endpoint(Health(alive=True, ready=True, detail={})) as url:
        pass
    with pytest.raises(urllib.error.URLError, match="refused"):
        get(url + "/healthz")
