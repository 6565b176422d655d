"""The documentation says what the code does: reference pages, links, examples and error texts are held against it."""

import ast
import importlib.util
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rollcast_common.artifacts import load_s3_params
from rollcast_common.kafka import load_kafka_params
from rollcast_notifier.rules.document import load_notifications
from rollcast_rollout.validation import parse_model_versions, validate
from rollcast_trainer.settings import load_settings

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]+\]\((?P<target>[^)\s]+)\)")


def _generator() -> ModuleType:
    path = ROOT / "docs" / "generate.py"
    spec = importlib.util.spec_from_file_location("docs_generate", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _blocks(tag: str) -> list[Any]:
    """Every fenced block whose info string ends in `tag`, as a parameter named after its page and line."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in _FENCE.finditer(text):
            if block["info"].split()[1:] == [tag]:
                line = text.count("\n", 0, block.start()) + 1
                found.append(pytest.param(block["text"], id=f"{_name(page)}:{line}"))
    return found


def _anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    anchors: set[str] = set()
    for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).strip().lower()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        number = sum(1 for other in anchors if re.fullmatch(re.escape(anchor) + r"(-\d+)?", other))
        anchors.add(f"{anchor}-{number}" if number else anchor)
    return anchors


def _texts(source: str) -> Iterator[str]:
    """The texts in a module, with … for what is filled in."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@cache
def _texts_of_the_code() -> str:
    sources = [*ROOT.glob("*/src/**/*.py"), *ROOT.glob("*/*/src/**/*.py")]
    return "\n".join(text for source in sources for text in _texts(source.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "name",
    [
        "acls.md",
        "cli.md",
        "configuration.md",
        "metrics.md",
        "model-version.md",
        "notifications.md",
        "topics.md",
        "values.md",
    ],
)
def test_a_reference_page_is_what_the_code_says_now(name: str) -> None:
    generator = _generator()
    committed = (generator.REFERENCE / name).read_text(encoding="utf-8")
    assert committed == generator.pages()[name], f"docs/reference/{name} is out of date: run `python docs/generate.py`"


def test_every_generated_page_is_committed() -> None:
    generator = _generator()
    assert {page.name for page in generator.REFERENCE.glob("*.md")} == set(generator.pages())


def test_the_states_of_a_rollout_are_those_of_the_code() -> None:
    generator = _generator()
    page = generator.ROLLOUT.read_text(encoding="utf-8")
    assert page == generator.with_states(page), "docs/explanation/rollout.md: run `python docs/generate.py`"
    assert "stateDiagram-v2" in page


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    broken = []
    text = re.sub(r"`[^`\n]*`", "code", _FENCE.sub("", page.read_text(encoding="utf-8")))
    for link in _LINK.finditer(text):
        target, _, anchor = link["target"].partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        place = (page.parent / target).resolve() if target else page
        if not place.exists() or (anchor and anchor not in _anchors(place)):
            broken.append(link["target"])
    assert not broken, f"{_name(page)} links to what is not there: {', '.join(broken)}"


@pytest.mark.parametrize(
    ("text", "load"),
    [
        *(
            pytest.param(*block.values, lambda path: load_kafka_params(path, {}), id=block.id)
            for block in _blocks("kafka_config")
        ),
        *(
            pytest.param(*block.values, lambda path: load_s3_params(path, {}), id=block.id)
            for block in _blocks("s3_config")
        ),
        *(pytest.param(*block.values, load_settings, id=block.id) for block in _blocks("train_config")),
        *(pytest.param(*block.values, load_notifications, id=block.id) for block in _blocks("notifications")),
    ],
)
def test_every_example_of_a_configuration_is_accepted(
    text: str, load: Callable[[Path], object], tmp_path: Path
) -> None:
    file = tmp_path / "example.yaml"
    file.write_text(text, encoding="utf-8")
    load(file)


@pytest.mark.parametrize("text", _blocks("model_version"))
def test_every_example_of_a_model_version_is_accepted(text: str) -> None:
    for document in parse_model_versions(text, "example"):
        assert validate(document) == []


@pytest.mark.parametrize("text", _blocks("error"))
def test_every_quoted_error_stands_in_the_code(text: str) -> None:
    """In a block tagged `error`, each line is one message, with <words> for what is filled in."""
    missing = [
        line
        for line in text.splitlines()
        if re.sub(r"(<[^<>]+>)+", "…", line) not in re.sub("…+", "…", _texts_of_the_code())
    ]
    assert not missing, "the code says none of these (any more):\n" + "\n".join(missing)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_no_page_names_a_place_on_somebodys_machine(page: Path) -> None:
    assert not re.search(r"/(home|root|work|Users)/", page.read_text(encoding="utf-8"))
