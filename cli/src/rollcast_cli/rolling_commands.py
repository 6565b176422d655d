"""The commands about ModelVersions: kubectl's words, on one machine and on a cluster."""

import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rollcast_cli.console import one_line_errors
from rollcast_common.errors import ConfigError, RollcastError

if TYPE_CHECKING:
    from rollcast_cli.rolling.acting import Action
    from rollcast_cli.rolling.resources import Resources

__all__ = ["register"]

Context = Annotated[
    str | None,
    typer.Option(envvar="ROLLCAST_CONTEXT", help="A cluster, by its kubeconfig context; default: the local stack."),
]
Kubeconfig = Annotated[
    Path | None,
    typer.Option(envvar="ROLLCAST_KUBECONFIG", help="A cluster, by this file; its current context unless --context."),
]
Namespace = Annotated[
    str | None, typer.Option("-n", "--namespace", help="On the cluster; default: that of the context.")
]
Files = Annotated[
    list[str] | None, typer.Option("-f", "--filename", help="A file, a folder of files, or -; repeatable.")
]
Which = Annotated[str, typer.Argument(metavar="NAME|MODEL", help="A ModelVersion, or a model where it is plain which.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it was obeyed, and say what came of it.")]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds to wait.")]

_TYPES = ("mv", "modelversion", "modelversions", "modelversion.rollcast.dev", "modelversions.rollcast.dev")
_ACTION_SECONDS = 10.0
_DELETE_SECONDS = 75.0


def register(app: typer.Typer) -> None:
    for command in (
        apply,
        get,
        describe,
        delete,
        rollback,
        promote,
        abort,
        retry,
        pause,
        resume,
        history,
        events,
    ):
        app.command()(command)


def apply(
    filename: Files = None,
    force_conflicts: Annotated[
        bool, typer.Option("--force-conflicts", help="On a cluster: take over fields that other tools own.")
    ] = False,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    namespace: Namespace = None,
) -> None:
    """Create ModelVersions, or make them what files say; the newest of a model is rolled out.

    What is wrong is said, the rest is applied, and the exit code is then 1.

    \b
    Examples:
      rollcast apply -f wine-price.yaml
      rollcast apply -f models/ --context production
    """
    from rollcast_cli.rolling.manifests import manifests
    from rollcast_cli.rolling.printing import full_name

    with one_line_errors():
        _some(filename)
        resources = _connect(context, kubeconfig, namespace)
        failed = False
        for manifest in manifests(filename or []):
            if isinstance(manifest, ConfigError):
                failed = _complain(manifest)
                continue
            try:
                became = resources.apply(manifest.value, force_conflicts=force_conflicts)
            except ConfigError as error:
                failed = _complain(f"{manifest.source}: {error}")
                continue
            _say(f"{full_name(manifest.value['metadata']['name'])} {became}")
        if failed:
            raise typer.Exit(1)


def get(
    names: Annotated[list[str] | None, typer.Argument(metavar="[mv] [NAME]...", help="Default: all.")] = None,
    output: Annotated[str, typer.Option("-o", "--output", help="yaml, json, wide or name.")] = "",
    watch: Annotated[bool, typer.Option("-w", "--watch", help="Then a line at every change, until Ctrl-C.")] = False,
    selector: Annotated[str | None, typer.Option("-l", "--selector", help="Only those with label key=value.")] = None,
    model: Annotated[str | None, typer.Option(help="Only those of this model.")] = None,
    no_headers: Annotated[bool, typer.Option("--no-headers", help="Rows only.")] = False,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    namespace: Namespace = None,
) -> None:
    """List ModelVersions: phase, share of the keys, readiness and why.

    \b
    Examples:
      rollcast get -w                     follow a rollout
      rollcast get wine-price-v2 -o yaml
    """
    from rollcast_cli.rolling.listing import Listing

    with one_line_errors():
        if output not in ("", "yaml", "json", "wide", "name"):
            raise ConfigError(f"--output was {output!r}, may be yaml, json, wide or name")
        if watch and output in ("yaml", "json"):
            raise ConfigError(f"--watch prints lines; with --output {output} there are none")
        listing = Listing(
            _connect(context, kubeconfig, namespace),
            names=_names(names or []),
            labels=_labels(selector),
            model=model,
            output=output,
            headers=not no_headers,
            say=_say,
        )
        if not watch:
            if missing := listing.show():
                for name in missing:
                    _complain(name)
                raise typer.Exit(1)
            return
        try:
            listing.follow()
        except KeyboardInterrupt:
            return


