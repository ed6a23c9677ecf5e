"""Extended query tags and operations over a real core (docs/api.md)."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.adapters.sql.engine import migrate, open_database
from server.bootstrap.maintenance import backlog
from server.bootstrap.serving import running
from server.dicom.matching.query_tags import extract, new_tag
from server.domain.operations.backlog import Backlog
from server.model.operation import OperationState
from server.model.search.query import Level
from tests.core import settings_for
from tests.data import dataset, file_of, part10
from tests.integration.facade.serving import JSON, serving, stored, stow
from tests.operations import add_tags, end, index_all

STATION = {"path": "StationName", "level": "Series"}
TYPES = {"Content-Type": "application/json"}


@asynccontextmanager
async def archive(data: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with running(settings_for(data)) as core, serving(core.address) as client:
        yield client


async def run_operation(data: Path) -> None:
    """Run the steps of a worker."""
    database = open_database(settings_for(data).database_url, extract=extract)
    for _, operation in await database.operations.list(limit=100):
        await index_all(database, operation.id, datetime.now(UTC), most=2)
    await database.close()


async def add(web: httpx.AsyncClient, tags: object, version: str = "v2") -> httpx.Response:
    return await web.post(f"/{version}/extendedquerytags", json=tags)


async def ready(web: httpx.AsyncClient, data: Path, *tags: dict[str, Any]) -> None:
    assert (await add(web, tags)).status_code == 202
    await run_operation(data)


def file(number: int = 1, **elements: Any) -> bytes:
    return part10(SOPInstanceUID=f"1.2.3.{number}", **elements)


async def found(web: httpx.AsyncClient, query: str) -> Sequence[str]:
    """Return the SOP Instance UIDs of a search."""
    answer = await web.get(f"/v2/instances?{query}", headers=JSON)
    assert answer.status_code in (200, 204), answer.text
    return [match["00080018"]["Value"][0] for match in answer.json()] if answer.content else []


async def test_adding_starts_an_operation_that_can_be_followed(tmp_path: Path) -> None:
    async with archive(tmp_path) as web:
        await stored(web, file(StationName="A"))
        started = await add(web, [STATION])
        reference = started.json()
        assert started.status_code == 202
        assert started.headers["location"] == reference["href"]
        assert len(reference["id"]) == 32

        running_ = await web.get(reference["href"])
        assert (running_.status_code, running_.headers["location"]) == (202, reference["href"])
        assert running_.json()["status"] == "notStarted"
        (tag,) = (await web.get("/v2/extendedquerytags")).json()
        assert tag == {
            "path": "00081010",
            "keyword": "StationName",
            "vr": "SH",
            "level": "series",
            "status": "adding",
            "queryStatus": "enabled",
            "operation": reference,
        }

        await run_operation(tmp_path)
        done = await web.get(reference["href"])
        assert done.status_code == 200
        assert done.json() | {"createdTime": 0, "lastUpdatedTime": 0} == {
            "operationId": reference["id"],
            "type": "reindex",
            "createdTime": 0,
            "lastUpdatedTime": 0,
            "status": "succeeded",
            "percentComplete": 100,
            "resources": [str(web.base_url.join("/v2/extendedquerytags/00081010"))],
        }
        assert (await web.get(f"/v1/operations/{reference['id']}")).json()["status"] == "completed"
        tag = (await web.get("/v2/extendedquerytags/StationName")).json()
        assert (tag["status"], "operation" in tag) == ("ready", False)


async def test_an_operation_that_is_unknown_or_has_no_id(web: httpx.AsyncClient) -> None:
    assert (await web.get(f"/v2/operations/{'0' * 32}")).status_code == 404
    assert (await web.get("/v2/operations/xyz")).status_code == 400


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "The field '$' in request body is invalid: It must be a non-empty list of tags."),
        ({}, "The field '$' in request body is invalid: It must be a non-empty list of tags."),
        (
            [{"level": "study"}],
            "The field '[0].Path' in request body is invalid: "
            "The Dicom Tag Property Path must be specified and must not be null, empty or whitespace",
        ),
        (
            [{"path": "StationName"}],
            "The field '[0].Level' in request body is invalid: "
            "The Dicom Tag Property Level must be specified and must not be null, empty or whitespace",
        ),
        (
            [STATION, {"path": "KVP", "level": "patient"}],
            "The field '$[1].Level' in request body is invalid: "
            "Expected value 'patient' to be one of the following values: ['Instance', 'Series', 'Study']",
        ),
        (
            [{"path": "StationName", "level": "study", "vr": "OB\x07"}],
            "The field '[0].VR' in request body is invalid: The VR of the attribute is SH, not 'OB\\x07'.",
        ),
        (
            [{"path": "PixelData", "level": "study", "vr": "OW"}],
            "The field '[0].VR' in request body is invalid: Attributes of VR 'OW' are not searchable. "
            "Searchable VRs: AE, AS, CS, DA, DT, FD, FL, IS, LO, PN, SH, SL, SS, TM, UI, UL, US.",
        ),
        (
            [STATION | {"colour": "red"}],
            "The field '$[0]' in request body is invalid: Only path, vr, privateCreator, level are allowed.",
        ),
        (
            [STATION, STATION],
            "The field '[1].Path' in request body is invalid: The attribute is in the list twice.",
        ),
        (
            [{"path": "PatientName", "level": "study"}],
            "The field '[0].Path' in request body is invalid: "
            "The attribute is searchable without an extended query tag.",
        ),
    ],
)
async def test_an_invalid_list_of_tags_is_refused_with_the_reason(
    web: httpx.AsyncClient, body: Any, message: str
) -> None:
    answer = await add(web, body)
    assert (answer.status_code, answer.text) == (400, message)
    assert (await web.get("/v2/extendedquerytags")).json() == []


async def test_bodies_may_have_comments_trailing_commas_and_any_case(web: httpx.AsyncClient) -> None:
    body = b'[ // one\n {"Path": "StationName", "LEVEL": "sErIeS", /* two */ },]'
    answer = await web.post("/v2/extendedquerytags", content=body, headers=TYPES)
    assert answer.status_code == 202
    assert (await web.post("/v2/extendedquerytags", content=b"[", headers=TYPES)).text == (
        "The syntax of the request body is invalid."
    )
    assert (await web.post("/v2/extendedquerytags", content=b"[]")).status_code == 415


async def test_an_existing_tag_or_a_running_operation_is_a_conflict(tmp_path: Path) -> None:
    async with archive(tmp_path) as web:
        first = await add(web, [STATION])
        other = await add(web, [{"path": "DeviceSerialNumber", "level": "series"}])
        assert (other.status_code, other.headers["location"]) == (409, first.headers["location"])
        assert first.json()["id"] in other.text
        await run_operation(tmp_path)
        assert (await add(web, [STATION])).status_code == 409


async def test_instances_stored_before_and_after_are_found(tmp_path: Path) -> None:
    async with archive(tmp_path) as web:
        await stored(web, file(1, DeviceSerialNumber="old 1"))
        await ready(web, tmp_path, {"path": "DeviceSerialNumber", "level": "instance"})
        await stored(web, file(2, DeviceSerialNumber="NEW 2"))
        assert await found(web, "DeviceSerialNumber=OLD 1") == ["1.2.3.1"]
        assert await found(web, "00181000=new*") == ["1.2.3.2"]
        assert await found(web, "DeviceSerialNumber=nothing") == []


async def test_a_tag_that_is_not_ready_or_disabled_cannot_be_searched_by(tmp_path: Path) -> None:
    async with archive(tmp_path) as web:
        await add(web, [STATION])
        assert (await web.get("/v2/series?StationName=A", headers=JSON)).status_code == 400
        await run_operation(tmp_path)
        assert (await web.get("/v2/series?StationName=A", headers=JSON)).status_code == 204
        disabled = await web.patch("/v2/extendedquerytags/StationName", json={"queryStatus": "Disabled"})
        assert disabled.json()["queryStatus"] == "disabled"
        refused = await web.get("/v2/series?StationName=A", headers=JSON)
        assert (refused.status_code, refused.text) == (400, "Query is disabled on specified attribute.")


async def test_an_invalid_value_of_a_stored_instance_is_an_indexing_error(tmp_path: Path) -> None:
    async with archive(tmp_path) as web:
        await stored(web, file(1, PerformedLocation="x" * 20), base="/v1")
        await stored(web, file(2, PerformedLocation="room 2"), base="/v1")
        await ready(web, tmp_path, {"path": "PerformedLocation", "level": "instance"})
        tag = (await web.get("/v2/extendedquerytags/PerformedLocation")).json()
        assert (tag["queryStatus"], tag["errors"]["count"]) == ("disabled", 1)
        (error,) = (await web.get(tag["errors"]["href"])).json()
        assert error["sopInstanceUid"] == "1.2.3.1"
        assert "xxx" not in error["errorMessage"]
        await web.patch("/v2/extendedquerytags/PerformedLocation", json={"queryStatus": "enabled"})
        answer = await web.get("/v2/instances?PerformedLocation=room 2", headers=JSON)
        assert answer.headers["erroneous-dicom-attributes"] == "PerformedLocation"
        assert len(answer.json()) == 1


async def test_an_invalid_value_accepted_when_stored_is_not_indexed(tmp_path: Path) -> None:
    async with archive(tmp_path) as web:
        assert (await stow(web, file(1, PerformedLocation="x" * 20))).status_code == 202
        await ready(web, tmp_path, {"path": "PerformedLocation", "level": "instance"})
        tag = (await web.get("/v2/extendedquerytags/PerformedLocation")).json()
        assert (tag["queryStatus"], "errors" in tag) == ("enabled", False)
        assert await found(web, "PerformedLocation=" + "x" * 20) == []


async def test_an_invalid_value_is_refused_by_v1_and_not_indexed_by_v2(tmp_path: Path) -> None:
    async with archive(tmp_path) as web:
        await ready(web, tmp_path, {"path": "PerformedLocation", "level": "instance"})
        refused = await stow(web, file(1, PerformedLocation="x" * 20), path="/v1/studies")
        assert refused.status_code == 409
        assert (await stow(web, file(1, PerformedLocation="x" * 20))).status_code == 202
        tag = (await web.get("/v2/extendedquerytags/PerformedLocation")).json()
        assert "errors" not in tag


@pytest.mark.parametrize("path", ["KVP", "00180060"])
async def test_an_unknown_query_tag_is_not_found(web: httpx.AsyncClient, path: str) -> None:
    for answer in (
        await web.get(f"/v2/extendedquerytags/{path}"),
        await web.delete(f"/v2/extendedquerytags/{path}"),
        await web.patch(f"/v2/extendedquerytags/{path}", json={"queryStatus": "enabled"}),
        await web.get(f"/v2/extendedquerytags/{path}/errors"),
    ):
        assert answer.status_code == 404


@pytest.mark.parametrize(
    "path", ["Nonsense", "0018006", "00400275.00400009", "RequestAttributesSequence", "00400275", "A.B"]
)
async def test_an_invalid_tag_path_is_refused(web: httpx.AsyncClient, path: str) -> None:
    for answer in (
        await web.get(f"/v1/extendedquerytags/{path}"),
        await web.delete(f"/v2/extendedquerytags/{path}"),
        await web.patch(f"/v1/extendedquerytags/{path}", json={"queryStatus": "enabled"}),
        await web.get(f"/v2/extendedquerytags/{path}/errors"),
    ):
        assert answer.status_code == 400


@pytest.mark.parametrize("body", [{}, {"queryStatus": "maybe"}, {"queryStatus": "enabled", "level": "study"}, []])
async def test_only_the_query_status_can_be_changed(tmp_path: Path, body: Any) -> None:
    async with archive(tmp_path) as web:
        await ready(web, tmp_path, STATION)
        assert (await web.patch("/v2/extendedquerytags/StationName", json=body)).status_code == 400


async def test_a_deleted_tag_is_gone(tmp_path: Path) -> None:
    async with archive(tmp_path) as web:
        await stored(web, file(StationName="A"))
        await ready(web, tmp_path, STATION)
        assert (await web.delete("/v2/extendedquerytags/StationName")).status_code == 204
        assert (await web.get("/v2/extendedquerytags")).json() == []
        strict = await web.get("/v2/series?StationName=A", headers=JSON | {"Prefer": "handling=strict"})
        assert strict.status_code == 400
        await ready(web, tmp_path, STATION)


async def test_tags_and_errors_are_paged(tmp_path: Path) -> None:
    async with archive(tmp_path) as web:
        await ready(web, tmp_path, STATION)
        assert len((await web.get("/v2/extendedquerytags?limit=1&offset=0")).json()) == 1
        assert (await web.get("/v2/extendedquerytags?offset=1")).json() == []
        assert (await web.get("/v2/extendedquerytags?limit=0")).status_code == 400
        assert (await web.get("/v2/extendedquerytags/StationName/errors?limit=201")).status_code == 400


@pytest.mark.parametrize(
    ("tag", "stored_value", "queries", "misses"),
    [
        ("DateOfLastCalibration", "20240115", ["20240115", "20240101-20240131", "-20240115"], ["20240116-"]),
        ("TimeOfLastCalibration", "1015", ["1015", "10-11"], ["1016-"]),
        ("AcquisitionDateTime", "20240115101530", ["2024", "20240115-20240116"], ["2025-"]),
        ("OperatorsName", "Müller^Jörg", ["muller^jorg", "Mül*"], ["jorg"]),
        ("Exposure", "0012", ["12", "012"], ["13"]),
        ("SamplesPerPixel", 3, ["3"], ["1"]),
    ],
)
async def test_values_match_by_the_rules_of_their_vr(
    tmp_path: Path, tag: str, stored_value: Any, queries: list[str], misses: list[str]
) -> None:
    async with archive(tmp_path) as web:
        await stored(web, file(1, **{tag: stored_value}))
        await ready(web, tmp_path, {"path": tag, "level": "instance"})
        for query in queries:
            assert await found(web, f"{tag}={query}") == ["1.2.3.1"], query
        for query in misses:
            assert await found(web, f"{tag}={query}") == [], query


def private(number: int, block: int, creator: str, value: str, *, reserved: str = "") -> bytes:
    """Return a file in which a creator has a block; `reserved` has the first then."""
    made = dataset(SOPInstanceUID=f"1.2.3.{number}")
    if reserved:
        made.add_new(0x00090010, "LO", reserved)
        made.add_new(0x00091005, "SH", value)
    made.add_new(0x00090000 + block, "LO", creator)
    made.add_new(0x00090005 + (block << 8), "SH", value)
    return file_of(made)


async def test_a_private_attribute_is_found_in_any_block_of_its_creator(tmp_path: Path) -> None:
    async with archive(tmp_path) as web:
        await stored(web, private(1, 0x10, "ACME", "A"), private(2, 0x11, "ACME", "A", reserved="OTHER"))
        await stored(web, private(3, 0x10, "OTHER", "A"), private(4, 0x12, "ACME", "B", reserved="OTHER"))
        await ready(web, tmp_path, {"path": "00091005", "vr": "SH", "privateCreator": "ACME", "level": "instance"})
        await stored(web, private(5, 0x42, "ACME", "A"), private(6, 0x11, "THIRD", "A", reserved="OTHER"))
        assert await found(web, "00091005=A") == ["1.2.3.5", "1.2.3.2", "1.2.3.1"]
        assert await found(web, "00091005=B") == ["1.2.3.4"]
        tag = (await web.get("/v2/extendedquerytags/00091005")).json()
        assert (tag["path"], tag["privateCreator"]) == ("00091005", "ACME")
        # Another block is another path, under which nothing is registered.
        strict = await web.get("/v2/instances?00091105=A", headers=JSON | {"Prefer": "handling=strict"})
        assert strict.status_code == 400


async def test_a_private_attribute_is_returned_from_its_creators_block(tmp_path: Path) -> None:
    """With its Private Creator element, as search key or include field; not from the block of another creator."""
    async with archive(tmp_path) as web:
        await ready(web, tmp_path, {"path": "00091005", "vr": "SH", "privateCreator": "ACME", "level": "instance"})
        await stored(web, private(1, 0x11, "ACME", "mine", reserved="OTHER"), private(2, 0x10, "OTHER", "theirs"))
        searched, asked = "00091005=mine", "SOPInstanceUID=1.2.3.1&includefield=00091005"
        for query in (searched, asked):
            [match] = (await web.get(f"/v2/instances?{query}", headers=JSON)).json()
            private_elements = {tag: element["Value"] for tag, element in match.items() if tag.startswith("0009")}
            assert private_elements == {"00090011": ["ACME"], "00091105": ["mine"]}, query
        [stranger] = (await web.get("/v2/instances?SOPInstanceUID=1.2.3.2&includefield=00091005", headers=JSON)).json()
        assert not [tag for tag in stranger if tag.startswith("0009")]


async def test_a_tag_of_a_lower_level_is_not_a_search_key(tmp_path: Path) -> None:
    """Nor does it matter then that searching by it is disabled, or that some instances could not be indexed."""
    async with archive(tmp_path) as web:
        await stored(web, file(1, DateOfLastCalibration="20240101"))
        await ready(web, tmp_path, {"path": "DateOfLastCalibration", "level": "instance"})
        disabled = await web.patch("/v2/extendedquerytags/DateOfLastCalibration", json={"queryStatus": "disabled"})
        assert disabled.status_code == 200
        answer = await web.get("/v2/studies?DateOfLastCalibration=20240101", headers=JSON)
        assert answer.status_code == 200
        assert "erroneous-dicom-attributes" not in answer.headers
        assert "DateOfLastCalibration" in answer.headers["Warning"]
        refused = await web.get("/v2/instances?DateOfLastCalibration=20240101", headers=JSON)
        assert refused.status_code == 400


async def test_names_are_found_by_words(tmp_path: Path) -> None:
    async with archive(tmp_path) as web:
        await stored(web, file(1, OperatorsName="Buc^Jérôme"))
        await ready(web, tmp_path, {"path": "OperatorsName", "level": "study"})
        query = "/v2/studies?OperatorsName=jer&fuzzymatching=true"
        assert (await web.get(query, headers=JSON)).status_code == 200
        assert (await web.get(query.replace("jer", "erome"), headers=JSON)).status_code == 204


async def test_tags_of_a_cancelled_operation_refer_to_it_until_they_are_deleted(
    tmp_path: Path,
) -> None:
    async with archive(tmp_path) as web:
        await stored(web, file(1, DeviceSerialNumber="A"))
        started = (await add(web, [STATION, {"path": "DeviceSerialNumber", "level": "instance"}])).json()
        database = open_database(settings_for(tmp_path).database_url)
        await end(database, started["id"], OperationState.CANCELED, datetime.now(UTC))
        assert await backlog(settings_for(tmp_path)) == Backlog(0, 0, ("00081010", "00181000"))
        await web.delete("/v2/extendedquerytags/StationName")
        assert await database.operations.delete_final(datetime.now(UTC)) == 0
        tag = (await web.get("/v2/extendedquerytags/DeviceSerialNumber")).json()
        assert (tag["status"], tag["operation"]) == ("adding", started)
        operation = await web.get(started["href"])
        assert (operation.status_code, operation.json()["status"]) == (200, "canceled")
        await web.delete("/v2/extendedquerytags/DeviceSerialNumber")
        assert await database.operations.delete_final(datetime.now(UTC)) == 1
        assert (await web.get(started["href"])).status_code == 404
        await database.close()

        await ready(web, tmp_path, {"path": "DeviceSerialNumber", "level": "instance"})
        assert await found(web, "DeviceSerialNumber=A") == ["1.2.3.1"]
        assert await backlog(settings_for(tmp_path)) == Backlog(0, 0, ())


async def test_tags_without_an_operation_are_reported_by_health(tmp_path: Path) -> None:
    migrate(settings_for(tmp_path).database_url)
    database = open_database(settings_for(tmp_path).database_url)
    await add_tags(database, [new_tag("StationName", "", "", Level.SERIES)], "a" * 32, datetime.now(UTC))
    await end(database, "a" * 32, OperationState.FAILED, datetime.now(UTC), "It could not be done.")
    async with archive(tmp_path) as web:
        assert (await web.get("/health/check")).json()["overallStatus"] == "Degraded"
    await database.close()


async def test_without_a_worker_the_archive_is_degraded_and_serves(tmp_path: Path) -> None:
    migrate(settings_for(tmp_path).database_url)
    database = open_database(settings_for(tmp_path).database_url)
    long_ago = datetime(2026, 1, 1, tzinfo=UTC)
    await add_tags(database, [new_tag("StationName", "", "", Level.SERIES)], "a" * 32, long_ago)
    async with archive(tmp_path) as web:
        health = await web.get("/health/check")
        assert (health.status_code, health.json()["overallStatus"]) == (200, "Degraded")
        (stuck,) = [entry for entry in health.json()["details"] if entry["status"] != "Healthy"]
        assert (stuck["name"], stuck["status"]) == ("operations", "Degraded")
    assert await backlog(settings_for(tmp_path)) == Backlog(1, 1, ())
    await database.close()
