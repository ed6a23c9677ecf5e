"""A principal cannot find out what exists where it has no access (docs/security.md, Partitions)."""

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from dicomstore.v1 import share_service_pb2_grpc
from dicomstore.v1.resources_pb2 import Address
from dicomstore.v1.share_service_pb2 import SHARE_PURPOSE_READ, CreateShareLinkRequest
from sqlalchemy import Engine, event

from facade.actions import action_of
from facade.routes import routes
from tests.data import part10
from tests.integration.conftest import a_core
from tests.integration.facade.serving import serving
from tests.integration.security.callers import bearer, create_token, operator_token

MINE, FOREIGN, MISSING = "mine", "foreign", "missing"
STUDY, SERIES, INSTANCE = "1.2.777", "1.2.777.1", "1.2.777.1.1"
IDS = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES, "SOPInstanceUID": INSTANCE}
VALUES = {
    "version": "v2",
    "study": STUDY,
    "series": SERIES,
    "instance": INSTANCE,
    "frames": "1",
    "path": "7FE00010",
    "number": "1",
    "transaction": "2.25.1",
    "workitem": "2.25.2",
    "requester": "READER",
    "aetitle": "VIEWER",
}
WORKLIST = "1.2.840.10008.5.1.4.34.5"
WEBSOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
WADO_URI = f"?requestType=WADO&studyUID={STUDY}&seriesUID={SERIES}&objectUID={INSTANCE}"
VARYING = {"x-request-id", "date"}
ANY_READ = {"Accept": "*/*"}


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """The statements run in SQLite, with their parameters, without those of the events of studies.

    These follow from the stores before, at any later time.
    """
    ran: list[str] = []

    def keep(statement: str) -> None:
        if "study_states" not in statement and "study_events" not in statement:
            ran.append(statement)

    def note(connection: Any, _record: object) -> None:
        assert isinstance(connection, sqlite3.Connection)
        connection.set_trace_callback(keep)

    event.listen(Engine, "connect", note)
    yield ran
    event.remove(Engine, "connect", note)


UPDATE = b'{"studyInstanceUids": ["1.2"], "changeDataset": {"00100020": {"vr": "LO", "Value": ["P-1"]}}}'
_POLICY = b'{"duplicates": "default"}'
STATE = b'{"00081195": {"vr": "UI", "Value": ["1.9"]}, "00741000": {"vr": "CS", "Value": ["IN PROGRESS"]}}'
BODIES = {
    "state": STATE,
    "READER": STATE,
    "hold": b'{"name": "trial", "reason": "study"}',
    "expiry": b'{"expires": "2099-01-01T00:00:00Z"}',
    "transfers": b'{"type": "send", "remote": "PACS", "resources": ["1.2"]}',
    "$revert": b'{"time": "2026-01-01T00:00:00Z"}',
    "$bulkUpdate": UPDATE,
    "export": b'{"source": {"type": "partition"}, "destination": {"type": "folder", "settings": {"path": "/x"}}}',
    "import": b'{"source": {"type": "folder", "settings": {"path": "/incoming"}}}',
    "2.25.1": b'{"00081199": {"vr": "SQ", "Value": [{"00081150": {"vr": "UI", "Value": ["1.2"]}, '
    b'"00081155": {"vr": "UI", "Value": ["1.2.3.4"]}}]}}',
    FOREIGN: _POLICY,
    MISSING: _POLICY,
}
"""Valid bodies by the last part of the path; others are an empty object."""


def paths(partition: str, study: str = STUDY) -> list[tuple[str, str]]:
    """Return method and path of all routes of a partition, for a study and its series and instance."""
    found = []
    for route in routes():
        if "{partition}" in route.path_format and all(map(action_of, route.row.methods.values())):
            path = route.path_format.format(**VALUES, partition=partition)
            path += WADO_URI if path.endswith("/wado") else ""
            path = path.replace(VALUES["workitem"], WORKLIST) if path.endswith("/suspend") else path
            found += [(method, path.replace(STUDY, study)) for method in route.row.methods]
    return found


async def answered(web: httpx.AsyncClient, method: str, path: str, headers: dict[str, str]) -> tuple[Any, ...]:
    """Return the response of a request, without what varies."""
    content: bytes | None = None
    if method in ("POST", "PUT", "PATCH"):
        is_store = re.search("/studies(/[^/$]+)?$", path) is not None
        headers = headers | {"Content-Type": "application/dicom" if is_store else "application/json"}
        content = part10(**IDS) if is_store else BODIES.get(path.rpartition("/")[2], b"{}")
    elif path.endswith(f"/subscribers/{VALUES['aetitle']}"):
        headers = headers | WEBSOCKET
    answer = await web.request(method, path, headers=headers, content=content)
    shown = {name: value for name, value in answer.headers.items() if name not in VARYING}
    return answer.status_code, answer.text, shown


