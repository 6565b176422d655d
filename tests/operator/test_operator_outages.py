"""The API server, Kafka and a topic go away in the middle of rollouts, and come back."""

import time
from typing import Any

from confluent_kafka.admin import AdminClient
from tests.env.kafka import RealKafka
from tests.env.kubernetes import KubeApi
from tests.env.predictor import Requests
from tests.operator.cluster import Cluster
from tests.operator.traffic import checked, traffic

from rollcast_cli.local.processes import wait_until
from rollcast_common.contracts.assignment import Assignment, decode_assignment
from rollcast_common.errors import TopicMissing
from rollcast_common.kafka import ErrorWatch, create_topics, make_admin, topic_specs

_SLOW = {"steps": [{"weight": 20, "forSeconds": 4, "minPredictions": 20}, {"weight": 50, "forSeconds": 1}]}
_AWAY_SECONDS = 6.0


def test_the_api_server_goes_away_and_comes_back(cluster: Cluster, requests: Requests, api: KubeApi) -> None:
    # An API server that has just started does not know all Roles yet.
    cluster.may_be_forbidden = True
    operator = cluster.begin()
    cluster.wait_phase(cluster.apply("v1", 2), "Live")
    with traffic(requests):
        name = cluster.apply("v2", 3, rollout=_SLOW)
        cluster.wait_phase(name, "Canary")
        api.restart()
        cluster.wait_phase(name, "Live")

        name = cluster.apply("v3", 4, rollout=_SLOW)
        cluster.wait_phase(name, "Canary")
        api.stop()
        try:
            time.sleep(_AWAY_SECONDS)
            assert operator.is_alive
        finally:
            api.start()
        cluster.wait_phase(name, "Live")

        name = cluster.apply("v4", 5, rollout=_SLOW)
        cluster.wait_phase(name, "Canary")
        with api.silent():
            time.sleep(2 * _AWAY_SECONDS)
            assert operator.is_alive
        cluster.wait_phase(name, "Live")
    answers = checked(cluster, requests)
    assert {prediction.version for _, prediction in answers.predictions} == {"v1", "v2", "v3", "v4"}


def _assigned(cluster: Cluster) -> Assignment | None:
    """What the topic holds last."""
    key = str(cluster.identity).encode()
    topic = cluster.world.names.full("assignments")
    try:
        values = [message.value() for message in cluster.world._all_of(topic) if message.key() == key]
    except TopicMissing:  # a topic that has just been made again is not known at once
        return None
    return decode_assignment(values[-1]) if values and values[-1] is not None else None


def _recreate(cluster: Cluster, admin: AdminClient, topic: str) -> None:
    admin.delete_topics([topic])[topic].result(60)
    wait_until(lambda: topic not in admin.list_topics(timeout=30).topics, what="it is deleted", timeout_seconds=60)
    (spec,) = (spec for spec in topic_specs(cluster.world.names, partitions=4) if spec.name == topic)
    create_topics(admin, [spec], replication=1, servers=cluster.world.kafka.broker.servers)


def test_assignments_are_deleted_and_published_again(cluster: Cluster, requests: Requests) -> None:
    cluster.begin()
    cluster.wait_phase(cluster.apply("v1", 2), "Live")
    admin = make_admin(cluster.world.kafka, ErrorWatch(""), client_id="test-admin")
    with traffic(requests):
        before = _assigned(cluster)
        assert before is not None
        _recreate(cluster, admin, cluster.world.names.full("assignments"))
        cluster.wait(lambda: _assigned(cluster) == before, "the same is assigned again")

        name = cluster.apply("v2", 3, rollout=_SLOW)
        cluster.wait_phase(name, "Canary")
        _recreate(cluster, admin, cluster.world.names.full("assignments"))
        cluster.wait_phase(name, "Live")
    answers = checked(cluster, requests)
    assert {prediction.version for _, prediction in answers.predictions} == {"v1", "v2"}


def _kafka_is_away(cluster: Cluster, name: str) -> dict[str, Any] | None:
    """The condition that says so."""
    found = cluster.condition(name, "Progressing")
    return found if found.get("reason") == "KafkaUnavailable" else None


def test_kafka_goes_away_in_a_canary_and_comes_back(cluster: Cluster, requests: Requests, kafka: RealKafka) -> None:
    operator = cluster.begin()
    first = cluster.apply("v1", 2)
    cluster.wait_phase(first, "Live")
    with traffic(requests):
        name = cluster.apply("v2", 3, rollout=_SLOW)
        cluster.wait_phase(name, "Canary")
        kafka.kill()
        try:
            told = cluster.wait(lambda: _kafka_is_away(cluster, name), "it is said")
            assert told["status"] == "Unknown"
            cluster.wait(lambda: operator.metric("kafka_problem") == {"": 1}, "it is shown")
            # What is applied meanwhile waits.
            third = cluster.apply("v3", 4)
            time.sleep(_AWAY_SECONDS)
            assert cluster.phase(first) == "Live"
            assert operator.is_alive
        finally:
            kafka.restart()
        cluster.wait_phase(third, "Live")
    answers = checked(cluster, requests)
    assert {"v1", "v3"} <= {prediction.version for _, prediction in answers.predictions}
    cluster.wait(lambda: operator.metric("kafka_problem") == {"": 0}, "it is shown no longer")
    assert operator.metric("aborted_rollouts_total") == {}
