"""The chart ships rules and dashboards as they are: Helm's templates and Prometheus' are written alike."""

import json

import yaml
from tests.env.helm import Helm
from tests.monitoring.rules import CHART, dashboards, rule_files


def test_the_chart_ships_rules_and_dashboards_unchanged(helm: Helm) -> None:
    objects = helm.template(CHART, values=[CHART / "ci" / "monitoring-values.yaml"])
    rules = [each["spec"] for each in objects if each["kind"] == "PrometheusRule"]
    wanted = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in rule_files()]
    assert sorted(rules, key=str) == sorted(wanted, key=str)
    shipped = {
        name: json.loads(text)
        for each in objects
        if each["kind"] == "ConfigMap"
        for name, text in each.get("data", {}).items()
        if name in dashboards()
    }
    assert shipped == dashboards()
