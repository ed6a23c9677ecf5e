"""Records of calls that read, as JSON."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from server.adapters.blobs.audit_trail.trail import FileAuditTrail
from server.domain.audit.recorder import AuditRecorder, Source
from server.model.audit.trail import AuditTrailSettings
from server.model.call import Call, Principal

SOURCE = Source("inproc", "192.0.2.1", "GET", "https://archive.example/v2/studies?PatientID=1")


async def recorded(tmp_path: Path, principal: Principal, **facts: object) -> dict[str, Any]:
    """Return the record of a search, read from the trail."""
    trail = FileAuditTrail(tmp_path)
    async with trail.open(AuditTrailSettings(tmp_path / "key.pem")) as log:
        record = AuditRecorder(log).call("SearchService/Search", "read", SOURCE)
        call = Call("r1", principal, None, record)
        record.note(**facts)
        await record.complete(call, "OK", "")
    [found] = [orjson.loads(one.data) for one in trail.records() if b'"kind":"executed"' in one.data]
    return dict(found)


async def test_facts_are_recorded_as_they_are(tmp_path: Path) -> None:
    found = await recorded(tmp_path, Principal("p"), search={"level": "study", "keys": [["PatientID", "1"]]})
    assert found["search"] == {"level": "study", "keys": [["PatientID", "1"]]}
    assert (found["client"], found["uri"]) == (SOURCE.client, SOURCE.uri)


async def test_long_facts_are_cut_off(tmp_path: Path) -> None:
    found = await recorded(tmp_path, Principal("p"), search={"keys": [["PatientName", "x" * 20_000]]})
    [[_, value]] = found["search"]["keys"]
    assert value.startswith("xxx")
    assert value.endswith("…")
    assert len(value) <= 8193


@pytest.mark.parametrize("value", ["\ud800", "a\udfff"])
async def test_a_record_with_half_of_a_surrogate_pair_is_written(tmp_path: Path, value: str) -> None:
    found = await recorded(tmp_path, Principal("p", display_name=value), search={"keys": [["PatientName", value]]})
    assert found["name"] == value[:-1] + "?"
    assert found["search"] == {"keys": [["PatientName", value[:-1] + "?"]]}
