"""A cluster's ModelVersions, through its API server."""

import re
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rollcast_cli.rolling.kube_requests import FIELD_MANAGER, Answered, ApiServer
from rollcast_cli.rolling.resources import (
    FULL_NAME,
    Applied,
    Change,
    Invalid,
    NoSuchModelVersion,
    Resource,
    Said,
    Unavailable,
    name_of,
)
from rollcast_common.errors import ConfigError, ContractError
from rollcast_rollout.record import decode_record
from rollcast_rollout.schema import API_VERSION, KIND
from rollcast_rollout.validation import Violation, validate, with_defaults

__all__ = ["ClusterResources", "violations_of"]

_PAGE = "500"
_RETRY_SECONDS = 1.0
_NOT_FOUND, _CONFLICT, _GONE, _UNPROCESSABLE = 404, 409, 410, 422


class ClusterResources:
    def __init__(self, kubeconfig: Path | None, context: str | None, namespace: str | None) -> None:
        """Raises ConfigError when kubeconfig does not name a cluster."""
        self._api = ApiServer(kubeconfig, context)
        self._is_named = namespace is not None
        self.namespace = namespace or self._api.namespace
        self._path = f"/apis/{API_VERSION}/namespaces/{quote(self.namespace, safe='')}/modelversions"

    def all(self) -> list[Resource]:
        return sorted(self._listed(self._path)[0], key=_age)

    def get(self, name: str) -> Resource:
        return self._of_one("GET", name)

    def apply(self, wanted: Mapping[str, Any], *, force_conflicts: bool = False) -> Applied:
        name = self._checked_name(wanted)
        try:
            before = self.get(name)
        except NoSuchModelVersion:
            before = None
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        if force_conflicts:
            query["force"] = "true"
        wanted = _said_only({key: value for key, value in wanted.items() if key != "status"})
        try:
            after = self._api.request(
                "PATCH", self._of(name), query=query, body=wanted, media="application/apply-patch+yaml"
            )
        except Answered as error:
            if error.code == _CONFLICT:
                raise _owned_by_others(name, error) from None
            if error.code == _NOT_FOUND:
                raise self._unknown(error) from None
            raise Invalid(name, self._why(error, wanted, before)) from None
        if before is None:
            return "created"
        return "unchanged" if _wishes(before) == _wishes(after) else "configured"

    def annotate(self, name: str, key: str, value: str) -> None:
        patch = {"metadata": {"annotations": {key: value}}}
        self._of_one("PATCH", name, body=patch, media="application/merge-patch+json", manager=True)

    def delete(self, name: str) -> None:
        self._of_one("DELETE", name)

    def events(self) -> list[Said]:
        query = {"fieldSelector": f"involvedObject.kind={KIND}"}
        found, _ = self._listed(f"/api/v1/namespaces/{quote(self.namespace, safe='')}/events", query)
        # Their times are whole seconds.
        in_order = sorted(found, key=lambda event: (_time(event), int(event["metadata"]["resourceVersion"])))
        return list(map(_said, in_order))

    def digests(self, model: str) -> dict[str, str]:
        """The operator's record says it; who may not read that goes without."""
        path = f"/api/v1/namespaces/{quote(self.namespace, safe='')}/configmaps/rollcast-{quote(model, safe='')}"
        try:
            text = (self._api.request("GET", path).get("data") or {}).get("record.json")
            return dict(decode_record(text.encode()).versions) if text else {}
        except (Answered, Unavailable, ContractError):
            return {}

    def watch(self) -> Iterator[Change]:
        known: dict[str, Resource] = {}
        while True:
            items, version = self._listed(self._path)
            now = {item["metadata"]["uid"]: item for item in items}
            yield from (Change("DELETED", known[uid]) for uid in known.keys() - now.keys())
            for uid, item in sorted(now.items(), key=lambda pair: _age(pair[1])):
                if uid not in known or known[uid]["metadata"]["resourceVersion"] != item["metadata"]["resourceVersion"]:
                    yield Change("MODIFIED" if uid in known else "ADDED", item)
            known = now
            try:
                for change in self._api.watch(self._path, version):
                    item = change["object"]
                    known[item["metadata"]["uid"]] = item
                    if change["type"] == "DELETED":
                        del known[item["metadata"]["uid"]]
                    yield Change(change["type"], item)
            except Answered as error:
                if error.code != _GONE:
                    raise Unavailable(f"API server {self._api.url}: {error}") from None
            time.sleep(_RETRY_SECONDS)

    # How.

    def _checked_name(self, wanted: Mapping[str, Any]) -> str:
        """What stands in the request's address is looked at before there is one."""
        metadata = wanted.get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else None
        unusable = "metadata.name" if not (isinstance(name, str) and name) else None
        first = [v for v in validate(wanted) if v.path in {"apiVersion", "kind", "metadata", unusable}]
        if first or not isinstance(metadata, dict):
            raise Invalid(name_of(wanted), first)
        namespace = metadata.get("namespace")
        if isinstance(namespace, str) and namespace != self.namespace:
            asked = f"-n {self.namespace}" if self._is_named else f"the context's namespace, {self.namespace}"
            raise ConfigError(f'namespace "{namespace}" of the object is not {asked}; pass -n {namespace}')
        return name_of(wanted)

    def _of(self, name: str) -> str:
        return f"{self._path}/{quote(name, safe='')}"

    def _of_one(self, method: str, name: str, *, body: Any = None, media: str = "", manager: bool = False) -> Resource:
        query = {"fieldManager": FIELD_MANAGER} if manager else None
        try:
            return self._api.request(method, self._of(name), query=query, body=body, media=media)
        except Answered as error:
            if error.code != _NOT_FOUND:
                raise Unavailable(f"API server {self._api.url}: {error}") from None
            if (error.status.get("details") or {}).get("name") != name:
                raise self._unknown(error) from None
            raise NoSuchModelVersion(name) from None

    def _listed(self, path: str, query: Mapping[str, str] | None = None) -> tuple[list[Resource], str]:
        """With the version at which they were so."""
        asked = {"limit": _PAGE, **(query or {})}
        items: list[Resource] = []
        while True:
            try:
                answer = self._api.request("GET", path, query=asked)
            except Answered as error:
                raise self._unknown(error) if error.code == _NOT_FOUND else Unavailable(str(error)) from None
            # Those of a list do not say what they are.
            items += [{"apiVersion": API_VERSION, "kind": KIND, **item} for item in answer["items"]]
            if not (following := answer["metadata"].get("continue")):
                return items, answer["metadata"]["resourceVersion"]
            asked["continue"] = following

    def _unknown(self, error: Answered) -> ConfigError:
        if (error.status.get("details") or {}).get("kind") == "namespaces":
            return ConfigError(f"{error}; create it, or name another with -n")
        return ConfigError(f"API server {self._api.url}: it has no {FULL_NAME}; install Rollcast's chart there first")

    def _why(self, error: Answered, wanted: Mapping[str, Any], before: Resource | None) -> list[Violation]:
        """What is wrong, as the server says it. A dry run explains wrong types, which a patch does not."""
        if error.code == _UNPROCESSABLE:
            return violations_of(error)
        query = {"dryRun": "All", "fieldValidation": "Strict"}
        metadata = {**wanted["metadata"], "namespace": self.namespace}
        try:
            if before is None:
                self._api.request("POST", self._path, query=query, body={**wanted, "metadata": metadata})
            else:
                metadata["resourceVersion"] = before["metadata"]["resourceVersion"]
                path = self._of(metadata["name"])
                self._api.request("PUT", path, query=query, body={**wanted, "metadata": metadata})
        except Answered as explained:
            return violations_of(explained)
        return violations_of(error)


