"""`rollcast get`: once, or a line at every change."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence

from rollcast_cli.rolling.printing import COLUMNS, WIDE_COLUMNS, as_json, as_yaml, columns, full_name, row
from rollcast_cli.rolling.resources import NoSuchModelVersion, Resource, Resources

__all__ = ["Listing"]

_AGE = COLUMNS.index("AGE")
_PHASE = COLUMNS.index("PHASE")

_ROOM = ("",) * _PHASE + ("Superseded", "", "", "WaitingForSamples", "")
"""What is yet to come should line up, too."""


class Listing:
    """Of the ModelVersions with these names, labels and model; each of them, where it is empty, means all."""

    def __init__(
        self,
        resources: Resources,
        *,
        names: Sequence[str],
        labels: Mapping[str, str],
        model: str | None,
        output: str,
        headers: bool,
        say: Callable[[str], None],
    ) -> None:
        self._resources = resources
        self._names = names
        self._labels = labels
        self._model = model
        self._output = output
        self._headers = headers
        self._say = say

    def show(self) -> list[NoSuchModelVersion]:
        """Print them; returns which names are not there."""
        found, missing = self._found()
        if self._output in ("yaml", "json"):
            write = as_yaml if self._output == "yaml" else as_json
            if found or not self._names:
                self._say(write(found, is_list=len(self._names) != 1).rstrip("\n"))
        elif self._output == "name":
            for resource in found:
                self._say(full_name(resource["metadata"]["name"]))
        elif found:
            for line in columns([*([self._head()] if self._headers else []), *map(self._row, found)]):
                self._say(line)
        elif not missing:
            sys.stderr.write(f"No resources found in {self._resources.namespace} namespace.\n")
        return missing

    def _found(self) -> tuple[list[Resource], list[NoSuchModelVersion]]:
        found: list[Resource] = []
        missing: list[NoSuchModelVersion] = []
        for name in self._names:
            try:
                found.append(self._resources.get(name))
            except NoSuchModelVersion as error:
                missing.append(error)
        if not self._names:
            found = self._resources.all()
        return [resource for resource in found if self._takes(resource)], missing

    def follow(self) -> None:
        """For ever. Raises NoSuchModelVersion when a name is not there at first."""
        for name in self._names:
            self._resources.get(name)
        shown: dict[str, tuple[str, ...]] = {}
        widths: list[int] = []
        if self._output != "name":
            present = [self._row(resource) for resource in self._resources.all() if self._takes(resource)]
            widths = [max(map(len, cells)) for cells in zip(self._head(), _ROOM, *present, strict=False)]
            if self._headers:
                self._say(columns([self._head()], widths)[0])
        for change in self._resources.watch():
            if not self._takes(change.resource):
                continue
            uid, cells = change.resource["metadata"]["uid"], self._row(change.resource)
            if change.kind == "DELETED":
                cells = (*cells[:_PHASE], "Deleted", *cells[_PHASE + 1 :])
            # Who is watched is not printed again for getting older.
            if (news := (*cells[:_AGE], *cells[_AGE + 1 :])) == shown.get(uid):
                continue
            shown[uid] = news
            is_name = self._output == "name"
            self._say(full_name(change.resource["metadata"]["name"]) if is_name else columns([cells], widths)[0])

    def _takes(self, resource: Resource) -> bool:
        metadata = resource["metadata"]
        labels = metadata.get("labels") or {}
        return (
            (not self._names or metadata["name"] in self._names)
            and (self._model is None or resource["spec"]["model"] == self._model)
            and all(labels.get(key) == value for key, value in self._labels.items())
        )

    def _head(self) -> tuple[str, ...]:
        return WIDE_COLUMNS if self._output == "wide" else COLUMNS

    def _row(self, resource: Resource) -> tuple[str, ...]:
        if self._output != "wide":
            return row(resource, time.time())
        spec = resource["spec"]
        digest = self._resources.digests(spec["model"]).get(spec["version"])
        return row(resource, time.time(), wide=True, digest=digest)
