"""Which keys are the candidate's: by hash, the same ones as long as the weight stands, more of them as it grows."""

import itertools
from typing import Any

import pytest
import xxhash

from rollcast_predictor.batch import Batch
from rollcast_predictor.routing import candidate_rows

SEED = 0xFD61A03AF4F77D87


def batch_of(messages: list[Any]) -> Batch:
    return Batch.from_messages(1, messages, None, model="wine", max_request_bytes=10_000)


@pytest.fixture
def batch(record: Any) -> Batch:
    return batch_of([record(key=b"key-%d" % number, offset=number) for number in range(5000)])


@pytest.mark.parametrize("weight", [0.0, 0.01, 5.0, 25.0, 50.0, 99.0, 100.0])
def test_the_share_is_the_weight(batch: Batch, weight: float) -> None:
    rows = candidate_rows(batch, weight=weight, seed=SEED)
    assert len(rows) / 5000 == pytest.approx(weight / 100, abs=0.02)


def test_a_growing_weight_only_adds_keys(batch: Batch) -> None:
    shares = [candidate_rows(batch, weight=weight, seed=SEED) for weight in (5.0, 25.0, 50.0, 100.0)]
    assert all(smaller < larger for smaller, larger in itertools.pairwise(shares))


def test_another_candidate_has_other_keys(batch: Batch) -> None:
    assert candidate_rows(batch, weight=5.0, seed=SEED) != candidate_rows(batch, weight=5.0, seed=SEED + 1)


def test_it_is_the_hash_that_everybody_can_compute(record: Any) -> None:
    messages = [record(key=b"key-%d" % number, offset=number) for number in range(200)]
    wanted = {
        number for number in range(200) if xxhash.xxh3_64(b"key-%d" % number, seed=SEED).intdigest() % 10_000 < 2500
    }
    assert candidate_rows(batch_of(messages), weight=25.0, seed=SEED) == wanted


def test_a_record_without_a_key_is_routed_by_its_request_id(record: Any) -> None:
    named = [record(key=None, offset=number, headers=[("request-id", b"r-%d" % number)]) for number in range(300)]
    keyed = [record(key=b"r-%d" % number, offset=number) for number in range(300)]
    rows = candidate_rows(batch_of(named), weight=50.0, seed=SEED)
    assert rows == candidate_rows(batch_of(keyed), weight=50.0, seed=SEED)


def test_a_record_for_another_model_is_nobodys(record: Any) -> None:
    messages = [record(key=b"k", headers=[("model", b"beer")]), record(key=b"k", offset=1)]
    assert candidate_rows(batch_of(messages), weight=100.0, seed=SEED) == {1}