def describe(
    names: Annotated[list[str], typer.Argument(metavar="[mv] NAME...")],
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    namespace: Namespace = None,
) -> None:
    """Tell all about a ModelVersion: what is wanted, how far it is, why, and what happened.

    \b
    Example:
      rollcast describe wine-price-v2
    """
    from rollcast_cli.rolling.printing import described

    with one_line_errors():
        resources = _connect(context, kubeconfig, namespace)
        for position, name in enumerate(_some(_names(names))):
            resource = resources.get(name)
            own = [event for event in resources.events() if event.uid == resource["metadata"]["uid"]]
            spec = resource["spec"]
            digest = resources.digests(spec["model"]).get(spec["version"])
            _say(("\n\n" if position else "") + described(resource, own, time.time(), digest=digest), end="")


def delete(
    names: Annotated[list[str] | None, typer.Argument(metavar="[mv] [NAME]...")] = None,
    filename: Files = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Return when it is gone.")] = True,
    timeout: Timeout = _DELETE_SECONDS,
    ignore_not_found: Annotated[bool, typer.Option("--ignore-not-found", help="Gone already is good, too.")] = False,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    namespace: Namespace = None,
) -> None:
    """Delete ModelVersions. A rollout ends; of the live one, the version before is rolled out; after the last one
    the model's slots end.

    \b
    Examples:
      rollcast delete wine-price-v2
      rollcast delete -f wine-price.yaml --no-wait
    """
    from rollcast_cli.rolling.acting import wait_until
    from rollcast_cli.rolling.manifests import manifests
    from rollcast_cli.rolling.printing import full_name
    from rollcast_cli.rolling.resources import NoSuchModelVersion, name_of

    with one_line_errors():
        resources = _connect(context, kubeconfig, namespace)
        wanted, failed = _names(names or []), False
        for manifest in manifests(filename or []):
            if isinstance(manifest, ConfigError):
                failed = _complain(manifest)
            else:
                wanted.append(name_of(manifest.value))
        if not failed:
            _some(wanted)
        deleted: list[tuple[str, str]] = []
        for name in wanted:
            try:
                uid = resources.get(name)["metadata"]["uid"]
                resources.delete(name)
                deleted.append((name, uid))
            except NoSuchModelVersion as error:
                failed = failed or (not ignore_not_found and _complain(error))
        for name, uid in deleted:
            if wait:
                wait_until(
                    lambda name=name, uid=uid: _is_gone(resources, name, uid),  # type: ignore[misc]  # mypy knows no default of a lambda
                    timeout_seconds=timeout,
                    what=f"{full_name(name)} is gone (is the controller running?)",
                )
            _say(f"{full_name(name)} deleted")
        if failed:
            raise typer.Exit(1)


def _action(action: "Action", explanation: str) -> Callable[..., None]:
    def command(
        which: Which,
        wait: Wait = True,
        timeout: Timeout = _ACTION_SECONDS,
        context: Context = None,
        kubeconfig: Kubeconfig = None,
        namespace: Namespace = None,
    ) -> None:
        from rollcast_cli.rolling.acting import act, target_of

        with one_line_errors():
            resources = _connect(context, kubeconfig, namespace)
            (name,) = _names([which]) or [which]
            target = target_of(resources, action, name)
            _say(act(resources, action, target, timeout_seconds=timeout if wait else 0.0))

    command.__name__ = action
    command.__doc__ = explanation
    return command


rollback = _action(
    "rollback",
    """Take the live version back: the one before it answers again, without shadow and steps.

    \b
    Example:
      rollcast rollback wine-price
    """,
)
promote = _action(
    "promote",
    """Skip what is left of a rollout's shadow and steps; every slot must still have it ready.

    \b
    Example:
      rollcast promote wine-price-v2
    """,
)
abort = _action(
    "abort",
    """End a rollout: the live version answers all keys again. `retry` begins anew.

    \b
    Example:
      rollcast abort wine-price
    """,
)
retry = _action(
    "retry",
    """Roll out again what has failed, was aborted or was rolled back.

    \b
    Example:
      rollcast retry wine-price-v2
    """,
)
pause = _action(
    "pause",
    """Hold a rollout where it is; it is still judged, and may still be sent back.

    \b
    Example:
      rollcast pause wine-price
    """,
)
resume = _action(
    "resume",
    """Let a paused rollout go on.

    \b
    Example:
      rollcast resume wine-price
    """,
)


