"""Access to Kafka: parameters, clients, topics, and errors translated once, here at the edge."""

from rollcast_common.kafka.acls import ABOUT_ROLES, Operation, Pattern, Resource, Right, Role, Scope, rights
from rollcast_common.kafka.clients import (
    ErrorWatch,
    LifeWatch,
    close_consumer,
    make_admin,
    make_consumer,
    make_producer,
    reach_broker,
)
from rollcast_common.kafka.errors import Verdict, classify, problem_from
from rollcast_common.kafka.params import (
    KafkaBrokerParams,
    KafkaConsumerParams,
    KafkaParams,
    load_kafka_params,
)
from rollcast_common.kafka.reading import read_to_end, topic_ends
from rollcast_common.kafka.table import Row, TableFollower
from rollcast_common.kafka.topics import TopicNames, check_topics, create_topics, topic_specs

__all__ = [
    "ABOUT_ROLES",
    "ErrorWatch",
    "KafkaBrokerParams",
    "KafkaConsumerParams",
    "KafkaParams",
    "LifeWatch",
    "Operation",
    "Pattern",
    "Resource",
    "Right",
    "Role",
    "Row",
    "Scope",
    "TableFollower",
    "TopicNames",
    "Verdict",
    "check_topics",
    "classify",
    "close_consumer",
    "create_topics",
    "load_kafka_params",
    "make_admin",
    "make_consumer",
    "make_producer",
    "problem_from",
    "reach_broker",
    "read_to_end",
    "rights",
    "topic_ends",
    "topic_specs",
]
