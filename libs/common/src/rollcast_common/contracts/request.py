"""A request: topic `requests`, key = the entity's key, value = a JSON object of features."""

from rollcast_common.contracts.headers import RawHeaders, header

__all__ = ["MODEL_HEADER", "REPLY_TO_HEADER", "REQUEST_ID_HEADER", "request_id_of"]

REQUEST_ID_HEADER = "request-id"
MODEL_HEADER = "model"
REPLY_TO_HEADER = "reply-to"


def request_id_of(headers: RawHeaders | None, topic: str, partition: int, offset: int) -> str:
    """The client's own id from header `request-id`, else one made of where the record lies."""
    return header(headers, REQUEST_ID_HEADER) or f"{topic}-{partition}-{offset}"
