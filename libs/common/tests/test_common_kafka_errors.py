"""KafkaError: what to do about it, and how it is said."""

import socket
import time

import pytest
from confluent_kafka import KafkaError, Producer

from rollcast_common.errors import KafkaDenied, KafkaProblem, KafkaUnavailable, TopicMissing
from rollcast_common.kafka import ErrorWatch, KafkaParams, Verdict, classify, problem_from, reach_broker


def error(code: int, *, fatal: bool = False, retriable: bool = False, abort: bool = False) -> KafkaError:
    return KafkaError(code, "the broker's words", fatal, retriable, abort)


CLASSIFIED = {
    "retriable": (error(KafkaError._TIMED_OUT, retriable=True), Verdict.RETRY),
    "abortable": (error(KafkaError.ILLEGAL_GENERATION, abort=True), Verdict.ABORT),
    "abortable before retriable": (
        error(KafkaError.UNKNOWN_MEMBER_ID, retriable=True, abort=True),
        Verdict.ABORT,
    ),
    "an ACL denial inside a transaction": (error(KafkaError._INCONSISTENT, abort=True), Verdict.ABORT),
    "fatal": (error(KafkaError.INVALID_PRODUCER_EPOCH, fatal=True), Verdict.FATAL),
    "fatal before abortable": (error(KafkaError.PRODUCER_FENCED, fatal=True, abort=True), Verdict.FATAL),
    "a fenced static member, which does not say fatal": (error(KafkaError._FATAL), Verdict.FATAL),
    "a fenced static member that even says retriable": (error(KafkaError._FATAL, retriable=True), Verdict.FATAL),
    "a wrong password, which does not say fatal": (
        error(KafkaError._AUTHENTICATION, retriable=True),
        Verdict.FATAL,
    ),
    "a TLS mismatch": (error(KafkaError._SSL, retriable=True), Verdict.FATAL),
    "a foreign transactional id": (error(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, abort=True), Verdict.FATAL),
    "a topic without permission": (error(KafkaError.TOPIC_AUTHORIZATION_FAILED, abort=True), Verdict.FATAL),
    "none of these": (error(KafkaError.INVALID_CONFIG), Verdict.FATAL),
}


@pytest.mark.parametrize(("given", "verdict"), CLASSIFIED.values(), ids=CLASSIFIED)
def test_classify(given: KafkaError, verdict: Verdict) -> None:
    assert classify(given) is verdict


SAID: dict[int, tuple[type[KafkaProblem], str]] = {
    KafkaError._AUTHENTICATION: (KafkaDenied, "check security_protocol, sasl_mechanism, username, password"),
    KafkaError.SASL_AUTHENTICATION_FAILED: (KafkaDenied, "check security_protocol"),
    KafkaError._SSL: (KafkaDenied, "ssl_ca_file"),
    KafkaError.TOPIC_AUTHORIZATION_FAILED: (KafkaDenied, "an ACL is missing: add it"),
    KafkaError.GROUP_AUTHORIZATION_FAILED: (KafkaDenied, "an ACL is missing: add it"),
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: (KafkaDenied, "an ACL is missing: add it"),
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: (KafkaDenied, "an ACL is missing: add it"),
    KafkaError.UNKNOWN_TOPIC_OR_PART: (TopicMissing, "create it with `rollcast topics create`"),
    KafkaError._UNKNOWN_TOPIC: (TopicMissing, "create it with `rollcast topics create`"),
    KafkaError._UNKNOWN_PARTITION: (TopicMissing, "create it with `rollcast topics create`"),
    KafkaError._TRANSPORT: (KafkaUnavailable, "is the broker running"),
    KafkaError._ALL_BROKERS_DOWN: (KafkaUnavailable, "security_protocol right?"),
    KafkaError._RESOLVE: (KafkaUnavailable, "broker.servers or ROLLCAST_KAFKA_SERVERS"),
    KafkaError._TIMED_OUT: (KafkaUnavailable, "is the broker running"),
    KafkaError._MSG_TIMED_OUT: (KafkaUnavailable, "is the broker running"),
    KafkaError.COORDINATOR_NOT_AVAILABLE: (KafkaUnavailable, "is the broker running"),
    KafkaError._FENCED: (KafkaProblem, "another process runs as the same slot: stop one"),
    KafkaError.INVALID_PRODUCER_EPOCH: (KafkaProblem, "another process runs as the same slot: stop one"),
    KafkaError.INVALID_CONFIG: (KafkaProblem, "(INVALID_CONFIG); the broker's log may say why"),
}