def history(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    namespace: Namespace = None,
) -> None:
    """Tell what became of each version of a model, and since when and for how long it was live.

    Of those that were deleted it knows what events tell; a cluster keeps them for an hour.

    \b
    Example:
      rollcast history wine-price
    """
    from rollcast_cli.rolling.history import HISTORY_COLUMNS, history_of, history_rows
    from rollcast_cli.rolling.printing import columns

    with one_line_errors():
        resources = _connect(context, kubeconfig, namespace)
        there = resources.all()
        pasts = history_of(model, there, resources.events())
        if not pasts:
            models = sorted({resource["spec"]["model"] for resource in there})
            raise ConfigError(f'there is no model "{model}"; there is {", ".join(models) or "none"}')
        for line in columns([HISTORY_COLUMNS, *history_rows(pasts, time.time())]):
            _say(line)


def events(
    name: Annotated[str | None, typer.Argument(help="Only those of this ModelVersion.")] = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    namespace: Namespace = None,
) -> None:
    """List what happened, the latest last: every step of every rollout, and every refusal.

    \b
    Example:
      rollcast events wine-price-v2
    """
    from rollcast_cli.rolling.printing import EVENT_COLUMNS, columns, event_rows

    with one_line_errors():
        resources = _connect(context, kubeconfig, namespace)
        wanted = _names([name]) if name else []
        found = [event for event in resources.events() if not wanted or event.name in wanted]
        if not found:
            for each in wanted:
                resources.get(each)
            sys.stderr.write(f"No events found in {resources.namespace} namespace.\n")
            return
        for line in columns([EVENT_COLUMNS, *event_rows(found, time.time())]):
            _say(line)


# How.


def _connect(context: str | None, kubeconfig: Path | None, namespace: str | None) -> "Resources":
    """The cluster that is named, else the local stack. Raises ConfigError when there is neither."""
    if context is not None or kubeconfig is not None:
        from rollcast_cli.rolling.cluster_resources import ClusterResources  # takes two seconds

        return ClusterResources(kubeconfig, context, namespace)
    if namespace is not None:
        raise ConfigError("-n names a namespace of a cluster; say of which with --context or --kubeconfig")
    from rollcast_cli.local.state import StateFolder
    from rollcast_cli.rolling.folder_resources import FolderResources

    folder = StateFolder()
    try:
        folder.read_stack()
    except ConfigError as error:
        raise ConfigError(f"{error}; or name a cluster with --context") from None
    return FolderResources(folder.path)


def _names(words: Iterable[str]) -> list[str]:
    """Kubectl's ways of naming: `mv NAME`, `mv/NAME`, or NAME."""
    first, *rest = list(words) or [""]
    given = [*([] if first in _TYPES and (rest or first == "mv") else [first] if first else []), *rest]
    return [_bare(name) for name in given]


def _bare(name: str) -> str:
    kind, slash, rest = name.partition("/")
    if not slash:
        return name
    if kind not in _TYPES:
        raise ConfigError(f"{name}: Rollcast knows modelversions (mv) only, no {kind}")
    return rest


def _labels(selector: str | None) -> dict[str, str]:
    labels = {}
    for part in (selector or "").split(","):
        key, equals, value = part.replace("==", "=").partition("=")
        if part and not equals:
            raise ConfigError(f"--selector was {selector!r}, may be key=value, or several of them with commas between")
        if part:
            labels[key.strip()] = value.strip()
    return labels


def _some(names: list[str] | None) -> list[str]:
    if not names:
        raise ConfigError("name what is meant: a ModelVersion's name, or -f FILE")
    return names


def _is_gone(resources: "Resources", name: str, uid: str) -> bool:
    from rollcast_cli.rolling.resources import NoSuchModelVersion

    try:
        return bool(resources.get(name)["metadata"]["uid"] != uid)
    except NoSuchModelVersion:
        return True


def _say(text: str, *, end: str = "\n") -> None:
    sys.stdout.write(text + end)
    sys.stdout.flush()


def _complain(error: RollcastError | str) -> bool:
    sys.stdout.flush()
    sys.stderr.write(f"rollcast: error: {error}\n")
    return True
