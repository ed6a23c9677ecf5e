"""Records of calls that read, as JSON."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from server.adapters.blobs.audit_trail.trail import FileAuditTrail
from server.domain.audit.recorder import AuditRecorder, Source
from server.model.audit.trail import AuditTrailSettings
from server.model.call import Call, Principal
from tests.audit import audit_records

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


@pytest.mark.parametrize(
    "uri", ['http://a/v2/studies?PatientName="x\\y"', "http://a/\u00e4\u2028/\x01", "http://a/\udc80"]
)
async def test_a_uri_that_needs_escapes_is_recorded_as_it_is(tmp_path: Path, uri: str) -> None:
    trail = FileAuditTrail(tmp_path)
    async with trail.open(AuditTrailSettings(tmp_path / "key.pem")) as log:
        record = AuditRecorder(log).call("SearchService/Search", "read", SOURCE._replace(uri=uri))
        await record.complete(Call('r"1', Principal("p"), None, record), "OK", "")
    [found] = audit_records(tmp_path, kind="executed")
    assert (found["request"], found["uri"]) == ('r"1', uri.replace("\udc80", "?"))


async def test_the_reason_of_an_error_replaces_the_reason_that_the_client_gave(tmp_path: Path) -> None:
    trail = FileAuditTrail(tmp_path)
    async with trail.open(AuditTrailSettings(tmp_path / "key.pem")) as log:
        record = AuditRecorder(log).call("DeleteService/DeleteInstances", "delete", SOURCE)
        record.note(reason="wrong patient", erase="now")
        await record.complete(Call("r1", Principal("p"), None, record), "NOT_FOUND", "STUDY_NOT_FOUND")
    [found] = audit_records(tmp_path, kind="executed")
    assert (found["reason"], found["erase"]) == ("STUDY_NOT_FOUND", "now")


async def test_records_are_in_the_order_of_their_times(tmp_path: Path) -> None:
    trail = FileAuditTrail(tmp_path)
    async with trail.open(AuditTrailSettings(tmp_path / "key.pem")) as log:
        recorder = AuditRecorder(log)
        for number in range(1, 101):
            record = recorder.call("SearchService/Search", "read", SOURCE)
            await record.complete(Call(str(number), Principal("p"), None, record), "OK", "")
            if number % 30 == 0:
                recorder.event("core", "application-start")
    found = audit_records(tmp_path)[1:]
    assert [one.get("request", one["kind"]) for one in found if one["kind"] != "file"] == [
        text for number in range(1, 101) for text in (str(number), *(["event"] if number % 30 == 0 else []))
    ]
    assert [one["time"] for one in found] == sorted(one["time"] for one in found)
    assert trail.verify().findings == ()
