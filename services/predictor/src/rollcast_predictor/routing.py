"""Which rows of a batch the candidate answers. Pure."""

import xxhash

from rollcast_common.contracts import request_id_of
from rollcast_predictor.batch import Batch, headers_of

__all__ = ["candidate_rows"]

_BUCKETS = 10_000


def candidate_rows(batch: Batch, *, weight: float, seed: int) -> set[int]:
    """By key, so that one key is answered by one version as long as the weight stands; a growing weight only adds keys.

    A record without a key has no order to keep and is routed by its request id. `weight` is in percent.
    """
    if weight <= 0:
        return set()
    limit = weight * (_BUCKETS / 100)
    rows: set[int] = set()
    for row, message in enumerate(batch.messages):
        key = message.key()
        if key is None:
            request_id = request_id_of(headers_of(message), message.topic(), message.partition(), message.offset())  # type: ignore[arg-type]  # a record without error has all three
            key = request_id.encode()
        if xxhash.xxh3_64_intdigest(key, seed) % _BUCKETS < limit and row not in batch.skipped:
            rows.add(row)
    return rows
