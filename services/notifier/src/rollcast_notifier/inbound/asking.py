"""Questions to models: records on topic `requests`."""

import secrets
from collections.abc import Mapping
from typing import Any

import msgspec

from rollcast_common.contracts.request import MODEL_HEADER, REPLY_TO_HEADER, REQUEST_ID_HEADER
from rollcast_common.kafka import KafkaParams
from rollcast_notifier.inbound.writing import Writer
from rollcast_notifier.notification import Receiver

__all__ = ["Asker"]


class Asker:
    def __init__(self, kafka: KafkaParams) -> None:
        self._writer = Writer(kafka, client_id="rollcast-notifier-asker")

    def ask(
        self,
        model: str,
        features: Mapping[str, Any],
        reply_to: Receiver,
        request_id: str | None = None,
        key: str | None = None,
    ) -> str:
        """The request's id, once Kafka has it; the prediction is told to `reply_to`. Raises KafkaProblem.

        The same `request_id` again is the same question: it is answered to `reply_to` once.
        """
        request_id = request_id or f"ask-{secrets.token_hex(8)}"
        headers = {REQUEST_ID_HEADER: request_id, MODEL_HEADER: model, REPLY_TO_HEADER: str(reply_to)}
        self._writer.write("requests", key or request_id, msgspec.json.encode(features), headers)
        return request_id
