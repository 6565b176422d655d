"""One broker, or three that replicate to each other, each of which can be killed and started again."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.env.kafka import params_for
from tests.env.missing import missing

from rollcast_cli.local import kafka_jars
from rollcast_cli.local.kafka_jars import JarsUnavailable, KafkaBroker, available, fetch_jars
from rollcast_cli.local.ports import free_ports
from rollcast_cli.local.processes import wait_until
from rollcast_common.kafka import ErrorWatch, KafkaParams, TopicNames, create_topics, make_admin, topic_specs

__all__ = ["Cluster", "kafka_cluster"]

_STOPPED_SECONDS = 2.0


_QUICK = {"transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000"}
"""What a stopped slot leaves open ends soon. Of three brokers another leads then, and an only one is not killed."""


class _Member(KafkaBroker):
    """A broker and controller of three: what is kept once elsewhere is kept three times, and two must have it."""

    def __init__(self, folder: Path, jars: Path, *, number: int, ports: Sequence[tuple[int, int]]) -> None:
        super().__init__(folder, jars, ports=ports[number - 1], extra_properties=_QUICK)
        voters = ",".join(f"{node}@127.0.0.1:{controller}" for node, (_, controller) in enumerate(ports, start=1))
        self._own = {
            "node.id": str(number),
            "controller.quorum.voters": voters,
            "default.replication.factor": "3",
            "min.insync.replicas": "2",
            "offsets.topic.replication.factor": "3",
            "transaction.state.log.replication.factor": "3",
            "transaction.state.log.min.isr": "2",
            "share.coordinator.state.topic.replication.factor": "3",
            "share.coordinator.state.topic.min.isr": "2",
        }

    def _configure(self) -> None:
        super()._configure()
        path = self.folder / "server.properties"
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if line.partition("=")[0] not in self._own]
        own = [f"{name}={value}" for name, value in self._own.items()]
        path.write_text("\n".join([*kept, *own, ""]), encoding="utf-8")


class Cluster:
    def __init__(self, brokers: Sequence[KafkaBroker]) -> None:
        self._brokers = brokers

    def __len__(self) -> int:
        return len(self._brokers)

    @property
    def params(self) -> KafkaParams:
        return params_for(",".join(broker.servers for broker in self._brokers))

    def start(self) -> None:
        # None is up before most are.
        with ThreadPoolExecutor(len(self._brokers)) as pool:
            list(pool.map(lambda broker: broker.start(), self._brokers))

    def stop(self) -> None:
        with ThreadPoolExecutor(len(self._brokers)) as pool:
            list(pool.map(lambda broker: broker.stop(), self._brokers))

    def create_topics(self, prefix: str, partitions: int) -> TopicNames:
        names = TopicNames(prefix=prefix)
        params = self.params
        admin = make_admin(params, ErrorWatch(params.broker.servers), client_id="chaos-topics")

        def all_there() -> bool:
            return len(admin.list_topics(timeout=10).brokers) == len(self)

        wait_until(all_there, what="all brokers are registered", timeout_seconds=60)
        specs = topic_specs(names, partitions=partitions)
        create_topics(admin, specs, replication=len(self), servers=params.broker.servers)
        return names

    def kill(self, number: int) -> None:
        self._brokers[number].kill()

    def restart(self, number: int) -> None:
        """After `kill`, on the same data and ports; returns when every partition has all its replicas again."""
        self._brokers[number].start()
        params = self.params
        admin = make_admin(params, ErrorWatch(params.broker.servers), client_id="chaos-restart")

        def whole() -> bool:
            with contextlib.suppress(Exception):  # it is not up yet, whatever it is that says so
                topics = admin.list_topics(timeout=5).topics.values()
                return all(
                    len(partition.isrs) == len(partition.replicas)
                    for topic in topics
                    for partition in topic.partitions.values()
                )
            return False

        wait_until(whole, what="every replica is in sync", timeout_seconds=120)

    def pause(self, number: int, seconds: float = _STOPPED_SECONDS) -> None:
        pid = self._brokers[number].child.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(seconds)  # the fault itself
        finally:
            os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def kafka_cluster(folder: Path, brokers: int) -> Iterator[Cluster]:
    """Skips where Java or Maven is missing."""
    here = available()
    if not here.works:
        missing(f"needs Java 17 and Maven: {here.why_not}")
    try:
        jars = fetch_jars()
    except JarsUnavailable as error:
        missing(f"needs Java 17 and Maven: {error}")
    free = free_ports(2 * brokers)
    ports = list(zip(free[::2], free[1::2], strict=True))
    numbers = range(1, brokers + 1)
    members = [
        _Member(folder / f"broker-{number}", jars, number=number, ports=ports)
        if brokers > 1
        else KafkaBroker(folder / f"broker-{number}", jars, ports=ports[0], extra_properties=_QUICK)
        for number in numbers
    ]
    cluster = Cluster(members)
    try:
        with _one_cluster_id():
            cluster.start()
        yield cluster
    finally:
        cluster.stop()


@contextlib.contextmanager
def _one_cluster_id() -> Iterator[None]:
    """Brokers are formatted with a random cluster id each: members of a cluster must agree on one."""
    original, one = kafka_jars._random_uuid, kafka_jars._random_uuid()
    kafka_jars._random_uuid = lambda: one
    try:
        yield
    finally:
        kafka_jars._random_uuid = original
