"""librdkafka's mock cluster in a process of its own: Kafka enough for one machine without Java.

`python -m rollcast_cli.local.embedded_kafka --ready-file FILE` writes the bootstrap address to FILE once it listens.

What it is not: it knows no CreateTopics (a topic comes into being with 4 partitions when a client asks for its
metadata), keeps about 5 MB per partition in memory and silently drops what is older, never compacts, and keeps no
offsets that are committed inside a transaction, so only `at_least_once` holds on it.
"""

import argparse
import contextlib
import signal
import sys
import threading
from pathlib import Path
from typing import Literal

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient

from rollcast_cli.local.processes import Child, start, wait_until
from rollcast_common.errors import KafkaProblem
from rollcast_common.kafka import problem_from
from rollcast_common.kafka.topics import TopicSpec

__all__ = ["EmbeddedKafka"]

_START_SECONDS = 60.0


class EmbeddedKafka:
    """The mock cluster as a broker of the local stack. Raises ChildDied or NotInTime (60 s) when it does not start."""

    kind: Literal["embedded"] = "embedded"
    guarantee: Literal["at_least_once"] = "at_least_once"

    def __init__(self, folder: Path) -> None:
        """`folder` is for its log and its ready file."""
        folder.mkdir(parents=True, exist_ok=True)
        ready = folder / "embedded-kafka.ready"
        ready.unlink(missing_ok=True)
        self.child: Child = start(
            [sys.executable, "-m", "rollcast_cli.local.embedded_kafka", "--ready-file", str(ready)],
            role="Kafka (embedded)",
            log=folder / "embedded-kafka.log",
        )
        try:
            self.servers: str = wait_until(
                lambda: _text(ready),
                what="the embedded Kafka is ready",
                timeout_seconds=_START_SECONDS,
                children=[self.child],
            )
        except BaseException:
            self.child.kill()
            raise

    def create_topics(self, specs: list[TopicSpec]) -> None:
        """Each gets 4 partitions and no configuration, whatever its spec says. Raises KafkaProblem."""
        admin = AdminClient({"bootstrap.servers": self.servers, "log_level": 0})
        for spec in specs:
            doing = f"creating topic {spec.name}"
            try:
                topic = admin.list_topics(topic=spec.name, timeout=10).topics[spec.name]
            except KafkaException as error:
                raise problem_from(error.args[0], doing, self.servers) from None
            if topic.error is not None:
                raise problem_from(topic.error, doing, self.servers)
            if not topic.partitions:
                raise KafkaProblem(f"Kafka at {self.servers}: {doing}: it got no partitions")

    def stop(self) -> None:
        self.child.stop(grace_seconds=3)


def _text(path: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="utf-8")
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description="librdkafka's mock cluster")
    parser.add_argument("--ready-file", type=Path, required=True)
    ready: Path = parser.parse_args().ready_file
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    signal.signal(signal.SIGINT, lambda *_: over.set())
    # The server's address is replaced by the mock's own; each client that leaves would be a line at level 6.
    host = Producer({"bootstrap.servers": "localhost", "test.mock.num.brokers": 1, "log_level": 3})
    brokers = host.list_topics(timeout=10).brokers.values()
    temporary = ready.with_name(f"{ready.name}.part")
    temporary.write_text(",".join(f"{broker.host}:{broker.port}" for broker in brokers), encoding="utf-8")
    temporary.replace(ready)
    over.wait()


if __name__ == "__main__":
    main()
