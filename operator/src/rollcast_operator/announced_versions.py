"""What the bridge does on a cluster: announced models become ModelVersions, and the old ones of these go."""

import time
from typing import Any

import structlog

from rollcast_common.errors import ConfigError
from rollcast_control.bridge import BRIDGE_LABEL
from rollcast_control.shell import ShellUnavailable
from rollcast_operator.kinds import MODEL_VERSION
from rollcast_operator.kube import Conflict, Gone, Kube, Refused
from rollcast_operator.metrics import OperatorMetrics
from rollcast_operator.resource_cache import CachedVersion, ResourceCache
from rollcast_operator.settings import BridgeSettings

__all__ = ["AnnouncedVersions"]

_log = structlog.get_logger()

_APART_SECONDS = 1.1
"""An object's age is known by the second, and of two models the one that was announced later is wanted."""

_OVER = ("Superseded", "Failed", "RolledBack")


class AnnouncedVersions:
    """Called from the bridge's thread alone."""

    def __init__(self, bridge: BridgeSettings, *, kube: Kube, cache: ResourceCache, metrics: OperatorMetrics) -> None:
        self._bridge = bridge
        self._kube = kube
        self._cache = cache
        self._metrics = metrics
        self._created_at: dict[str, float] = {}

    def template_of(self, model: str) -> dict[str, Any] | None:
        """The rest of the spec; None for a model that is not bridged here."""
        if self._bridge.models and model not in self._bridge.models:
            self._metrics.announced.labels("other").inc()
            return None
        return self._bridge.template

    def ignored(self) -> None:
        self._metrics.announced.labels("invalid").inc()

    def create(self, resource: dict[str, Any]) -> str:
        """`created` or `known`. Raises ConfigError when the API server refuses it, ShellUnavailable."""
        model = resource["spec"]["model"]
        wait = self._created_at.get(model, -_APART_SECONDS) + _APART_SECONDS - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        try:
            became = self._create(model, resource)
            self._clean_up(model)
        except Refused as problem:
            raise ConfigError(str(problem)) from None
        except Gone as problem:
            raise ShellUnavailable(str(problem)) from None
        return became

    def _create(self, model: str, resource: dict[str, Any]) -> str:
        try:
            self._kube.create(MODEL_VERSION, self._bridge.namespace, resource)
        except Conflict:
            became = "known"
        else:
            self._created_at[model] = time.monotonic()
            became = "created"
        self._metrics.announced.labels(became).inc()
        return became

    def _clean_up(self, model: str) -> None:
        """The oldest go that nobody wants: never what is live or on its way, and never what a person has made."""
        announced = [
            cached
            for cached in self._cache.versions((self._bridge.namespace, model))
            if cached.labels.get(BRIDGE_LABEL) == "true" and not cached.version.deleting and _is_over(cached)
        ]
        announced.sort(key=lambda cached: (cached.version.created, cached.version.name))
        for cached in announced[: -self._bridge.revision_history_limit]:
            self._kube.delete(MODEL_VERSION, cached.version.namespace, cached.version.name)
            _log.info("old ModelVersion removed", model=model, name=cached.version.name)


def _is_over(cached: CachedVersion) -> bool:
    return cached.version.status.get("phase") in _OVER
