"""The same files through `rollcast apply` in both shells, a folder and a real API server: both print the same."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.env.kubernetes import KubeApi
from typer.testing import CliRunner, Result

from rollcast_cli.__main__ import app
from rollcast_cli.local.state import ProcessRecord, Stack, StackS3, StateFolder
from rollcast_rollout.schema import crd_text
from rollcast_rollout.validation import parse_model_versions

FILES = Path(__file__).parent / "model_versions"
GOOD, BAD = (sorted((FILES / folder).glob("*.yaml")) for folder in ("good", "bad"))


@dataclass(frozen=True, slots=True)
class Shell:
    environ: Mapping[str, str]
    options: tuple[str, ...]

    def run(self, *arguments: str, stdin: str | None = None) -> Result:
        return CliRunner(env=dict(self.environ)).invoke(app, [*arguments, *self.options], input=stdin)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A local stack whose processes are none: nobody looks at its ModelVersions."""
    for name in [name for name in os.environ if name.startswith("ROLLCAST_")]:
        monkeypatch.delenv(name)
    stack = Stack(
        installation="local-1a2b3c",
        owner=ProcessRecord.of("rollcast up", os.getpid()),
        broker="embedded",
        servers="127.0.0.1:1",
        guarantee="at_least_once",
        s3=StackS3(endpoint_url="http://127.0.0.1:1", bucket="models", access_key_id="a", secret_access_key="b"),
    )
    StateFolder(tmp_path / "home").write_stack(stack)
    return Shell({"ROLLCAST_HOME": str(tmp_path / "home")}, ())


@pytest.fixture(scope="module")
def crd(kube_api: KubeApi, tmp_path_factory: pytest.TempPathFactory) -> KubeApi:
    file = tmp_path_factory.mktemp("crd") / "crd.yaml"
    file.write_text(crd_text(), encoding="utf-8")
    kube_api.install_crd(file)
    return kube_api


@pytest.fixture
def cluster(crd: KubeApi, monkeypatch: pytest.MonkeyPatch) -> Shell:
    # A person would not want to wait so long; here the API server shares two cores with everything else.
    monkeypatch.setattr("rollcast_cli.rolling.kube_requests._TIMEOUT", (60.0, 60.0))
    namespace = crd.namespace()
    return Shell({}, ("--kubeconfig", str(crd.kubeconfig), "-n", namespace))


def both(folder: Shell, cluster: Shell, *arguments: str, stdin: str | None = None) -> Result:
    """What both print; here that is the same."""
    here, there = folder.run(*arguments, stdin=stdin), cluster.run(*arguments, stdin=stdin)
    assert (here.stdout, here.stderr, here.exit_code) == (there.stdout, there.stderr, there.exit_code)
    return here


def test_there_are_enough_of_them() -> None:
    assert len(BAD) >= 20


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_what_is_wrong_is_said_in_the_same_words(folder: Shell, cluster: Shell, path: Path) -> None:
    """Where a file holds two documents, the first is created and the second is the change that is refused."""
    said = both(folder, cluster, "apply", "-f", str(path))
    assert said.exit_code == 1
    (line,) = said.stderr.splitlines()
    assert line.startswith(f"rollcast: error: {path}: The ModelVersion ")
    assert " is invalid: " in line
    documents = parse_model_versions(path.read_text(encoding="utf-8"), path.name)
    assert len(said.stdout.splitlines()) == len(documents) - 1


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_what_is_right_becomes_the_same(folder: Shell, cluster: Shell, path: Path) -> None:
    said = both(folder, cluster, "apply", "-f", str(path))
    assert (said.exit_code, said.stderr) == (0, "")
    again = both(folder, cluster, "apply", "-f", str(path)) if said.stdout.count("\n") == 1 else None
    assert again is None or again.stdout.endswith(" unchanged\n")
    name = said.stdout.splitlines()[0].partition("/")[2].split()[0]
    specs = [json.loads(shell.run("get", name, "-o", "json").stdout)["spec"] for shell in (folder, cluster)]
    assert specs[0] == specs[1]


def test_all_of_a_folder_at_once(folder: Shell, cluster: Shell, tmp_path: Path) -> None:
    """The good ones are applied, whatever is wrong with the others."""
    for path in (GOOD[0], BAD[0], BAD[1]):
        (tmp_path / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "nothing.yaml").write_text("{", encoding="utf-8")
    said = both(folder, cluster, "apply", "-f", str(tmp_path), "-f", str(tmp_path / "not-there.yaml"))
    assert said.exit_code == 1
    assert len(said.stderr.splitlines()) == 4
    assert said.stdout.endswith(" created\n")


