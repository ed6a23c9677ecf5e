"""Dashboard and alert rules: their queries are valid, and name metrics and labels that `/metrics` has."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from common.telemetry.metrics import families, labels_of

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"
DASHBOARD: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text())
RULES: list[dict[str, Any]] = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"][0]["rules"]
TESTS: list[dict[str, Any]] = yaml.safe_load((MONITORING / "alerts.test.yaml").read_text())["tests"]

register_default_plugins()

OF_PROMETHEUS = {"job", "instance"}
SERIES = {
    f"{family.name}{suffix}": {*labels_of(family), *OF_PROMETHEUS, *(["le"] if suffix == "_bucket" else [])}
    for family in families()
    for suffix in (("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",))
} | {"up": OF_PROMETHEUS}
"""The labels of series by their names."""

PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = {f"{panel['title']} {one['refId']}": one["expr"] for panel in PANELS for one in panel["targets"]}
QUERIES |= {rule["alert"]: rule["expr"] for rule in RULES}


def parsed(query: str) -> Any:
    """Return a query as Prometheus gets it: Grafana replaces variables."""
    return promql_parser.parse(re.sub(r"\$(job|instance|process)\b", ".*", query.replace("$__rate_interval", "5m")))


def parts(node: Any) -> Iterator[Any]:
    """Yield a node of a query and all below it."""
    yield node
    for name in ("expr", "lhs", "rhs", "vector_selector"):
        if (child := getattr(node, name, None)) is not None:
            yield from parts(child)
    for child in getattr(node, "args", ()):
        yield from parts(child)


def selectors(query: str) -> list[Any]:
    return [part for part in parts(parsed(query)) if type(part).__name__ == "VectorSelector"]


@pytest.mark.parametrize("title", QUERIES)
def test_a_query_names_metrics_and_labels_that_exist(title: str) -> None:
    query = QUERIES[title]
    found = selectors(query)
    assert found
    for selector in found:
        assert selector.name in SERIES
        assert {matcher.name for matcher in selector.matchers.matchers} <= SERIES[selector.name]
    labels = set[str]().union(*(SERIES[selector.name] for selector in found))
    for part in parts(parsed(query)):
        if type(part).__name__ == "AggregateExpr" and part.modifier is not None:
            assert set(part.modifier.labels) <= labels


def test_every_query_of_the_dashboard_is_limited_to_the_chosen_job_and_instance() -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            for selector in selectors(target["expr"].replace("$job", "chosen").replace("$instance", "chosen")):
                chosen = {one.name for one in selector.matchers.matchers if one.value == "chosen"}
                assert chosen == {"job", "instance"}, target["expr"]


def test_counters_are_used_as_rates_only() -> None:
    counters = {family.name for family in families() if family.kind == "counter"}
    counters |= {name for name in SERIES if name.endswith(("_bucket", "_sum", "_count"))}
    for query in QUERIES.values():
        ranges = {part.vector_selector.name for part in parts(parsed(query)) if type(part).__name__ == "MatrixSelector"}
        assert {selector.name for selector in selectors(query)} & counters <= ranges, query


def test_the_dashboard_has_only_what_the_types_of_grafana_define() -> None:
    """The Foundation SDK, which Grafana generates from its schemas, omits everything else."""
    read = Dashboard.from_json(DASHBOARD)
    written = json.loads(JSONEncoder().encode(read))
    assert list(missing(DASHBOARD, written, "dashboard")) == []


def missing(expected: Any, found: Any, place: str) -> Iterator[str]:
    """Yield the places of values that are not in another JSON value, or are different there."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for name, value in expected.items():
            if name in found:
                yield from missing(value, found[name], f"{place}.{name}")
            else:
                yield f"{place}.{name}"
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for number, (one, other) in enumerate(zip(expected, found, strict=True)):
            yield from missing(one, other, f"{place}[{number}]")
    elif expected != found:
        yield place


def test_the_dashboard_has_the_structure_of_grafana() -> None:
    assert DASHBOARD["uid"] == DASHBOARD["title"] == "dicomstore"
    assert DASHBOARD["editable"] is False
    assert DASHBOARD["schemaVersion"] >= 39
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken = set[tuple[int, int]]()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, "panels do not overlap"
        taken |= cells
        assert place["x"] + place["w"] <= 24
    for panel in PANELS:
        assert panel["type"] in ("timeseries", "stat")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["title"]
        assert panel["description"]
        sources = [panel["datasource"], *(one["datasource"] for one in panel["targets"])]
        assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
    assert [one["name"] for one in DASHBOARD["templating"]["list"]] == ["datasource", "job", "instance", "process"]


def test_every_alert_has_a_severity_a_summary_a_description_and_a_test() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)
    for rule in RULES:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"].keys() == {"summary", "description"}
    tested = {one["alertname"] for test in TESTS for one in test["alert_rule_test"] if one["exp_alerts"]}
    assert tested == set(names)
