"""What is asked for by hand: of which ModelVersion, and whether it was obeyed."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rollcast_cli.rolling.printing import full_name
from rollcast_cli.rolling.resources import NoSuchModelVersion, Resource, Resources, Said
from rollcast_common.errors import ConfigError, RollcastError
from rollcast_rollout.model_version import ACTION_ANNOTATION

__all__ = ["Action", "ActionRefused", "NotObeyed", "act", "target_of"]

Action = Literal["promote", "abort", "retry", "rollback", "pause", "resume"]

_LOOK_SECONDS = 0.1
_SPOKEN_SECONDS = 1.0
"""What came of it may be told a moment after it was obeyed."""

_ROLLING = ("Verifying", "Shadow", "Canary", "Promoting", "Paused")
_MEANT: Mapping[Action, tuple[str, ...]] = {
    "promote": _ROLLING,
    "abort": _ROLLING,
    "pause": _ROLLING,
    "resume": ("Paused",),
    "retry": ("Failed", "RolledBack"),
    "rollback": ("Live",),
}
_NOBODY: Mapping[Action, str] = {
    "promote": "is being rolled out",
    "abort": "is being rolled out",
    "pause": "is being rolled out",
    "resume": "is paused",
    "retry": "has failed or was rolled back",
    "rollback": "is live",
}
_DONE: Mapping[Action, str] = {
    "promote": "promoted",
    "abort": "aborted",
    "pause": "paused",
    "resume": "resumed",
    "retry": "tried again",
    "rollback": "rolled back",
}


class ActionRefused(RollcastError):
    """The controller has heard it, and it makes no sense now."""


class NotObeyed(RollcastError):
    """Nobody has taken it up in time."""


@dataclass(frozen=True, slots=True)
class _Asked:
    name: str
    uid: str
    known: frozenset[Said]
    """What was said before."""


def target_of(resources: Resources, action: Action, name: str) -> Resource:
    """The ModelVersion of this name; else, of the model of this name, the only one that can be meant.

    Raises ConfigError, which names those that there are.
    """
    try:
        return resources.get(name)
    except NoSuchModelVersion:
        of_model = [each for each in resources.all() if each["spec"]["model"] == name]
        if not of_model:
            raise
    meant = [each for each in of_model if (each.get("status") or {}).get("phase") in _MEANT[action]]
    if len(meant) == 1:
        return meant[0]
    if not meant:
        there = ", ".join(f"{each['metadata']['name']} ({_phase(each)})" for each in of_model)
        raise ConfigError(f'{action}: no version of model "{name}" {_NOBODY[action]}; there is {there}')
    named = ", ".join(f"{each['metadata']['name']} ({_phase(each)})" for each in meant)
    raise ConfigError(f'{action}: model "{name}" leaves open which version; name one of {named}')


def act(resources: Resources, action: Action, target: Resource, *, timeout_seconds: float) -> str:
    """Ask for it and, with a timeout, wait until it was obeyed. Returns what to say.

    Raises ActionRefused with the controller's words, NotObeyed when nothing happens in time.
    """
    name, uid = target["metadata"]["name"], target["metadata"]["uid"]
    asked = _Asked(name, uid, frozenset(resources.events()) if timeout_seconds else frozenset())
    resources.annotate(name, ACTION_ANNOTATION, action)
    if not timeout_seconds:
        return f"{full_name(name)} annotated: {ACTION_ANNOTATION}={action}"
    deadline = time.monotonic() + timeout_seconds
    while _is_waiting(resources, asked, action):
        if time.monotonic() > deadline:
            raise NotObeyed(
                f'{full_name(name)}: action "{action}" was not obeyed in {timeout_seconds:g} s and stays asked for; '
                "does the controller run, and is Kafka there (`rollcast describe` says how far it is)?"
            )
        time.sleep(_LOOK_SECONDS)
    said = _said(resources, asked, time.monotonic() + _SPOKEN_SECONDS)
    refused = [each for each in said if each.reason == "ActionRefused"]
    if refused:
        raise ActionRefused(f"{full_name(name)}: {refused[-1].message}")
    happened = next((each for each in said if each.reason != "ActionRefused"), None)
    now = _now(resources, asked)
    return f"{full_name(name)} {_DONE[action]}{f' ({happened.message})' if happened else ''}{now}"


def _is_waiting(resources: Resources, asked: _Asked, action: Action) -> bool:
    try:
        found = resources.get(asked.name)
    except NoSuchModelVersion:
        raise ConfigError(f'{full_name(asked.name)} was deleted before action "{action}" was obeyed') from None
    annotations: Mapping[str, Any] = found["metadata"].get("annotations") or {}
    return found["metadata"]["uid"] == asked.uid and annotations.get(ACTION_ANNOTATION) == action


def _said(resources: Resources, asked: _Asked, deadline: float) -> list[Said]:
    while True:
        events = [each for each in resources.events() if each.uid == asked.uid]
        new = [each for each in events if each not in asked.known]
        if new or time.monotonic() > deadline:
            return new
        time.sleep(_LOOK_SECONDS)


def _now(resources: Resources, asked: _Asked) -> str:
    try:
        found = resources.get(asked.name)
    except NoSuchModelVersion:
        return ""
    weight = ((found.get("status") or {}).get("rollout") or {}).get("weight")
    return f"; now {_phase(found)}{'' if weight is None else f', {weight} %'}"


def _phase(resource: Resource) -> str:
    return (resource.get("status") or {}).get("phase") or "new"


def wait_until(condition: Callable[[], bool], *, timeout_seconds: float, what: str) -> None:
    """Raises NotObeyed."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise NotObeyed(f"{what}: not within {timeout_seconds:g} s")
        time.sleep(_LOOK_SECONDS)