async def test_what_exists_in_a_foreign_partition_changes_neither_a_response_nor_the_work_for_it(
    tmp_path: Path, statements: list[str]
) -> None:
    """The responses are equal, and no statement of the index has the partition or UIDs: times cannot tell them apart.

    The facade keeps metadata that an administrator has retrieved.
    """
    async with a_core(tmp_path, partitions=True, auth_required=True) as core, serving(core.address) as web:
        admin = bearer(operator_token(tmp_path))
        headers = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"} | dict(admin)
        body = part10(**IDS, frames=[b"ab" * 8], Rows=4, Columns=4)
        for partition in (MINE, FOREIGN):
            stored = await web.post(f"/v2/partitions/{partition}/studies", content=body, headers=headers)
            assert stored.status_code == 200
        tags = {}
        for _ in range(2):
            for path in (f"studies/{STUDY}/metadata", f"studies/{STUDY}/series/{SERIES}/instances/{INSTANCE}/frames/1"):
                answer = await web.get(f"/v2/partitions/{FOREIGN}/{path}", headers=ANY_READ | dict(admin))
                assert answer.status_code == 200
                tags[path] = answer.headers.get("etag", '"1"')
        limited = bearer((await create_token(core.channel, "globalAdmin", partitions=[MINE], by=admin)).secret)
        assert (
            await web.get(f"/v2/partitions/{MINE}/studies/{STUDY}/metadata", headers=dict(limited))
        ).status_code == 200

        del statements[:]
        count = 0
        for (method, existing), (_, missing) in zip(paths(FOREIGN), paths(MISSING), strict=True):
            there = await answered(web, method, existing, ANY_READ | dict(limited))
            assert there == await answered(web, method, missing, ANY_READ | dict(limited)), existing
            assert there[:2] == (404, "The specified partition does not exist."), existing
            count += 1
        assert count > 30
        for path, tag in tags.items():
            for known in (tag, "*"):
                headers = ANY_READ | dict(limited) | {"If-None-Match": known}
                assert (await web.get(f"/v2/partitions/{FOREIGN}/{path}", headers=headers)).status_code == 404
                del headers["authorization"]
                assert (await web.get(f"/v2/partitions/{FOREIGN}/{path}", headers=headers)).status_code == 401
        listed = await web.get("/v2/partitions", headers=dict(admin))
        assert [one["partitionName"] for one in listed.json()] == ["Microsoft.Default", MINE, FOREIGN]
        told = re.compile(rf"'({FOREIGN}|{MISSING}|{re.escape(STUDY)}[.0-9]*)'")
        assert not [statement for statement in statements if told.search(statement)]

        await web.get(f"/v2/partitions/{MISSING}/studies/{STUDY}", headers=ANY_READ | dict(admin))
        assert [statement for statement in statements if told.search(statement)]  # it would be noticed


async def test_a_principal_may_create_its_partition_by_storing_into_it_and_no_other(tmp_path: Path) -> None:
    roles = {"gateway": {"actions": ["write"], "partitions": [MINE]}}
    async with (
        a_core(tmp_path, partitions=True, auth_required=True, roles=roles) as core,
        serving(core.address) as web,
    ):
        admin = bearer(operator_token(tmp_path))
        created = await create_token(core.channel, "gateway", by=admin)
        headers = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"} | dict(
            bearer(created.secret)
        )
        for partition, status in ((MINE, 200), (FOREIGN, 404)):
            answer = await web.post(f"/v2/partitions/{partition}/studies", content=part10(**IDS), headers=headers)
            assert answer.status_code == status
        listed = await web.get("/v2/partitions", headers=dict(admin))
        assert [one["partitionName"] for one in listed.json()] == ["Microsoft.Default", MINE]


async def test_a_share_link_does_not_tell_which_other_studies_exist(tmp_path: Path, statements: list[str]) -> None:
    others = "1.2.888", "1.2.999"  # one exists
    async with a_core(tmp_path, partitions=True, auth_required=True) as core, serving(core.address) as web:
        admin = bearer(operator_token(tmp_path))
        headers = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"} | dict(admin)
        for study in (STUDY, others[0]):
            ids = {name: uid.replace(STUDY, study) for name, uid in IDS.items()}
            stored = await web.post(f"/v2/partitions/{MINE}/studies", content=part10(**ids), headers=headers)
            assert stored.status_code == 200
        stub = share_service_pb2_grpc.ShareServiceStub(core.channel)
        scope = Address(partition=MINE, study_instance_uid=STUDY)
        request = CreateShareLinkRequest(purpose=SHARE_PURPOSE_READ, scope=scope)
        link = bearer((await stub.CreateShareLink(request, metadata=admin)).token)
        own = await web.get(f"/v2/partitions/{MINE}/studies/{STUDY}/metadata", headers=ANY_READ | dict(link))
        assert own.status_code == 200

        del statements[:]
        rows = [pair for pair in zip(*(paths(MINE, other) for other in others), strict=True) if pair[0] != pair[1]]
        assert len(rows) > 25
        for (method, existing), (_, missing) in rows:
            there = await answered(web, method, existing, ANY_READ | dict(link))
            assert there == await answered(web, method, missing, ANY_READ | dict(link)), existing
            assert there[0] in (403, 404), existing
        assert not [each for each in statements if any(f"'{other}" in each for other in others)]


async def test_too_many_headers_for_the_audit_trail_do_not_hide_a_missing_credential(tmp_path: Path) -> None:
    many = {f"X-MS-AZUREDICOM-AUDIT-{number}": "x" for number in range(20)}
    async with a_core(tmp_path, auth_required=True) as core, serving(core.address) as web:
        assert (await web.get("/v2/studies", headers=many)).status_code == 401
        admin = dict(bearer(operator_token(tmp_path)))
        assert (await web.get("/v2/studies", headers=many | admin)).status_code == 400
