"""Updates of attributes over a real core (docs/api.md, Update)."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest

from server.bootstrap.maintenance import auditing
from server.bootstrap.serving import running
from server.config import Settings
from server.domain.operations import update
from tests.core import settings_for
from tests.data import DEFLATED, EXPLICIT_BIG, IMPLICIT_LITTLE, JPEG_BASELINE, UID_ROOT, part10
from tests.integration.facade.serving import JSON, parts_of, serving, stored
from tests.operations import perform

NAME = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]}}
ID = {"00100020": {"vr": "LO", "Value": ["P-2"]}}
STUDY = f"{UID_ROOT}.1"
SERIES = f"{UID_ROOT}.1.1"
ANY = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
ORIGINAL = {"msdicom-request-original": "true"}


class Archive:
    """A core with a facade, and what its worker does."""

    def __init__(self, web: httpx.AsyncClient, settings: Settings) -> None:
        self.web = web
        self.settings = settings

    async def start(self, body: Any, base: str = "/v2") -> httpx.Response:
        return await self.web.post(f"{base}/studies/$bulkUpdate", json=body)

    async def update(self, changes: dict[str, Any], *studies: str, base: str = "/v2", **fields: Any) -> Any:
        """Perform an update; return the resource of its operation."""
        body = {"changeDataset": changes, **fields}
        if "targets" not in fields:
            body["studyInstanceUids"] = studies or [STUDY]
        started = await self.start(body, base)
        assert started.status_code == 202, started.text
        await perform(self.settings)
        return (await self.web.get(started.json()["href"])).json()

    async def datasets(self, path: str = f"/studies/{STUDY}", **headers: str) -> list[pydicom.Dataset]:
        answer = await self.web.get(f"/v2{path}", headers=ANY | headers)
        assert answer.status_code == 200, answer.text
        return [pydicom.dcmread(BytesIO(body)) for _, body in parts_of(answer)]

    async def metadata(self, path: str = f"/studies/{STUDY}", **headers: str) -> list[dict[str, Any]]:
        answer = await self.web.get(f"/v2{path}/metadata", headers=JSON | headers)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()
        return found


@asynccontextmanager
async def archive(data: Path, **options: Any) -> AsyncIterator[Archive]:
    settings = settings_for(data, **options)
    async with running(settings) as core, serving(core.address) as web:
        yield Archive(web, settings)


@pytest.fixture
async def updates(tmp_path: Path) -> AsyncIterator[Archive]:
    async with archive(tmp_path) as opened:
        yield opened


def pixels(number: int, size: int = 60_000) -> bytes:
    return bytes([number]) * size


def file(number: int = 1, **attributes: Any) -> bytes:
    return part10(
        SOPInstanceUID=f"{UID_ROOT}.7.{number}", InstanceNumber=str(number), frames=[pixels(number)], **attributes
    )


def instance(number: int = 1) -> str:
    return f"/studies/{STUDY}/series/{SERIES}/instances/{UID_ROOT}.7.{number}"


async def test_an_update_changes_all_instances_of_a_study(updates: Archive) -> None:
    await stored(updates.web, *(file(number) for number in range(1, 6)))
    started = await updates.start({"studyInstanceUids": [STUDY], "changeDataset": NAME | ID})
    reference = started.json()
    assert started.status_code == 202
    assert "location" not in started.headers
    assert reference["href"].endswith(f"/v2/operations/{reference['id']}")
    waiting = await updates.web.get(reference["href"])
    assert (waiting.status_code, waiting.json()["status"], waiting.json()["type"]) == (202, "notStarted", "update")
    await perform(updates.settings)
    done = (await updates.web.get(reference["href"])).json()
    assert (done["status"], done["percentComplete"]) == ("succeeded", 100)
    assert done["results"] == {"studyProcessed": 1, "studyUpdated": 1, "studyFailed": 0, "instanceUpdated": 5}
    found = await updates.datasets()
    assert {str(one.PatientName) for one in found} == {"Doe^Jane"}
    assert {one.PatientID for one in found} == {"P-2"}
    assert sorted(one.PixelData for one in found) == [pixels(number) for number in range(1, 6)]
    assert {one["00100020"]["Value"][0] for one in await updates.metadata()} == {"P-2"}
    assert (await updates.web.get("/v2/studies?PatientID=P-2", headers=JSON)).json()
    assert (await updates.web.get("/v2/studies?PatientID=P1", headers=JSON)).status_code == 204


async def test_the_file_meta_information_of_a_changed_file_names_the_archive(updates: Archive) -> None:
    """PS3.10 section 7.1: the implementation that wrote the file."""
    await stored(updates.web, file(1))
    await updates.update(NAME)
    (changed,), (original,) = await updates.datasets(), await updates.datasets(**ORIGINAL)
    assert changed.file_meta.ImplementationClassUID == "2.25.152405951230771313210763692461971624025"
    assert changed.file_meta.ImplementationVersionName == "DICOMSTORE"
    assert original.file_meta.ImplementationClassUID == UID_ROOT
    assert (
        "ImplementationVersionName" not in original.file_meta
        or original.file_meta.ImplementationVersionName != "DICOMSTORE"
    )


async def test_every_instance_has_one_update_entry_in_the_change_feed(updates: Archive) -> None:
    await stored(updates.web, file(1), file(2))
    await updates.update(NAME)
    entries = (await updates.web.get("/v2/changefeed")).json()
    assert [(one["action"], one["state"]) for one in entries] == [
        *[("Create", "Replaced")] * 2,
        *[("Update", "Current")] * 2,
    ]
    assert {one["metadata"]["00100010"]["Value"][0]["Alphabetic"] for one in entries} == {"Doe^Jane"}
    assert {one["action"] for one in (await updates.web.get("/v1/changefeed?limit=100")).json()} == {"Create", "Update"}


async def test_the_original_is_returned_on_request_by_every_retrieval(updates: Archive) -> None:
    await stored(updates.web, file(1, StudyDescription="before"), file(2, StudyDescription="before"))
    before = await updates.metadata()
    await updates.update(NAME | {"00081030": {"vr": "LO", "Value": ["first"]}})
    await updates.update({"00081030": {"vr": "LO", "Value": ["second"]}})
    for path in (f"/studies/{STUDY}", f"/studies/{STUDY}/series/{SERIES}", instance()):
        for value in ("true", "TRUE", "false", "1", "yes", ""):
            expected = "before" if value.lower() == "true" else "second"
            headers = {"msdicom-request-original": value}
            assert {found.StudyDescription for found in await updates.datasets(path, **headers)} == {expected}
            metadata = await updates.metadata(path, **headers)
            assert {found["00081030"]["Value"][0] for found in metadata} == {expected}
    originals = await updates.metadata(**ORIGINAL)
    for data_set, one in zip(originals, before, strict=True):
        address = data_set.pop("7FE00010")["BulkDataURI"]
        assert address.startswith(one.pop("7FE00010")["BulkDataURI"])
        assert data_set == one
        octets = {"Accept": "application/octet-stream; transfer-syntax=*"}
        number = int(one["00200013"]["Value"][0])
        assert (await updates.web.get(address, headers=octets)).content == pixels(number)
    octets = {"Accept": "application/octet-stream; transfer-syntax=*"}
    for headers in (octets, octets | ORIGINAL):
        assert (await updates.web.get(f"/v2{instance()}/frames/1", headers=headers)).content == pixels(1)
        assert (await updates.web.get(f"/v2{instance()}/bulkdata/7FE00010", headers=headers)).content == pixels(1)
    for headers in ({"Accept": "image/png"}, {"Accept": "image/png"} | ORIGINAL):
        assert (await updates.web.get(f"/v2{instance()}/rendered", headers=headers)).status_code == 200


async def test_the_stored_bytes_are_the_original(updates: Archive) -> None:
    first = file()
    await stored(updates.web, first)
    await updates.update(NAME)
    single = {"Accept": "application/dicom; transfer-syntax=*"}
    assert (await updates.web.get(f"/v2{instance()}", headers=single | ORIGINAL)).content == first
    latest = (await updates.web.get(f"/v2{instance()}", headers=single)).content
    assert latest != first
    part = await updates.web.get(f"/v2{instance()}", headers=single | {"Range": f"bytes=100-{len(latest) - 5}"})
    assert part.content in (latest[100 : len(latest) - 4], latest)


async def test_an_instance_that_was_never_updated_is_its_own_original(updates: Archive) -> None:
    await stored(updates.web, file())
    assert await updates.datasets(**ORIGINAL) == await updates.datasets()
    assert len(await updates.metadata(**ORIGINAL)) == 1
    missing = await updates.web.get("/v2/studies/1.2.3", headers=ANY | ORIGINAL)
    assert missing.status_code == 404


async def test_entity_tags_change_with_an_update_and_differ_for_the_original(updates: Archive) -> None:
    await stored(updates.web, file())
    path = f"/v2/studies/{STUDY}/metadata"
    before = (await updates.web.get(path, headers=JSON)).headers["etag"]
    assert (await updates.web.get(path, headers=JSON | {"If-None-Match": before})).status_code == 304
    await updates.update(NAME)
    changed = await updates.web.get(path, headers=JSON | {"If-None-Match": before})
    assert changed.status_code == 200
    assert changed.headers["etag"] != before
    original = await updates.web.get(path, headers=JSON | ORIGINAL | {"If-None-Match": changed.headers["etag"]})
    assert original.status_code == 200
    assert original.headers["etag"] not in (before, changed.headers["etag"])
    assert original.json() != changed.json()
    again = await updates.web.get(path, headers=JSON | ORIGINAL | {"If-None-Match": original.headers["etag"]})
    assert again.status_code == 304
    for _ in range(2):
        assert (await updates.web.get(path, headers=JSON)).json() == changed.json()


COUNTS = ("studyProcessed", "studyUpdated", "studyFailed", "instanceUpdated")


async def test_studies_are_updated_or_left_as_they_were_one_by_one(updates: Archive) -> None:
    studies = [f"{UID_ROOT}.{number}" for number in (11, 12, 13)]
    for study in studies:
        await stored(
            updates.web,
            *(part10(StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1", Manufacturer=study) for _ in range(8)),
        )
    await damage(updates.settings.data, studies[1].encode())
    done = await updates.update(NAME, *studies, "1.2.3.4")
    assert done["status"] == "failed"
    assert [done["results"][name] for name in COUNTS] == [4, 2, 1, 16]
    [head, *messages, more] = done["results"]["errors"]
    assert head == f"Failed to update instances for study {studies[1]}."
    assert (len(messages), more) == (5, "and 3 more")
    assert done["errors"] == ["1 of the studies could not be updated."]
    for study, name in zip(studies, ("Doe^Jane", "Test^Patient", "Doe^Jane"), strict=True):
        found = await updates.metadata(f"/studies/{study}")
        assert {one["00100010"]["Value"][0]["Alphabetic"] for one in found} == {name}


async def damage(data: Path, wanted: bytes) -> None:
    """Change the bytes of every stored blob that are these."""

    def flip() -> None:
        for path in data.glob("segments/*.seg"):
            path.write_bytes(path.read_bytes().replace(wanted, wanted[::-1]))

    await asyncio.to_thread(flip)


async def test_an_unknown_study_is_no_failure(updates: Archive) -> None:
    done = await updates.update(NAME, "1.2.3.4")
    assert (done["status"], [done["results"][name] for name in COUNTS]) == ("succeeded", [1, 0, 0, 0])


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"changeDataset": NAME}, "The required field 'StudyInstanceUids' is missing or empty."),
        ({"studyInstanceUids": [], "changeDataset": NAME}, "'StudyInstanceUids' is missing or empty."),
        ({"studyInstanceUids": None, "changeDataset": NAME}, "'StudyInstanceUids' is missing or empty."),
        ({"studyInstanceUids": "1.2", "changeDataset": NAME}, "list"),
        ({"studyInstanceUids": ["x"], "changeDataset": NAME}, "studyInstanceUid is not a valid UID."),
        ({"targets": [{"studyInstanceUid": "1.2", "seriesInstanceUid": 1}], "changeDataset": NAME}, "strings"),
        ({"studyInstanceUids": [f"1.{number}" for number in range(51)], "changeDataset": NAME}, "50"),
        ({"studyInstanceUids": ["1.2"]}, "ChangeDataset"),
        ({"studyInstanceUids": ["1.2"], "changeDataset": {}}, "ChangeDataset"),
        ({"studyInstanceUids": ["1.2"], "changeDataset": NAME, "attributes": "all"}, "attributes"),
        ({"studyInstanceUids": ["1.2"], "changeDataset": NAME, "more": 1}, "Only"),
        ({"targets": [{"seriesInstanceUid": "1.2"}], "changeDataset": NAME}, "targets"),
        ({"targets": [{"studyInstanceUid": "1.2", "sopInstanceUid": "1.2"}], "changeDataset": NAME}, "series"),
        ([], "object"),
    ],
)
async def test_a_request_without_studies_or_changes_is_refused(updates: Archive, body: Any, text: str) -> None:
    refused = await updates.start(body)
    assert refused.status_code == 400
    assert text in refused.text


@pytest.mark.parametrize(
    ("changes", "comments"),
    [
        ({"0020000D": {"vr": "UI", "Value": ["1.2"]}}, ["(0020,000d) - Updating the tag is not supported"]),
        ({"00080060": {"vr": "CS", "Value": ["CT"]}}, ["(0008,0060) - Updating the tag is not supported"]),
        ({"00100020": {"vr": "LO"}}, ["(0010,0020) - The value is empty: an attribute cannot be made empty"]),
        (
            {"00100040": {"vr": "CS", "Value": ["female"]}, "00080018": {"vr": "UI", "Value": ["1.2"]}},
            [
                "(0008,0018) - Updating the tag is not supported",
                "(0010,0040) - Content does not validate VR CS: value contains invalid character",
            ],
        ),
    ],
)
async def test_attributes_that_cannot_be_changed_are_named(updates: Archive, changes: Any, comments: list[str]) -> None:
    refused = await updates.start({"studyInstanceUids": ["1.2"], "changeDataset": changes})
    assert (refused.status_code, refused.headers["content-type"]) == (400, "application/dicom+json")
    found = [item["00000902"]["Value"][0] for item in refused.json()["00741048"]["Value"]]
    assert found == [f"DICOM100: {comment}" for comment in comments]


async def test_the_resource_exists_only_in_version_2(updates: Archive) -> None:
    body = {"studyInstanceUids": ["1.2"], "changeDataset": NAME}
    assert (await updates.start(body, "/v1")).status_code == 404
    assert (await updates.web.post("/v2/studies/$bulkUpdate", content=b"x")).status_code == 415
    other = await updates.web.get("/v2/studies/$bulkUpdate")
    assert (other.status_code, set(other.headers["allow"].split(", "))) == (405, {"OPTIONS", "POST"})


async def test_only_one_update_runs_at_a_time(updates: Archive) -> None:
    await stored(updates.web, file())
    body = {"studyInstanceUids": [STUDY], "changeDataset": NAME}
    first = await updates.start(body)
    second = await updates.start(body)
    assert (first.status_code, second.status_code) == (202, 409)
    await perform(updates.settings)
    assert (await updates.start(body)).status_code == 202


async def test_every_attribute_of_the_list_can_be_changed(updates: Archive) -> None:
    await stored(updates.web, file())
    changes = json.loads(EVERYTHING)
    assert len(changes) == 36
    assert (await updates.update(changes))["status"] == "succeeded"
    [found] = await updates.metadata()
    assert {tag: found[tag] for tag in changes} == changes


EVERYTHING = """{
"00080050": {"vr": "SH", "Value": ["A-1"]}, "00080090": {"vr": "PN", "Value": [{"Alphabetic": "Ref^Doc"}]},
"00081030": {"vr": "LO", "Value": ["Study"]}, "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]},
"00100020": {"vr": "LO", "Value": ["P-2"]}, "00100021": {"vr": "LO", "Value": ["Issuer"]},
"00100022": {"vr": "CS", "Value": ["TEXT"]}, "00100030": {"vr": "DA", "Value": ["19800102"]},
"00100032": {"vr": "TM", "Value": ["0304"]}, "00100040": {"vr": "CS", "Value": ["F"]},
"00100200": {"vr": "CS", "Value": ["NO"]}, "00101000": {"vr": "LO", "Value": ["O-1", "O-2"]},
"00101001": {"vr": "PN", "Value": [{"Alphabetic": "Other"}]},
"00101005": {"vr": "PN", "Value": [{"Alphabetic": "Birth"}]},
"00101010": {"vr": "AS", "Value": ["046Y"]}, "00101020": {"vr": "DS", "Value": [1.75]},
"00101030": {"vr": "DS", "Value": [70.5]}, "00101040": {"vr": "LO", "Value": ["Street"]},
"00101060": {"vr": "PN", "Value": [{"Alphabetic": "Mother"}]}, "00101080": {"vr": "LO", "Value": ["Rank"]},
"00101081": {"vr": "LO", "Value": ["Branch"]}, "00101090": {"vr": "LO", "Value": ["Locator"]},
"00102150": {"vr": "LO", "Value": ["Country"]}, "00102152": {"vr": "LO", "Value": ["Region"]},
"00102154": {"vr": "SH", "Value": ["123"]}, "00102160": {"vr": "SH", "Value": ["Group"]},
"00102180": {"vr": "SH", "Value": ["Job"]}, "001021F0": {"vr": "LO", "Value": ["None"]},
"00102201": {"vr": "LO", "Value": ["Cat"]}, "00102292": {"vr": "LO", "Value": ["Breed"]},
"00102295": {"vr": "LO", "Value": ["Number"]}, "00102297": {"vr": "PN", "Value": [{"Alphabetic": "Owner"}]},
"00102298": {"vr": "CS", "Value": ["OWNER"]}, "00102299": {"vr": "LO", "Value": ["Clinic"]},
"00104000": {"vr": "LT", "Value": ["Comment"]}, "00403001": {"vr": "LO", "Value": ["Secret"]}
}"""


async def test_series_and_instances_and_any_attribute_can_be_updated(updates: Archive) -> None:
    await stored(updates.web, file(1), file(2))
    changes = {"0008103E": {"vr": "LO", "Value": ["Series"]}, "00201041": {"vr": "DS", "Value": [2.5]}}
    target = {"studyInstanceUid": STUDY, "seriesInstanceUid": SERIES, "sopInstanceUid": f"{UID_ROOT}.7.2"}
    assert (await updates.start({"targets": [target], "changeDataset": changes})).status_code == 400
    done = await updates.update(changes, targets=[target], attributes="any")
    assert done["results"]["instanceUpdated"] == 1
    found = {one["00200013"]["Value"][0]: one for one in await updates.metadata()}
    assert "0008103E" not in found[1]
    assert found[2]["00201041"]["Value"] == [2.5]
    [series] = (await updates.web.get(f"/v2/studies/{STUDY}/series", headers=JSON)).json()
    assert series["0008103E"]["Value"] == ["Series"]
    number = {"00200013": {"vr": "IS", "Value": [77]}}
    await updates.update(number, targets=[{"studyInstanceUid": STUDY, "seriesInstanceUid": SERIES}], attributes="any")
    assert len((await updates.web.get("/v2/instances?InstanceNumber=77", headers=JSON)).json()) == 2


async def test_an_instance_that_is_stored_while_its_study_is_read_is_changed_as_well(
    updates: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(update, "_PAGE", 2)
    monkeypatch.setattr(update, "_STEP_SECONDS", 0)
    await stored(updates.web, *(file(number) for number in range(1, 6)))
    started = await updates.start({"studyInstanceUids": [STUDY], "changeDataset": NAME})
    await perform(updates.settings, most_steps=1)
    await stored(updates.web, file(6))
    await perform(updates.settings)

    assert (await updates.web.get(started.json()["href"])).json()["results"]["instanceUpdated"] == 6
    names = {int(found.InstanceNumber): str(found.PatientName) for found in await updates.datasets()}
    assert names == dict.fromkeys(range(1, 7), "Doe^Jane")
    originals = await updates.datasets(**ORIGINAL)
    assert {str(found.PatientName) for found in originals} == {"Test^Patient"}


async def test_an_update_concerns_one_partition(tmp_path: Path) -> None:
    async with archive(tmp_path, partitions=True) as updates:
        for name in ("one", "two"):
            await stored(updates.web, file(), base=f"/v2/partitions/{name}")
        assert (await updates.start({"studyInstanceUids": [STUDY], "changeDataset": NAME})).status_code == 400
        done = await updates.update(NAME, base="/v2/partitions/two")
        assert done["results"]["instanceUpdated"] == 1
        for name, patient in (("one", "Test^Patient"), ("two", "Doe^Jane")):
            [found] = (await updates.web.get(f"/v2/partitions/{name}/studies/{STUDY}/metadata", headers=JSON)).json()
            assert found["00100010"]["Value"] == [{"Alphabetic": patient}]


async def test_a_study_on_hold_is_not_updated(updates: Archive) -> None:
    await stored(updates.web, file())
    held = await updates.web.put(f"/v2{instance()}/hold", json={"reason": "trial"})
    assert held.status_code == 200
    done = await updates.update(NAME)
    assert (done["status"], done["results"]["studyFailed"]) == ("failed", 1)
    assert "trial" in done["results"]["errors"][1]
    assert [str(one.PatientName) for one in await updates.datasets()] == ["Test^Patient"]


async def test_the_number_of_texts_about_errors_is_limited(updates: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update, "_MAX_TEXTS", 3)
    studies = [f"{UID_ROOT}.{number}" for number in (21, 22, 23)]
    for study in studies:
        await stored(updates.web, part10(StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1"))
        await updates.web.put(f"/v2/studies/{study}/hold", json={"reason": "trial"})
    results = (await updates.update(NAME, *studies))["results"]
    heads = [f"Failed to update instances for study {study}." for study in studies]
    assert [results["errors"][0], *results["errors"][2:]] == [*heads[:2], "and 3 more"]
    assert results["studyFailed"] == 3


async def test_extended_query_tags_follow_an_update(updates: Archive) -> None:
    await stored(updates.web, file())
    tag = {"path": "PatientAge", "level": "Study"}
    assert (await updates.web.post("/v2/extendedquerytags", json=[tag])).status_code == 202
    await perform(updates.settings)
    await updates.update({"00101010": {"vr": "AS", "Value": ["046Y"]}})
    assert len((await updates.web.get("/v2/studies?PatientAge=046Y", headers=JSON)).json()) == 1


async def test_values_and_reasons_are_not_in_the_audit_trail(updates: Archive) -> None:
    await stored(updates.web, file())
    body = {"studyInstanceUids": [STUDY], "changeDataset": {"00100020": {"vr": "LO", "Value": ["SECRET-7"]}}}
    started = await updates.web.post(
        "/v2/studies/$bulkUpdate", json=body, headers={"X-Dicomstore-Reason": "mixed up with SECRET-7"}
    )
    assert started.status_code == 202
    await perform(updates.settings)

    def everything() -> bytes:
        return b"".join(path.read_bytes() for path in updates.settings.data.glob("audit/**/*.log"))

    trail = await asyncio.to_thread(everything)
    assert b"UpdateRequest" in trail
    assert b"SECRET-7" not in trail
    assert b"U0VDUkVULT" not in trail


async def test_index_blobs_and_change_feed_agree_after_updates_and_deletions(updates: Archive) -> None:
    await stored(updates.web, *(file(number) for number in range(1, 4)))
    await updates.update(NAME)
    await updates.update(ID)
    await updates.web.delete(f"/v2{instance(3)}")
    async with auditing(updates.settings) as audit:
        report = await audit.run(deep=True)
    assert report.agrees
    assert (report.instances, report.damaged, report.unused) == (2, 0, 0)


async def test_a_deleted_and_restored_instance_keeps_its_original(updates: Archive) -> None:
    await stored(updates.web, file())
    await updates.update(NAME)
    assert (await updates.web.delete(f"/v2/studies/{STUDY}")).status_code == 204
    assert (await updates.web.post(f"/v2/studies/{STUDY}/$undelete")).status_code in (200, 202, 204)
    assert [str(one.PatientName) for one in await updates.datasets()] == ["Doe^Jane"]
    assert [str(one.PatientName) for one in await updates.datasets(**ORIGINAL)] == ["Test^Patient"]


@pytest.mark.parametrize("syntax", [IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED, JPEG_BASELINE])
async def test_files_of_every_encoding_can_be_updated(updates: Archive, syntax: str) -> None:
    content: dict[str, Any] = (
        {"fragments": [[pixels(1, 30_000)], [pixels(2, 40_000)]]}
        if syntax == JPEG_BASELINE
        else {"frames": [pixels(1, 30_000), pixels(2, 30_000)]}
    )
    first = part10(transfer_syntax=syntax, SOPInstanceUID=f"{UID_ROOT}.7.1", **content)
    await stored(updates.web, first)
    octets = {"Accept": "application/octet-stream; transfer-syntax=*"}
    frames = [(await updates.web.get(f"/v2{instance()}/frames/{n}", headers=octets)).content for n in (1, 2)]
    changes = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Yamada", "Ideographic": "山田^太郎"}]}}
    assert (await updates.update(changes))["status"] == "succeeded"
    [found] = await updates.datasets()
    before = pydicom.dcmread(BytesIO(first))
    assert (str(found.PatientName), found.SpecificCharacterSet) == ("Yamada=山田^太郎", "ISO_IR 192")
    assert (found.PixelData, found.PatientID) == (before.PixelData, before.PatientID)
    assert [(await updates.web.get(f"/v2{instance()}/frames/{n}", headers=octets)).content for n in (1, 2)] == frames
    async with auditing(updates.settings) as audit:
        assert (await audit.run(deep=True)).agrees


async def test_the_values_before_can_be_recorded_in_the_file(tmp_path: Path) -> None:
    async with archive(tmp_path, update_original_attributes=True, update_system_name="PACS") as updates:
        await stored(updates.web, file())
        await updates.update(NAME | {"00101040": {"vr": "LO", "Value": ["New street"]}})
        await updates.update(NAME | ID)
        [found] = await updates.datasets()
        first, second = found.OriginalAttributesSequence
        assert (first.ModifyingSystem, first.ReasonForTheAttributeModification) == ("PACS", "CORRECT")
        assert [str(item.PatientName) for item in first.ModifiedAttributesSequence] == ["Test^Patient"]
        [item] = second.ModifiedAttributesSequence
        assert (str(item.PatientName), item.PatientID) == ("Doe^Jane", "P1")
        assert second.AttributeModificationDateTime > first.AttributeModificationDateTime
        [metadata] = await updates.metadata()
        assert len(metadata["04000561"]["Value"]) == 2
        async with auditing(updates.settings) as audit:
            assert (await audit.run(deep=True)).agrees
