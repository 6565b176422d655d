"""Requests to the API server: JSON in, JSON out, and what goes wrong said as this operator needs it."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import urllib3
from kubernetes import config
from kubernetes.client import ApiClient, ApiException, Configuration

from rollcast_control.shell import ShellUnavailable

__all__ = ["Conflict", "Forbidden", "Gone", "Kind", "Kube", "Refused", "connect"]

Json = dict[str, Any]

_TIMEOUT = (3.0, 10.0)
_PAGE = 500
_UNAVAILABLE = (401, 408, 429)
_FIELD_MANAGER = "rollcast-operator"


class Conflict(ShellUnavailable):
    """Somebody else has written meanwhile, or it exists already. What is there has to be read first."""


class Forbidden(ShellUnavailable):
    """RBAC lacks something. It may be added at any time."""


class Gone(Exception):
    """There is no such object."""


class Refused(Exception):
    """The API server does not take it as it is. `reason` is its own word, such as Invalid."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Kind:
    """A resource as the API names it. `group_version` is `v1`, `apps/v1` and so on."""

    group_version: str
    name: str
    plural: str

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        root = "/api" if "/" not in self.group_version else "/apis"
        parts = [root, self.group_version]
        if namespace is not None:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part is not None]
        return "/".join(parts)


class Kube:
    """For several threads. Every write is counted through `on_write(verb, resource)`."""

    def __init__(self, client: ApiClient, *, on_write: Callable[[str, str], None] = lambda *_: None) -> None:
        self._client: Any = client  # its stubs do not know half of it
        self._on_write = on_write

    # Reading.

    def get(self, kind: Kind, namespace: str, name: str) -> Json:
        """Raises Gone."""
        return self._request("GET", kind.path(namespace, name), verb="get", resource=kind.plural)

    def list_all(self, kind: Kind, namespace: str | None, *, labels: Mapping[str, str] | None = None) -> Iterator[Json]:
        """All of them, page by page. Raises Gone when the API server does not know the kind."""
        query: dict[str, str] = {"limit": str(_PAGE)}
        if labels:
            query["labelSelector"] = ",".join(f"{name}={value}" for name, value in labels.items())
        while True:
            answer = self._request("GET", kind.path(namespace), verb="list", resource=kind.plural, query=query)
            yield from answer["items"]
            if not (following := answer["metadata"].get("continue")):
                return
            query["continue"] = following

    def has(self, kind: Kind) -> bool:
        """Whether the API server knows this kind."""
        try:
            answer = self._request("GET", f"/apis/{kind.group_version}", verb="get", resource=kind.group_version)
        except Gone:
            return False
        return any(found["name"] == kind.plural for found in answer["resources"])

    # Writing.

    def create(self, kind: Kind, namespace: str, manifest: Json) -> Json:
        """Raises Conflict when it exists, Refused when it may not be so."""
        return self._request(
            "POST", kind.path(namespace), verb="create", resource=kind.plural, body=manifest, media="application/json"
        )

    def replace(self, kind: Kind, namespace: str, name: str, manifest: Json) -> Json:
        """Raises Conflict when it is not the `resourceVersion` that the manifest names, Gone."""
        return self._request("PUT", kind.path(namespace, name), verb="update", resource=kind.plural, body=manifest)

    def apply(self, kind: Kind, namespace: str, manifest: Json, *, manager: str = _FIELD_MANAGER) -> Json:
        """Server-side apply: safe to repeat. Raises Refused."""
        return self._request(
            "PATCH",
            kind.path(namespace, manifest["metadata"]["name"]),
            verb="patch",
            resource=kind.plural,
            body=manifest,
            media="application/apply-patch+yaml",
            query={"fieldManager": manager, "force": "true"},
        )

    def patch(
        self, kind: Kind, namespace: str, name: str, operations: list[Json], *, subresource: str | None = None
    ) -> Json:
        """JSON Patch. Raises Gone, Refused (also when a `test` in it fails)."""
        resource = f"{kind.plural}/{subresource}" if subresource else kind.plural
        return self._request(
            "PATCH",
            kind.path(namespace, name, subresource),
            verb="patch",
            resource=resource,
            body=operations,
            media="application/json-patch+json",
            query={"fieldManager": _FIELD_MANAGER},
        )

    def delete(self, kind: Kind, namespace: str, name: str) -> None:
        """Nothing where it is gone already."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        try:
            self._request("DELETE", kind.path(namespace, name), verb="delete", resource=kind.plural, body=options)
        except Gone:
            return

    def _request(
        self,
        method: str,
        path: str,
        *,
        verb: str,
        resource: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        media: str = "application/json",
    ) -> Json:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = media
            self._on_write(verb, resource)
        sent = body if body is None or media.endswith("json") else json.dumps(body)
        try:
            method, url, headers, _, _ = self._client.param_serialize(
                method, path, header_params=headers, auth_settings=["BearerToken"]
            )
            url = f"{url}?{urlencode(query)}" if query else url
            response = self._client.call_api(method, url, headers, sent, _request_timeout=_TIMEOUT)
            data = response.read()
        except ApiException as error:  # TLS
            raise ShellUnavailable(f"API server: {verb} {resource}: {error.reason}") from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ShellUnavailable(f"API server: {verb} {resource}: {error}") from None
        if response.status < 300:  # noqa: PLR2004  # HTTP's own
            answer: Json = json.loads(data)
            return answer
        raise _problem(response.status, data, f"{verb} {resource} at {path}")


def _problem(status: int, data: bytes, doing: str) -> Exception:
    try:
        said = json.loads(data)
        message, reason = str(said.get("message") or said), str(said.get("reason") or "")
    except ValueError:
        message, reason = data[:200].decode("utf-8", "replace").strip(), ""
    text = f"API server: {doing}: {message} ({status})"
    if status == 404:  # noqa: PLR2004  # the rest are HTTP's own, too
        return Gone(text)
    if status == 403:  # noqa: PLR2004
        return Forbidden(f"{text}; add it to the operator's Role")
    if status == 409:  # noqa: PLR2004
        return Conflict(text)
    # To server-side apply a quantity that is none is an internal error.
    is_unreadable = "failed to convert new object" in message
    if status in _UNAVAILABLE or (status >= 500 and not is_unreadable):  # noqa: PLR2004
        return ShellUnavailable(text)
    return Refused(text, reason)


def connect(*, on_write: Callable[[str, str], None] = lambda *_: None) -> Kube:
    """As KUBECONFIG says, else as the pod's ServiceAccount, else as ~/.kube/config says.

    Raises ConfigError's cause: `ConfigException`.
    """
    settings: Any = Configuration()
    load: Any = config
    # Not `load_config`: it prints into the log that it found no kubeconfig.
    if os.environ.get("KUBECONFIG"):
        load.load_kube_config(client_configuration=settings)
    else:
        try:
            load.load_incluster_config(client_configuration=settings)
        except config.ConfigException:
            load.load_kube_config(client_configuration=settings)
    settings.retries = False
    settings.connection_pool_maxsize = 16
    return Kube(ApiClient(settings), on_write=on_write)
