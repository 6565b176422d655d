"""Every alert comes when it should, says what it should, stays away when all is well, and leads to a page."""

import re
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.monitoring.prometheus import promtool
from tests.monitoring.rules import ROOT, alerts, rule_files

_TESTS = sorted(Path(__file__).parent.glob("*.alerts.yaml"))
_ALERTS = sorted({rule["alert"] for rule in alerts()})
_RUNBOOKS = ROOT / "docs" / "runbooks"
_PARTS = ("## What it means", "## What to look at", "## What to do")


def test_the_rules_are_rules() -> None:
    result = promtool("check", "rules", *map(str, rule_files()))
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("path", _TESTS, ids=lambda path: path.name)
def test_alerts_come_when_they_should_and_stay_away_when_all_is_well(path: Path) -> None:
    result = promtool("test", "rules", str(path))
    assert result.returncode == 0, result.stdout + result.stderr


@cache
def _expected() -> dict[str, list[list[dict[str, Any]]]]:
    """What promtool is told to expect of each alert, each time that it is asked."""
    found: dict[str, list[list[dict[str, Any]]]] = defaultdict(list)
    for path in _TESTS:
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            for asked in test["alert_rule_test"]:
                found[asked["alertname"]].append(asked.get("exp_alerts", []))
    return found


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
def test_each_alert_is_seen_to_come_and_seen_to_stay_away(rule: dict[str, Any]) -> None:
    asked = _expected()[rule["alert"]]
    severity = rule["labels"]["severity"]
    assert any(fired["exp_labels"]["severity"] == severity for expected in asked for fired in expected), "never comes"
    assert [] in asked, "never stays away"


def test_no_test_is_of_an_alert_that_there_is_not() -> None:
    assert sorted(_expected()) == _ALERTS


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
def test_each_alert_says_how_bad_it_is_what_it_is_and_where_to_read_on(rule: dict[str, Any]) -> None:
    assert re.fullmatch(r"Rollcast[A-Z]\w+", rule["alert"])
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{rule['alert']}.md"


@pytest.mark.parametrize("alert", _ALERTS)
def test_each_alert_has_a_runbook(alert: str) -> None:
    page = (_RUNBOOKS / f"{alert}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {alert}\n")
    parts = [line for line in page.splitlines() if line.startswith("## ")]
    assert tuple(parts) == _PARTS


def test_no_runbook_is_of_an_alert_that_there_is_not() -> None:
    assert sorted(path.stem for path in _RUNBOOKS.glob("Rollcast*.md")) == _ALERTS


def test_the_list_of_alerts_is_whole() -> None:
    page = (ROOT / "docs" / "how-to" / "monitor.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[(\w+)\]\(\.\./runbooks/(\w+)\.md\) \| ([a-z, ]+) \|", page, re.MULTILINE)
    severities: dict[str, list[str]] = defaultdict(list)
    for rule in alerts():
        severities[rule["alert"]].append(rule["labels"]["severity"])
    assert listed == [(name, name, ", ".join(found)) for name, found in severities.items()]
