"""Requests while models change, and whether each got exactly the answer that its model gives."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from tests.env.predictor import Answers, Requests
from tests.env.records import streaming
from tests.operator.cluster import Cluster

__all__ = ["checked", "traffic"]

ROWS = [b'{"x":%d}' % number for number in range(100)]


@contextmanager
def traffic(requests: Requests, *, at_once: int = 8) -> Iterator[None]:
    """About 400 requests a second, of 200 keys."""
    with streaming(requests, ROWS, keys=200, at_once=at_once):
        yield


def checked(cluster: Cluster, requests: Requests, slopes: Mapping[str, float] | None = None) -> Answers:
    """Nothing lost, nothing doubled, in order, each as the model says that it names."""
    slots = list(cluster.kubelet.slots().values())
    cluster.world.wait_answered(requests, slots)
    answers = cluster.world.check_exactly_once(requests)
    assert answers.dead_letters == []
    known = cluster.slopes if slopes is None else slopes
    for _, prediction in answers.predictions:
        x = json.loads(bytes(prediction.features))["x"]
        assert prediction.value() == pytest.approx(x * known[prediction.version])
    return answers
