"""What the bridge does when its consumer reports an error."""

import threading
from typing import Any

import pytest
from confluent_kafka import KafkaError

from rollcast_common.kafka import KafkaBrokerParams, KafkaParams
from rollcast_control.bridge_loop import Bridge

_SECONDS = 30.0


class _Reported:
    """Comes from `poll` in a message's place."""

    def error(self) -> KafkaError:
        return KafkaError(KafkaError.NOT_COORDINATOR)


class _Consumer:
    """As seen while a coordinator moves: it reports the error once, and without another `assign` nothing more comes."""

    def __init__(self) -> None:
        self.assigned = 0
        self.assigned_again = threading.Event()

    def list_topics(self, topic: str, timeout: float) -> Any:  # noqa: ARG002  # as librdkafka's
        metadata = type("Metadata", (), {"error": None, "partitions": {0: None}})
        return type("Cluster", (), {"topics": {topic: metadata}})

    def assign(self, _: Any) -> None:
        self.assigned += 1
        if self.assigned == 2:
            self.assigned_again.set()

    def poll(self, _: float) -> _Reported | None:
        return _Reported() if self.assigned == 1 else None

    def close(self) -> None: ...


def test_after_an_error_it_is_told_anew_what_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = _Consumer()
    monkeypatch.setattr("rollcast_control.bridge_loop.make_consumer", lambda *_, **__: consumer)
    bridge = Bridge(
        KafkaParams(broker=KafkaBrokerParams(servers="127.0.0.1:9")),
        installation="test",
        bucket="models",
        namespace="default",
        default_model="line",
        template_of=lambda _: {},
        create=lambda _: "created",
    )
    with bridge:
        assert consumer.assigned_again.wait(_SECONDS)
