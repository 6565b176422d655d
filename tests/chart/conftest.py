"""The chart, rendered: each combination of values once in a session."""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest
from tests.chart.rendered import CHART
from tests.env.helm import Helm

Json = dict[str, Any]


class Render(Protocol):
    def __call__(
        self,
        *values: Path,
        settings: Mapping[str, Any] | None = None,
        namespace: str = "ml",
        apis: tuple[str, ...] = (),
    ) -> list[Json]: ...


@pytest.fixture(scope="session")
def render(helm: Helm) -> Render:
    """The objects of some values files; `apis` are those that the cluster has besides Kubernetes' own."""
    known: dict[str, list[Json]] = {}

    def rendered(
        *values: Path,
        settings: Mapping[str, Any] | None = None,
        namespace: str = "ml",
        apis: tuple[str, ...] = (),
    ) -> list[Json]:
        key = json.dumps([list(map(str, values)), settings, namespace, apis])
        if key not in known:
            arguments = [argument for api in apis for argument in ("--api-versions", api)]
            known[key] = helm.template(CHART, *arguments, values=values, settings=settings, namespace=namespace)
        return copy.deepcopy(known[key])

    return rendered
