"""Rules and dashboards ask only for what services show, and dashboards are such that Grafana takes them."""

import importlib.util
import itertools
import re
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import pytest
from tests.monitoring.exposed import series
from tests.monitoring.rules import CHART, Query, dashboards, panels, queries, recorded, selectors

_OF_THE_SCRAPE = {"job", "instance"}
_BY = re.compile(r"\b(?:sum|max|min|count) by \(([^)]*)\)")

Json = dict[str, Any]


def _known(name: str) -> frozenset[str]:
    """The labels of a series, recorded or exposed. Fails on one that nobody makes."""
    if name in recorded():
        (labels,) = _BY.findall(recorded()[name])[:1] or [None]
        if labels is not None:
            return frozenset(labels.split(", "))
        return frozenset().union(*(_known(selector.name or "") for selector in selectors(recorded()[name])))
    assert name in series(), f"nobody shows {name}"
    return series()[name] | _OF_THE_SCRAPE


@pytest.mark.parametrize("query", queries(), ids=str)
def test_what_is_asked_for_is_shown_by_some_service_with_these_labels(query: Query) -> None:
    found = selectors(query.expression)
    assert found != []
    for selector in found:
        labels = _known(selector.name or "")
        asked = {matcher.name for matcher in selector.matchers.matchers}
        assert asked <= labels, f"{selector.name} has no label {', '.join(sorted(asked - labels))}"


def test_a_recorded_series_is_used() -> None:
    used = {selector.name for query in queries() for selector in selectors(query.expression)}
    assert set(recorded()) - used == set()


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dashboards_generate", CHART / "dashboards" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_DASHBOARDS = sorted(dashboards())


def test_the_dashboards_are_what_their_script_makes() -> None:
    assert dashboards() == _generator().dashboards(), "run `python charts/rollcast/dashboards/generate.py`"


@pytest.fixture(params=_DASHBOARDS)
def dashboard(request: pytest.FixtureRequest) -> Json:
    return dashboards()[request.param]


def test_a_dashboard_has_an_address_of_its_own_and_asks_for_its_data_source(dashboard: Json) -> None:
    uids = [each["uid"] for each in dashboards().values()]
    assert uids.count(dashboard["uid"]) == 1
    assert re.fullmatch(r"rollcast-[a-z]{1,31}", dashboard["uid"])
    assert dashboard["title"]
    assert dashboard["description"]
    assert dashboard["schemaVersion"] >= 36
    first, *others = dashboard["templating"]["list"]
    assert (first["name"], first["type"], first["query"]) == ("datasource", "datasource", "prometheus")
    assert all(each["datasource"] == {"type": "prometheus", "uid": "${datasource}"} for each in others)


def test_panels_are_told_apart_and_do_not_overlap(dashboard: Json) -> None:
    every = dashboard["panels"]
    ids = [panel["id"] for panel in every]
    assert len(set(ids)) == len(ids)
    titles = [panel["title"] for panel in panels(dashboard)]
    assert len(set(titles)) == len(titles)
    for panel in every:
        place = panel["gridPos"]
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= 24
        assert min(place["w"], place["h"]) > 0
    for one, other in itertools.combinations(every, 2):
        assert not _overlap(one["gridPos"], other["gridPos"]), f"{one['title']} and {other['title']}"


def _overlap(one: Mapping[str, int], other: Mapping[str, int]) -> bool:
    return (
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )


def test_every_panel_says_what_it_shows_and_in_what(dashboard: Json) -> None:
    known = {"short", "reqps", "s", "bytes", "percent", "percentunit"}
    variables = {f"${each['name']}" for each in dashboard["templating"]["list"]} | {"$__rate_interval"}
    for panel in panels(dashboard):
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"] in known
        assert panel["targets"]
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs)
        for asking in (panel, *panel["targets"]):
            assert asking["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for target in panel["targets"]:
            assert set(re.findall(r"\$\w+", target["expr"])) <= variables
