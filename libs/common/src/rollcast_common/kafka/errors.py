"""KafkaError, understood once: what to do about it, and how to say it to a person."""

import re
from enum import Enum

from confluent_kafka import KafkaError

from rollcast_common.errors import KafkaDenied, KafkaProblem, KafkaUnavailable, TopicMissing

__all__ = ["Verdict", "classify", "problem_from"]


class Verdict(Enum):
    """What a caller does next."""

    RETRY = "retry"
    """The same call with the same arguments."""

    ABORT = "abort"
    """Abort the transaction, go back to where the batch began, go on."""

    FATAL = "fatal"
    """End this client; a new one may do better."""


# error_cb reports these with fatal=False although no retry can help.
_REFUSED = frozenset(
    {
        KafkaError._AUTHENTICATION,  # noqa: SLF001  # librdkafka's public constants begin with an underscore
        KafkaError._SSL,  # noqa: SLF001
        KafkaError.SASL_AUTHENTICATION_FAILED,
    }
)
_MISSING = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    }
)
_ACL = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
_ABOUT_OUR_CERTIFICATE = re.compile(r"SSL alert number (4[2-689]|116)\b")
"""What a broker answers to a certificate that it does not like, or to none. It comes after the handshake, so to the
client it looks like a connection that broke."""

_FENCED = frozenset(
    {
        KafkaError._FENCED,  # noqa: SLF001
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.PRODUCER_FENCED,
    }
)
_UNREACHABLE = frozenset(
    {
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError._MSG_TIMED_OUT,  # noqa: SLF001
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.LEADER_NOT_AVAILABLE,
    }
)


def is_denied(error: KafkaError) -> bool:
    return error.code() in _ACL or _is_refused(error)


def _is_refused(error: KafkaError) -> bool:
    if error.code() == KafkaError._TRANSPORT:  # noqa: SLF001  # as above
        return _ABOUT_OUR_CERTIFICATE.search(error.str()) is not None
    return error.code() in _REFUSED


def classify(error: KafkaError) -> Verdict:
    """The order matters: a fenced static member arrives with code `_FATAL` and `fatal()` False."""
    if error.fatal() or error.code() == KafkaError._FATAL or is_denied(error):  # noqa: SLF001
        return Verdict.FATAL
    if error.txn_requires_abort():
        return Verdict.ABORT
    if error.retriable():
        return Verdict.RETRY
    return Verdict.FATAL


def problem_from(error: KafkaError, doing: str, servers: str) -> KafkaProblem:
    """One clear line: what was being done, where, what is wrong, what to do."""
    code, text = error.code(), error.str()
    if code in _ACL:
        return KafkaDenied(
            f"Kafka at {servers}: {doing}: not allowed ({text}); an ACL is missing: add it for this user "
            "(`rollcast acls` prints what is needed)"
        )
    if _is_refused(error):
        return KafkaDenied(
            f"Kafka at {servers}: {doing}: refused ({text}); check security_protocol, sasl_mechanism, "
            "username, password, ssl_ca_file and ssl_certificate_file"
        )
    if code in _MISSING:
        return TopicMissing(f"Kafka at {servers}: {doing}: {text}; create it with `rollcast topics create`")
    if code in _UNREACHABLE:
        return KafkaUnavailable(
            f"Kafka at {servers}: {doing}: not reachable ({text}); is the broker running, and are the address "
            "(broker.servers or ROLLCAST_KAFKA_SERVERS) and security_protocol right?"
        )
    # A fenced static member is told a fatal error; only its text still says which.
    if code in _FENCED or (code == KafkaError._FATAL and "fence" in text):  # noqa: SLF001  # as above
        return KafkaProblem(
            f"Kafka at {servers}: {doing}: {text} ({error.name()}); another process runs as the same slot: stop one"
        )
    hint = "trying again may help" if error.retriable() else "the broker's log may say why"
    return KafkaProblem(f"Kafka at {servers}: {doing}: {text} ({error.name()}); {hint}")
