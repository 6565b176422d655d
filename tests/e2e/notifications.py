"""What the notifier says of whom it has told."""

from rollcast_common.contracts.receipt import Receipt, decode_receipt
from rollcast_common.kafka import ErrorWatch, KafkaParams, TopicNames, make_consumer, read_to_end

__all__ = ["KEY", "NOTIFICATIONS", "receipts"]

KEY = "key-7"
"""Of the client's; somebody wants to know all about it."""

NOTIFICATIONS = {
    "channels": {"log": {"type": "log"}},
    "subscriptions": [{"name": "one-key", "when": f"key = '{KEY}'", "to": ["log:ann"]}],
}

_SECONDS = 60.0


def receipts(kafka: KafkaParams, names: TopicNames) -> list[Receipt]:
    """All of them until now."""
    watch = ErrorWatch(kafka.broker.servers)
    consumer = make_consumer(kafka, watch, client_id="e2e-receipts", group_id="e2e-receipts")
    try:
        messages = list(
            read_to_end(consumer, names.full("notifications"), watch, kafka.broker.servers, timeout_seconds=_SECONDS)
        )
    finally:
        consumer.close()
    return [decode_receipt(value) for message in messages if (value := message.value()) is not None]
