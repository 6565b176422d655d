"""What all Dockerfiles promise; whether the images work is shown on a cluster (tests/e2e)."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILES = sorted([*ROOT.glob("services/*/Dockerfile"), ROOT / "operator" / "Dockerfile"])


@pytest.fixture(params=DOCKERFILES, ids=lambda path: path.parent.name)
def dockerfile(request: pytest.FixtureRequest) -> str:
    path: Path = request.param
    return path.read_text(encoding="utf-8")


def test_uv_is_the_one_that_make_uses(dockerfile: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (ours,) = re.findall(r"^UV_VERSION := (\S+)$", makefile, re.MULTILINE)
    assert re.findall(r"^ARG UV_VERSION=(\S+)$", dockerfile, re.MULTILINE) == [ours]


def test_every_stage_begins_with_the_base_that_can_be_chosen(dockerfile: str) -> None:
    assert set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)) == {"${BASE}"}


def test_whoever_runs_it_is_a_number_and_not_root(dockerfile: str) -> None:
    """Kubernetes cannot tell of a name whether it is root, and would refuse the pod."""
    assert re.findall(r"^USER (\S+)$", dockerfile, re.MULTILINE) == ["10001:10001"]


def test_packages_are_those_of_the_lock(dockerfile: str) -> None:
    syncs = re.findall(r"uv sync (.*?)(?: &&|$)", dockerfile, re.MULTILINE)
    assert len(syncs) == 2
    assert all("--frozen" in sync and "--no-dev" in sync for sync in syncs)


def test_every_package_of_the_workspace_that_it_needs_is_copied(dockerfile: str) -> None:
    """Else the build would take it from the package index, where somebody else's may have that name."""
    (name,) = set(re.findall(r"--package rollcast-(\w+)", dockerfile))
    wanted = _ours(ROOT / ("operator" if name == "operator" else f"services/{name}"))
    copied = set(re.findall(r"^COPY (\S+)/src", dockerfile, re.MULTILINE))
    assert copied == {str(folder.relative_to(ROOT)) for folder in wanted}


def _ours(folder: Path) -> set[Path]:
    """The folder, and those of the libraries that it depends on, also by way of another."""
    text = (folder / "pyproject.toml").read_text(encoding="utf-8")
    found = {folder}
    for library in re.findall(r"^rollcast-(\w+) = \{ workspace = true \}$", text, re.MULTILINE):
        found |= _ours(ROOT / "libs" / library)
    return found
