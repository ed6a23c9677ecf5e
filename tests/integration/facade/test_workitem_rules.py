"""Rules for workitems over HTTP (docs/worklist.md)."""

from typing import Any

import httpx
import pytest

TEMPLATE = {"00741204": {"vr": "LO", "Value": ["Lung CAD"]}}
QUERY = "ModalitiesInStudy=CT&StudyDescription=*CHEST*&StudyDescription=*LUNG*&fuzzymatching=true"


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_a_rule_is_created_changed_and_removed(web: httpx.AsyncClient, version: str) -> None:
    base = f"/{version}/workitemrules"
    made = await web.post(base, json={"label": "AI", "query": QUERY, "template": [TEMPLATE]})
    assert made.status_code == 201
    rule: dict[str, Any] = made.json()
    assert made.headers["location"].endswith(f"{base}/{rule['id']}")
    assert {name: value for name, value in rule.items() if name not in ("id", "created", "creator")} == {
        "label": "AI",
        "query": QUERY,
        "partitions": [],
        "template": TEMPLATE,
        "enabled": True,
        "workitems": 0,
        "waiting": 0,
        "problem": None,
        "lastFailure": None,
    }
    assert (await web.get(f"{base}/{rule['id']}")).json() == rule
    assert (await web.get(base)).json() == [rule]
    changed = await web.patch(f"{base}/{rule['id']}", json={"enabled": False, "query": "", "label": None})
    assert changed.json() == {**rule, "enabled": False, "query": ""}
    assert (await web.delete(f"{base}/{rule['id']}")).status_code == 204
    for gone in (web.get(f"{base}/{rule['id']}"), web.delete(f"{base}/{rule['id']}")):
        assert (await gone).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"template": "x"},
        {"template": TEMPLATE, "other": 1},
        {"template": TEMPLATE, "query": {"PatientID": "1"}},
        {"template": TEMPLATE, "query": "PatientID=1&limit=5"},
        {"template": TEMPLATE, "query": "PatientID=1&includefield=all"},
        {"template": TEMPLATE, "query": "PatientComments=1"},
        {"template": TEMPLATE, "partitions": ["ward"]},
        {"template": TEMPLATE, "partitions": "ward"},
        {"template": TEMPLATE | {"00100020": {"vr": "LO", "Value": ["1"]}}},
    ],
)
async def test_invalid_rules_are_400(web: httpx.AsyncClient, body: Any) -> None:
    assert (await web.post("/v2/workitemrules", json=body)).status_code == 400