def test_a_fenced_static_member_is_told_who_fenced_it() -> None:
    words = "Fatal error: Broker: Static consumer fenced by other consumer with same group.instance.id"
    problem = problem_from(KafkaError(KafkaError._FATAL, words), "consuming", "kafka:9092")
    assert str(problem).endswith("another process runs as the same slot: stop one")


@pytest.mark.parametrize(
    ("alert", "kind"),
    [
        ("error:0A000412:SSL routines::ssl/tls alert bad certificate: SSL alert number 42", KafkaDenied),
        ("error:0A000418:SSL routines::tlsv1 alert unknown ca: SSL alert number 48", KafkaDenied),
        ("error:0A00045C:SSL routines::tlsv13 alert certificate required: SSL alert number 116", KafkaDenied),
        ("error:0A000438:SSL routines::tlsv1 alert internal error: SSL alert number 80", KafkaUnavailable),
        ("error:0A000410:SSL routines::ssl/tls alert handshake failure: SSL alert number 40", KafkaUnavailable),
        ("Connect to ipv4#127.0.0.1:4242 failed: Connection refused", KafkaUnavailable),
    ],
)
def test_a_connection_that_breaks_over_our_certificate_is_a_refusal(alert: str, kind: type[KafkaProblem]) -> None:
    given = KafkaError(KafkaError._TRANSPORT, f"ssl://broker-1:9094/bootstrap: Receive failed: {alert} (after 6ms)")
    problem = problem_from(given, "connecting", "broker-1:9094")
    assert type(problem) is kind
    assert ("ssl_certificate_file" in str(problem)) is (kind is KafkaDenied)


@pytest.mark.parametrize(("code", "kind", "advice"), [(code, *said) for code, said in SAID.items()])
def test_a_problem_says_where_what_and_what_to_do(code: int, kind: type[KafkaProblem], advice: str) -> None:
    problem = problem_from(error(code), "writing to app_messages", "broker-1:9092")
    assert type(problem) is kind
    text = str(problem)
    assert text.startswith("Kafka at broker-1:9092: writing to app_messages: ")
    assert "the broker's words" in text
    assert advice in text
    assert "\n" not in text
    assert problem.retryable is (kind is KafkaUnavailable)


def test_what_may_pass_says_so() -> None:
    problem = problem_from(error(KafkaError.NOT_ENOUGH_REPLICAS, retriable=True), "writing", "b:1")
    assert str(problem).endswith("(NOT_ENOUGH_REPLICAS); trying again may help")


class TestErrorWatch:
    def test_a_denial_is_remembered_whatever_comes_after(self) -> None:
        watch = ErrorWatch("b:1")
        watch(error(KafkaError._AUTHENTICATION))
        watch(error(KafkaError._ALL_BROKERS_DOWN))
        with pytest.raises(KafkaDenied, match="Kafka at b:1: reading: refused"):
            watch.check("reading")
        assert watch.last is not None
        assert watch.last.code() == KafkaError._ALL_BROKERS_DOWN

    def test_a_broker_that_is_down_is_no_denial(self) -> None:
        watch = ErrorWatch("b:1")
        watch(error(KafkaError._ALL_BROKERS_DOWN))
        watch.check("reading")


def test_reach_broker_where_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: nobody else gets the port, and nobody answers
        servers = f"127.0.0.1:{taken.getsockname()[1]}"
        params = KafkaParams.from_mapping({"broker": {"servers": servers}}, source="test")
        begun = time.monotonic()
        with pytest.raises(KafkaUnavailable) as raised:
            reach_broker(params, client_id="test", timeout_seconds=0.5)
        took = time.monotonic() - begun
    assert str(raised.value).startswith(f"Kafka at {servers}: connecting: not reachable")
    assert 0.4 < took < 10, "it waits as long as it was told, and not as long as the client would"


def test_a_broker_that_takes_its_time_is_reached() -> None:
    """A second and a half for each answer, and there are several before it can say which topics it has."""
    quiet = {"log_level": 3}
    broker = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 1, "test.mock.broker.rtt": 1500, **quiet})
    (address,) = broker.list_topics(timeout=60).brokers.values()
    servers = f"{address.host}:{address.port}"
    params = KafkaParams.from_mapping({"broker": {"servers": servers}}, source="test")
    reach_broker(params, client_id="test", timeout_seconds=120)
