"""The rule files and dashboards that are shipped, taken apart: expressions, and what they select."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import promql_parser
import yaml
from promql_parser import Expr, VectorSelector

__all__ = ["CHART", "ROOT", "Query", "alerts", "dashboards", "panels", "queries", "recorded", "rule_files", "selectors"]

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "rollcast"

_LABEL_VALUES = re.compile(r"label_values\((?P<series>.+), (?P<label>\w+)\)")
_VARIABLES = {"$__rate_interval": "1m", "$installation": ".*", "$namespace": ".*", "$model": ".*"}
"""What Grafana would put in, with everything chosen."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Query:
    where: str
    expression: str
    legend: str = ""
    is_alert: bool = False

    def __str__(self) -> str:
        return self.where


def rule_files() -> list[Path]:
    return sorted((CHART / "rules").glob("*.yaml"))


def dashboards() -> dict[str, Json]:
    return {path.name: json.loads(path.read_text(encoding="utf-8")) for path in (CHART / "dashboards").glob("*.json")}


def panels(dashboard: Mapping[str, Any]) -> list[Json]:
    """Without the titles of rows."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


@cache
def _rules() -> list[Json]:
    found = []
    for path in rule_files():
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            found += group["rules"]
    return found


def alerts() -> list[Json]:
    return [rule for rule in _rules() if "alert" in rule]


def recorded() -> dict[str, str]:
    """The expression of each recorded series."""
    return {rule["record"]: rule["expr"] for rule in _rules() if "record" in rule}


def queries() -> list[Query]:
    """Everything that somebody will ask Prometheus."""
    return list(_queries())


def _queries() -> Iterator[Query]:
    for name, expression in recorded().items():
        yield Query(name, expression)
    for rule in alerts():
        yield Query(f"{rule['alert']} ({rule['labels']['severity']})", rule["expr"], is_alert=True)
    for name, dashboard in sorted(dashboards().items()):
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                found = _LABEL_VALUES.fullmatch(variable["query"]["query"])
                assert found is not None, variable["query"]
                where = f"{name}: variable {variable['name']}"
                yield Query(where, _filled(found["series"]), f"{{{{{found['label']}}}}}")
        for panel in panels(dashboard):
            for target in panel["targets"]:
                where = f"{name}: {panel['title']} {target['refId']}"
                yield Query(where, _filled(target["expr"]), target["legendFormat"])


def _filled(expression: str) -> str:
    for variable, value in _VARIABLES.items():
        expression = expression.replace(variable, value)
    left = re.findall(r"\$\w+", expression)
    assert left == [], f"unknown variables {left} in {expression}"
    return expression


def selectors(expression: str) -> list[VectorSelector]:
    found: list[VectorSelector] = []

    def visit(node: Expr) -> None:
        if isinstance(node, VectorSelector):
            found.append(node)

    promql_parser.walk(promql_parser.parse(expression), pre_visit=visit)
    return found