def test_the_other_commands_say_the_same(folder: Shell, cluster: Shell) -> None:
    least = str(FILES / "good" / "least.yaml")
    assert "No resources found" not in both_but_namespace(folder, cluster, "get").stdout
    assert both(folder, cluster, "get", "nobody").exit_code == 1
    assert both(folder, cluster, "describe", "nobody").exit_code == 1
    assert both(folder, cluster, "apply", "-f", least).stdout.endswith(" created\n")
    name = both(folder, cluster, "get", "mv", "-o", "name").stdout.strip()
    assert name.startswith("modelversion.rollcast.dev/")
    # One is older than the other, and so its column may be wider.
    age = re.compile(r" +(AGE|(\d+[smh])+) +")
    here, there = (age.sub(" age ", shell.run("get", "-o", "wide").stdout) for shell in (folder, cluster))
    assert here.splitlines()[0].startswith("NAME")
    assert here == there
    assert both(folder, cluster, "pause", name, "--no-wait").stdout == f"{name} annotated: rollcast.dev/action=pause\n"
    late = both(folder, cluster, "resume", name, "--timeout", "0.3")
    assert late.exit_code == 1
    assert 'action "resume" was not obeyed in 0.3 s and stays asked for' in late.stderr
    annotations = [
        json.loads(shell.run("get", name, "-o", "json").stdout)["metadata"]["annotations"]
        for shell in (folder, cluster)
    ]
    assert annotations == [{"rollcast.dev/action": "resume"}] * 2
    assert both(folder, cluster, "rollback", "wine-price").exit_code == 1
    assert both(folder, cluster, "history", "nothing").exit_code == 1
    assert both(folder, cluster, "delete", "nobody").exit_code == 1
    assert both(folder, cluster, "delete", "nobody", "--ignore-not-found").exit_code == 0
    assert both(folder, cluster, "delete", "-f", least, "--no-wait").stdout == f"{name} deleted\n"


def both_but_namespace(folder: Shell, cluster: Shell, *arguments: str) -> Result:
    """Their namespaces have other names."""
    here, there = folder.run(*arguments), cluster.run(*arguments)
    assert (here.stdout, here.exit_code) == (there.stdout, there.exit_code)
    assert here.stderr.split()[:4] == there.stderr.split()[:4]
    return here


def test_a_field_of_another_tool_is_not_taken_over_in_silence(crd: KubeApi, cluster: Shell) -> None:
    (least,) = parse_model_versions((FILES / "good" / "least.yaml").read_text(encoding="utf-8"), "least.yaml")
    namespace = cluster.options[-1]
    crd.kubectl("apply", "--namespace", namespace, "--filename", "-", stdin=json.dumps(least))
    least["spec"]["rollout"] = {"paused": True}
    crd.kubectl("apply", "--namespace", namespace, "--filename", "-", stdin=json.dumps(least))
    least["spec"]["rollout"] = {"paused": False}
    refused = cluster.run("apply", "-f", "-", stdin=json.dumps(least))
    assert refused.exit_code == 1
    (line,) = refused.stderr.splitlines()
    assert "spec.rollout.paused belongs to kubectl-client-side-apply" in line
    assert "--force-conflicts" in line
    taken = cluster.run("apply", "-f", "-", "--force-conflicts", stdin=json.dumps(least))
    assert (taken.exit_code, taken.stdout.split()[-1]) == (0, "configured")


def test_what_is_wrong_with_the_cluster_is_one_line(crd: KubeApi, cluster: Shell, tmp_path: Path) -> None:
    kubeconfig = str(crd.kubeconfig)
    poor = str(crd.service_account(crd.namespace(), "poor"))
    for options, complaint in (
        (("--kubeconfig", str(tmp_path / "none")), "kubeconfig: "),
        (("--kubeconfig", kubeconfig, "--context", "none"), "kubeconfig: "),
        (("--kubeconfig", poor), "a Role that allows it is missing"),
        (("-n", "default"), "say of which with --context or --kubeconfig"),
    ):
        result = CliRunner().invoke(app, ["get", *options])
        assert result.exit_code == 1, result.output
        (line,) = result.stderr.splitlines()
        assert line.startswith("rollcast: error: ")
        assert complaint in line, line
    missing = Shell({}, ("--kubeconfig", kubeconfig, "-n", "nowhere"))
    result = missing.run("apply", "-f", str(FILES / "good" / "least.yaml"))
    assert 'namespaces "nowhere" not found; create it' in result.stderr
    assert cluster.run("get").exit_code == 0
