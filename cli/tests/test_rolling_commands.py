"""The commands about ModelVersions against a folder whose controller is a few lines of this test."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from rollcast_cli.__main__ import app
from rollcast_cli.local.state import ProcessRecord, Stack, StackS3, StateFolder
from rollcast_cli.rolling.folder_resources import FolderResources
from rollcast_cli.rolling.folder_shell import FolderShell
from rollcast_cli.rolling.model_store import ModelStore
from rollcast_common.identity import ModelIdentity
from rollcast_rollout.answer import Event
from rollcast_rollout.model_version import ModelVersion

PATIENTLY = ("--timeout", "120")

Obey = Callable[[FolderShell, ModelVersion], None]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("ROLLCAST_")]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    monkeypatch.setenv("ROLLCAST_HOME", str(home))
    StateFolder(home).write_stack(
        Stack(
            installation="local-1a2b3c",
            owner=ProcessRecord.of("rollcast up", os.getpid()),
            broker="embedded",
            servers="127.0.0.1:1",
            guarantee="at_least_once",
            s3=StackS3(endpoint_url="http://127.0.0.1:1", bucket="models", access_key_id="a", secret_access_key="b"),
        )
    )
    return home


@pytest.fixture
def store(home: Path) -> ModelStore:
    return ModelStore(home / "models")


def resource(number: int, model: str = "wine", **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "rollcast.dev/v1alpha1",
        "kind": "ModelVersion",
        "metadata": {"name": f"{model}-{number}", **metadata},
        "spec": {"model": model, "version": f"v{number}", "artifact": {"uri": f"s3://models/{number}.skops"}},
    }


def keep(store: ModelStore, number: int, phase: str, model: str = "wine", **metadata: Any) -> None:
    store.apply(resource(number, model, **metadata))
    store.write_status(f"{model}-{number}", {"phase": phase, "sequence": number, "conditions": []})


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, arguments, input=stdin)


def said(*arguments: str) -> str:
    result = run(*arguments)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return result.stdout


def refused(*arguments: str, stdin: str | None = None) -> str:
    """The one line of what must not succeed."""
    result = run(*arguments, stdin=stdin)
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("rollcast: error: ")
    return line.removeprefix("rollcast: error: ")


@contextmanager
def controller(home: Path, obey: Obey) -> Iterator[None]:
    """Does what it is told with each ModelVersion of model wine that has an action or is deleted."""
    shell = FolderShell(home, ModelStore(home / "models"), ModelIdentity("local", "default", "wine"))
    stopping = threading.Event()

    def reconcile() -> None:
        while not stopping.wait(0.02):
            for version in shell.model_versions():
                if version.deleting or version.action is not None:
                    obey(shell, version)

    thread = threading.Thread(target=reconcile)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def do(shell: FolderShell, version: ModelVersion) -> None:
    """As the real one: status, event, annotation, finalizer."""
    if version.deleting:
        shell.release(version.uid)
        return
    shell.write_status(version.uid, {"phase": "Paused", "rollout": {"weight": 25}})
    shell.post(Event(version.uid, "Normal", "Paused", "held where it is"))
    shell.take_off_action(version.uid)


def refuse(shell: FolderShell, version: ModelVersion) -> None:
    shell.post(Event(version.uid, "Warning", "ActionRefused", f"action {version.action!r}: it is not paused"))
    shell.take_off_action(version.uid)


def stay_silent(shell: FolderShell, version: ModelVersion) -> None:
    shell.take_off_action(version.uid)


@pytest.mark.usefixtures("home")
def test_apply_creates_changes_and_says_what_is_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "1.yaml").write_text("\n---\n".join(json.dumps(resource(number)) for number in (1, 2)))
    (folder / "2.json").write_text(json.dumps({**resource(3), "kind": "ModelVersions"}))
    (folder / "3.yml").write_text("{")
    (folder / "notes.txt").write_text("no YAML: [")
    result = run("apply", "-f", str(folder), "-f", str(tmp_path / "none"), "-f", "-", "-f", str(tmp_path), stdin="[]")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [f"modelversion.rollcast.dev/wine-{number} created" for number in (1, 2)]
    wrong_kind, not_yaml, missing, no_object, empty = result.stderr.splitlines()
    assert f"{folder}/2.json: The ModelVersion " in wrong_kind
    assert 'kind: Unsupported value: "ModelVersions": supported values: "ModelVersion"' in wrong_kind
    assert f"{folder}/3.yml, line 1: " in not_yaml
    assert missing == f"rollcast: error: {tmp_path}/none: no such file or folder"
    assert "-, document 1 (line 1): expected a ModelVersion, found array" in no_object
    assert f"{tmp_path}: holds no file that ends in .yaml, .yml, .json" in empty
    assert said("apply", "-f", str(folder / "1.yaml")).count("unchanged") == 2
    changed = resource(1)
    changed["spec"]["rollout"] = {"paused": True}
    assert run("apply", "-f", "-", stdin=json.dumps(changed)).stdout == "modelversion.rollcast.dev/wine-1 configured\n"
    assert refused("apply").startswith("name what is meant")


def test_get_lists_filters_and_names(store: ModelStore) -> None:
    result = run("get")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "No resources found in default namespace.\n"
    keep(store, 1, "Superseded")
    keep(store, 2, "Live", labels={"team": "cellar"})
    keep(store, 1, "Live", "beer")
    lines = said("get").splitlines()
    assert lines[0].split() == ["NAME", "MODEL", "VERSION", "PHASE", "WEIGHT", "READY", "REASON", "AGE"]
    assert [line.split()[:4] for line in lines[1:]] == [
        ["wine-1", "wine", "v1", "Superseded"],
        ["wine-2", "wine", "v2", "Live"],
        ["beer-1", "beer", "v1", "Live"],
    ]
    rows = said("get", "mv", "--no-headers").splitlines()
    assert [line.split()[:4] for line in rows] == [line.split()[:4] for line in lines[1:]]
    assert said("get", "-l", "team=cellar", "-o", "name") == "modelversion.rollcast.dev/wine-2\n"
    assert said("get", "--model", "beer", "-o", "name") == "modelversion.rollcast.dev/beer-1\n"
    assert said("get", "mv/wine-1", "modelversions/beer-1", "-o", "name").splitlines() == [
        "modelversion.rollcast.dev/wine-1",
        "modelversion.rollcast.dev/beer-1",
    ]
    assert json.loads(said("get", "wine-1", "-o", "json"))["metadata"]["name"] == "wine-1"
    assert len(json.loads(said("get", "-o", "json"))["items"]) == 3
    assert "SEQUENCE" in said("get", "-o", "wide")
    partly = run("get", "wine-1", "gone")
    assert (partly.exit_code, len(partly.stdout.splitlines())) == (1, 2)
    assert 'modelversions.rollcast.dev "gone" not found' in partly.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("get", "-o", "table"), "--output was 'table', may be yaml, json, wide or name"),
        (("get", "-w", "-o", "yaml"), "--watch prints lines; with --output yaml there are none"),
        (("get", "-l", "team"), "--selector was 'team', may be key=value"),
        (("get", "pods/wine-1"), "pods/wine-1: Rollcast knows modelversions (mv) only, no pods"),
        (("get", "gone"), 'modelversions.rollcast.dev "gone" not found; `rollcast get` lists what is there'),
        (("get", "-w", "gone"), 'modelversions.rollcast.dev "gone" not found'),
        (("get", "-n", "cellar"), "-n names a namespace of a cluster; say of which with --context or --kubeconfig"),
        (("describe", "gone"), 'modelversions.rollcast.dev "gone" not found'),
        (("describe", "mv"), "name what is meant"),
        (("delete",), "name what is meant"),
        (("delete", "gone"), 'modelversions.rollcast.dev "gone" not found'),
        (("events", "gone"), 'modelversions.rollcast.dev "gone" not found'),
        (("history", "gone"), 'there is no model "gone"; there is wine'),
        (("pause", "gone"), 'modelversions.rollcast.dev "gone" not found'),
        (("promote", "wine"), 'no version of model "wine" is being rolled out; there is wine-1 (Live)'),
        (("resume", "wine"), 'no version of model "wine" is paused; there is wine-1 (Live)'),
        (("retry", "wine"), 'no version of model "wine" has failed or was rolled back; there is wine-1 (Live)'),
    ],
)
def test_what_a_user_gets_wrong_is_one_line(store: ModelStore, arguments: tuple[str, ...], complaint: str) -> None:
    keep(store, 1, "Live")
    assert complaint in refused(*arguments)


def test_an_action_is_waited_for_and_told(home: Path, store: ModelStore) -> None:
    keep(store, 1, "Live")
    keep(store, 2, "Canary")
    with controller(home, do):
        assert said("pause", "wine", *PATIENTLY) == (
            "modelversion.rollcast.dev/wine-2 paused (held where it is); now Paused, 25 %\n"
        )
    with controller(home, refuse):
        refusal = refused("resume", "mv/wine-2", *PATIENTLY)
    assert refusal == "modelversion.rollcast.dev/wine-2: action 'resume': it is not paused"
    with controller(home, stay_silent):
        assert said("abort", "wine", *PATIENTLY) == "modelversion.rollcast.dev/wine-2 aborted; now Paused, 25 %\n"
    late = refused("promote", "wine-2", "--timeout", "0.2")
    assert 'action "promote" was not obeyed in 0.2 s and stays asked for; does the controller run' in late
    assert store.get("wine-2")["metadata"]["annotations"] == {"rollcast.dev/action": "promote"}
    asked = said("abort", "wine-2", "--no-wait")
    assert asked == "modelversion.rollcast.dev/wine-2 annotated: rollcast.dev/action=abort\n"


def test_a_model_that_leaves_open_which_is_meant(store: ModelStore) -> None:
    keep(store, 1, "RolledBack")
    keep(store, 2, "Failed")
    keep(store, 3, "Live")
    assert "leaves open which version; name one of wine-1 (RolledBack), wine-2 (Failed)" in refused("retry", "wine")
    assert "annotated" in said("rollback", "wine", "--no-wait")
    assert "rollcast.dev/action" in store.get("wine-3")["metadata"]["annotations"]


def test_what_is_deleted_while_it_is_asked_for(home: Path, store: ModelStore) -> None:
    keep(store, 1, "Canary")
    with controller(home, lambda shell, version: shell.release(version.uid)):
        assert 'was deleted before action "pause" was obeyed' in refused("pause", "wine-1", *PATIENTLY)


def test_delete_waits_until_it_is_gone(home: Path, store: ModelStore, tmp_path: Path) -> None:
    for number in (1, 2, 3, 4):
        keep(store, number, "Live")
    held = refused("delete", "wine-4", "--timeout", "0.2")
    assert held == "modelversion.rollcast.dev/wine-4 is gone (is the controller running?): not within 0.2 s"
    assert said("delete", "wine-4", "--no-wait") == "modelversion.rollcast.dev/wine-4 deleted\n"
    with controller(home, do):
        assert said("delete", "mv", "wine-1") == "modelversion.rollcast.dev/wine-1 deleted\n"
        file = tmp_path / "2.yaml"
        file.write_text(json.dumps(resource(2)))
        result = run("delete", "-f", str(file), "gone", "wine-3")
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 2
    assert 'modelversions.rollcast.dev "gone" not found' in result.stderr
    assert [each for each in store.all() if each["metadata"]["name"] != "wine-4"] == []
    assert said("delete", "gone", "--ignore-not-found") == ""


def test_describe_events_and_history_tell_what_happened(home: Path, store: ModelStore) -> None:
    keep(store, 1, "Live")
    result = run("events")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "No events found in default namespace.\n")
    shell = FolderShell(home, store, ModelIdentity("local", "default", "wine"))
    (version,) = shell.model_versions()
    shell.post(Event(version.uid, "Normal", "Live", "v1 answers all requests"))
    assert "v1 answers all requests" in said("describe", "mv", "wine-1")
    head, line = said("events", "wine-1").splitlines()
    assert head.split() == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert line.split()[1:4] == ["Normal", "Live", "modelversion/wine-1"]
    head, line = said("history", "wine").splitlines()
    assert line.split()[:4] == ["1", "wine-1", "v1", "Live"]


def test_a_watch_prints_a_line_at_every_change(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(store, 1, "Canary")
    watch = FolderResources.watch

    def watched(self: FolderResources) -> Iterator[Any]:
        """Changes come while it looks; then somebody presses Ctrl-C."""
        changes = watch(self)
        yield next(changes)
        store.annotate("wine-1", "seen", "by nobody")
        yield next(changes)
        store.write_status("wine-1", {"phase": "Live", "rollout": {"weight": 100}})
        yield next(changes)
        store.release("wine-1")
        yield next(changes)
        raise KeyboardInterrupt

    monkeypatch.setattr(FolderResources, "watch", watched)
    lines = said("get", "-w").splitlines()
    assert [line.split()[3] for line in lines] == ["PHASE", "Canary", "Live", "Deleted"]
    assert lines[2].split()[4] == "100"


def test_without_a_stack_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLCAST_HOME", str(tmp_path))
    for arguments in (("get",), ("apply", "-f", "-"), ("pause", "a"), ("delete", "a"), ("events",), ("history", "a")):
        line = refused(*arguments)
        assert "start one with `rollcast up`; or name a cluster with --context" in line


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("paused: 7", "not a spec.rollout: paused: Invalid value: "),
        ("pause: true", 'not a spec.rollout: pause: unknown field "pause"'),
        ("steps: [{weight: 50}, {weight: 5}]", "steps: Invalid value: weights must rise from step to step"),
        ("- 1", "expected a mapping at the top"),
    ],
)
@pytest.mark.usefixtures("home")
def test_a_rollout_file_that_is_none(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "rollout.yaml"
    file.write_text(text)
    assert complaint in refused("up", "--rollout", str(file))
