"""kopf, which watches the cluster: what it tells goes into the cache, and whoever it concerns is woken."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Self

import kopf
import structlog

from rollcast_operator.kinds import KOPF_FINALIZER, MANAGED_BY, MANAGED_BY_LABEL, MODEL_VERSION, STATEFUL_SET
from rollcast_operator.kube import Kube
from rollcast_operator.resource_cache import Place, ResourceCache
from rollcast_operator.settings import OperatorSettings

__all__ = ["Watching", "look_at_all"]

_log = structlog.get_logger()

_SERVER_SECONDS = 290
_CLIENT_SECONDS = 330
_QUIET_SECONDS = 70.0
"""The API server says something at least each minute."""

_AGAIN_SECONDS = (0.2, 10.0)
_LOOK_EVERY_SECONDS = 300.0
"""What the watches have missed is found so late."""


def look_at_all(kube: Kube, cache: ResourceCache, settings: OperatorSettings) -> set[Place]:
    """List everything once. The models for which there was news, or whose ModelVersions have gone without a word.

    Raises ShellUnavailable, and Gone when ModelVersions are not defined.
    """
    news: set[Place] = set()
    for namespace in settings.namespaces or (None,):
        known, seen = cache.uids(), set[str]()
        for resource in kube.list_all(MODEL_VERSION, namespace):
            seen.add(resource["metadata"]["uid"])
            news |= cache.put(resource)
        news |= cache.keep_only(seen, None if namespace is None else (namespace,), since=known)
        for resource in kube.list_all(STATEFUL_SET, namespace, labels={MANAGED_BY_LABEL: MANAGED_BY}):
            news |= cache.put_set(resource)
    return news


class Watching:
    """kopf in a thread of its own: it is started again when it ends unasked."""

    def __init__(
        self, kube: Kube, cache: ResourceCache, settings: OperatorSettings, *, on_news: Callable[[Place], None]
    ) -> None:
        """The cache is to hold everything already: kopf does not say when it has told all that was there."""
        self._kube = kube
        self._cache = cache
        self._settings = settings
        self._on_news = on_news
        self._stopping = threading.Event()
        self._looking = threading.Event()
        self._threads = [
            threading.Thread(target=self._watch, name="kopf", daemon=True),
            threading.Thread(target=self._look, name="looking", daemon=True),
        ]
        self._began = time.monotonic()
        self.restarts = 0

    def _watch(self) -> None:
        wait, most = _AGAIN_SECONDS
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                asyncio.run(self._kopf())
            except Exception as error:  # noqa: BLE001  # whatever ends kopf, the cluster has to be watched
                _log.warning("watching was broken off, and begins again", problem=repr(error))
            if self._stopping.is_set():
                return
            self.restarts += 1
            # What happened in between nobody tells.
            self._looking.set()
            wait = _AGAIN_SECONDS[0] if time.monotonic() - began > most else min(2 * wait, most)
            self._stopping.wait(wait)

    async def _kopf(self) -> None:
        await kopf.operator(
            registry=_registry(self._event_of_version, self._event_of_set),
            settings=_kopf_settings(),
            standalone=True,
            clusterwide=self._settings.cluster_wide,
            namespaces=self._settings.namespaces,
            stop_flag=self._stopping,
        )

    def _event_of_version(self, kind: str | None, resource: dict[str, Any]) -> None:
        meta = resource["metadata"]
        if kind == "DELETED":
            self._tell(self._cache.remove(meta["uid"], int(meta["resourceVersion"])))
        else:
            self._tell(self._cache.put(resource))

    def _event_of_set(self, kind: str | None, resource: dict[str, Any]) -> None:
        self._tell(self._cache.remove_set(resource) if kind == "DELETED" else self._cache.put_set(resource))

    def _tell(self, places: Iterable[Place]) -> None:
        for place in places:
            self._on_news(place)

    def _look(self) -> None:
        while not self._stopping.is_set():
            self._looking.wait(_LOOK_EVERY_SECONDS)
            self._looking.clear()
            if self._stopping.is_set():
                return
            try:
                self._tell(look_at_all(self._kube, self._cache, self._settings))
            except Exception as error:  # noqa: BLE001  # it is tried again
                _log.warning("the cluster could not be looked at", problem=str(error))
                self._stopping.wait(_AGAIN_SECONDS[1])
                self._looking.set()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopping.set()
        self._looking.set()
        for thread in self._threads:
            thread.join(timeout=15)


def _registry(
    of_version: Callable[[str | None, dict[str, Any]], None], of_set: Callable[[str | None, dict[str, Any]], None]
) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()
    group, version = MODEL_VERSION.group_version.split("/")

    @kopf.on.login(registry=registry)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    # They only touch memory, so the loop need not hand them to a thread.
    @kopf.on.event(group, version, MODEL_VERSION.plural, registry=registry)
    async def version_event(event: Any, **_: Any) -> None:
        of_version(event["type"], event["object"])

    @kopf.on.event("apps", "v1", STATEFUL_SET.plural, registry=registry)
    async def set_event(event: Any, **_: Any) -> None:
        of_set(event["type"], event["object"])

    return registry


def _kopf_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.watching.server_timeout = _SERVER_SECONDS
    settings.watching.client_timeout = _CLIENT_SECONDS
    settings.watching.connect_timeout = 10
    settings.watching.inactivity_timeout = _QUIET_SECONDS
    settings.watching.label_selectors[STATEFUL_SET.plural] = f"{MANAGED_BY_LABEL}={MANAGED_BY}"
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.networking.error_backoffs = (0.5, 1, 2, 4, 8)
    settings.execution.max_workers = 2
    # It would kill the process, and it is not all of it.
    settings.process.ultimate_exiting_timeout = None
    # kopf writes nothing for handlers such as ours, but it takes off a finalizer that it thinks to be its own.
    settings.persistence.finalizer = KOPF_FINALIZER
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix="rollcast.dev")
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix="rollcast.dev")
    return settings