def violations_of(error: Answered) -> list[Violation]:
    """A refusal's parts, in the words that are used on one machine, too: without examples, and without the note that
    rules were left unasked.
    """
    unknown = re.findall(r'unknown field "([^"]+)"', str(error))
    if unknown:
        return [Violation(path, f'unknown field "{path}"') for path in dict.fromkeys(unknown)]
    causes = (error.status.get("details") or {}).get("causes") or []
    found = [
        Violation(cause["field"], re.sub(r" \(e\.g\. .*\)$", "", cause["message"]))
        for cause in causes
        if cause.get("field") not in (None, "", "<nil>")
    ]
    return list(dict.fromkeys(found)) or [Violation("ModelVersion", str(error))]


def _owned_by_others(name: str, error: Answered) -> ConfigError:
    causes = (error.status.get("details") or {}).get("causes") or []
    owned: dict[str, list[str]] = {}
    for cause in causes:
        who = re.search(r'conflict with "([^"]+)"', cause.get("message", ""))
        owned.setdefault(who[1] if who else "another tool", []).append(str(cause.get("field", "")).lstrip("."))
    told = "; ".join(f"{', '.join(fields)} belongs to {who}" for who, fields in owned.items()) or str(error)
    return ConfigError(
        f'The ModelVersion "{name}" is not changed: {told}; change it with that tool, or take it over with '
        "--force-conflicts"
    )


def _said_only(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Without the nulls that mean that nothing is said, which are most. The server would take some for wrong types."""

    def without(value: Any, filled: Any) -> Any:
        if isinstance(value, dict) and isinstance(filled, dict):
            return {
                key: without(item, filled.get(key))
                for key, item in value.items()
                if item is not None or (key in filled and filled[key] is None)
            }
        if isinstance(value, list) and isinstance(filled, list):
            return [without(item, full) for item, full in zip(value, filled, strict=True)]
        return value

    said: dict[str, Any] = without(wanted, with_defaults(wanted))
    return said


def _wishes(resource: Resource) -> Any:
    """What somebody may want to change."""
    metadata = resource["metadata"]
    return resource["spec"], metadata.get("labels") or {}, metadata.get("annotations") or {}


def _age(resource: Resource) -> tuple[str, str]:
    return resource["metadata"]["creationTimestamp"], resource["metadata"]["name"]


def _said(event: Mapping[str, Any]) -> Said:
    about, metadata = event["involvedObject"], event["metadata"]
    return Said(
        time=_time(event),
        type=event.get("type") or "Normal",
        reason=event.get("reason") or "",
        name=about.get("name") or "",
        message=event.get("message") or "",
        model=(metadata.get("labels") or {}).get("rollcast.dev/model", ""),
        version=(metadata.get("annotations") or {}).get("rollcast.dev/version", ""),
        uid=about.get("uid") or "",
    )


def _time(event: Mapping[str, Any]) -> float:
    when = event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"]
    return datetime.fromisoformat(when).timestamp()
