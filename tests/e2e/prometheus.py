"""What the cluster's Prometheus says, asked through the API server."""

import json
import os
from typing import Any
from urllib.parse import urlencode

from tests.e2e.cluster import Cluster

__all__ = ["prometheus"]

_SERVICE = os.environ.get("E2E_PROMETHEUS", "monitoring/prometheus:9090")


def prometheus(cluster: Cluster, endpoint: str, **arguments: str) -> Any:
    """`data` of its answer."""
    namespace, _, service = _SERVICE.partition("/")
    path = f"/api/v1/namespaces/{namespace}/services/{service}/proxy/api/v1/{endpoint}"
    answer = json.loads(cluster.kubectl("get", "--raw", f"{path}?{urlencode(arguments)}" if arguments else path))
    return answer["data"]
