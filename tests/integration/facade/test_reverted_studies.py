"""Reverting studies and series to an earlier state over a real core (docs/api.md, Versions)."""

from pathlib import Path
from typing import Any

import pytest

from server.bootstrap.maintenance import auditing
from tests.data import DEFLATED, EXPLICIT_LITTLE, JPEG_BASELINE, UID_ROOT, part10
from tests.integration.facade.serving import JSON, parts_of, stored
from tests.integration.facade.test_bulk_update import ANY, ID, NAME, SERIES, STUDY, Archive, archive, file, pixels
from tests.operations import perform

OCTETS = {"Accept": "application/octet-stream; transfer-syntax=*"}


async def revert(updates: Archive, path: str = f"/v2/studies/{STUDY}", **body: str) -> Any:
    """Revert; return the resource of the operation."""
    started = await updates.web.post(f"{path}/$revert", json=body, headers={"X-Dicomstore-Reason": "wrong patient"})
    assert started.status_code == 202, started.text
    await perform(updates.settings)
    return (await updates.web.get(started.json()["href"])).json()


async def bodies(updates: Archive) -> list[bytes]:
    answer = await updates.web.get(f"/v2/studies/{STUDY}", headers=ANY)
    assert answer.status_code == 200
    return [body for _, body in parts_of(answer)]


async def history(updates: Archive) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await updates.web.get(f"/v2/studies/{STUDY}/versions")).json()
    return found


@pytest.mark.parametrize("by", ["operation", "time"])
async def test_a_study_is_reverted_to_the_state_before_an_update(tmp_path: Path, by: str) -> None:
    async with archive(tmp_path) as updates:
        first, second, later = (file(number) for number in (1, 2, 3))
        await stored(updates.web, first, second)
        time = max(one["createdTime"] for one in await history(updates))
        operation = (await updates.update(NAME))["operationId"]
        await stored(updates.web, later)
        await updates.update(ID)
        [*_, of_later] = await bodies(updates)
        done = await revert(updates, **({"time": time} if by == "time" else {"beforeOperation": operation}))
        assert (done["type"], done["status"]) == ("update", "succeeded")
        assert (done["results"]["studyUpdated"], done["results"]["instanceUpdated"]) == (1, 2)
        assert sorted(await bodies(updates)) == sorted([first, second, of_later])
        names = [one["00100010"]["Value"][0]["Alphabetic"] for one in await updates.metadata()]
        ids = [one["00100020"]["Value"][0] for one in await updates.metadata()]
        assert (names, sorted(ids)) == (["Test^Patient"] * 3, ["P-2", "P1", "P1"])
        found = await updates.web.get("/v2/instances?PatientID=P1", headers=JSON)
        assert len(found.json()) == 3  # of a study, which has the value that was stored last
        reverted = [one for one in await history(updates) if one["origin"] == "reverted"]
        assert [(one["isCurrent"], one["reason"]) for one in reverted] == [(True, "wrong patient")] * 2
        entries = (await updates.web.get("/v2/changefeed?limit=200&includeMetadata=false")).json()
        assert [one["action"] for one in entries[-2:]] == ["Update"] * 2
        again = await revert(updates, beforeOperation=done["operationId"])  # this state differs
        assert again["results"]["instanceUpdated"] == 2
        nothing = await revert(updates, time="2999-01-01T00:00:00Z")
        assert (nothing["status"], nothing["results"]["studyUpdated"]) == ("succeeded", 0)
        async with auditing(updates.settings) as audit:
            report = await audit.run(deep=True)
        assert (report.agrees, report.damaged, report.unused) == (True, 0, 0)


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, DEFLATED, JPEG_BASELINE])
async def test_frames_and_bulk_data_are_those_of_the_earlier_state(tmp_path: Path, syntax: str) -> None:
    async with archive(tmp_path) as updates:
        is_jpeg = syntax == JPEG_BASELINE
        content: dict[str, Any] = (
            {"fragments": [[pixels(1, 30_000)], [pixels(2, 40_000)]]}
            if is_jpeg
            else {"frames": [pixels(1, 30_000)] * 2}
        )
        await stored(updates.web, part10(transfer_syntax=syntax, SOPInstanceUID=f"{UID_ROOT}.7.1", **content))
        path = f"/v2/studies/{STUDY}/series/{SERIES}/instances/{UID_ROOT}.7.1"
        paths = [f"{path}/frames/1", f"{path}/frames/2", *([] if is_jpeg else [f"{path}/bulkdata/7FE00010"])]
        before = [(await updates.web.get(one, headers=OCTETS)).content for one in paths]
        metadata = await updates.metadata()
        operation = (await updates.update(NAME, attributes="any"))["operationId"]
        done = await revert(updates, f"/v2/studies/{STUDY}/series/{SERIES}", beforeOperation=operation)
        assert done["status"] == "succeeded"
        after = [(await updates.web.get(one, headers=OCTETS)).content for one in paths]
        assert after == before
        assert await updates.metadata() == metadata
        async with auditing(updates.settings) as audit:
            assert (await audit.run(deep=True)).agrees


async def test_what_cannot_be_reverted_stays_as_it_was(tmp_path: Path) -> None:
    async with archive(tmp_path) as updates:
        await stored(updates.web, file(1), file(2))
        operation = (await updates.update(NAME))["operationId"]
        instance = f"/v2/studies/{STUDY}/series/{SERIES}/instances/{UID_ROOT}.7.2"
        await updates.web.put(f"{instance}/hold", json={"reason": "trial"})
        done = await revert(updates, beforeOperation=operation)
        assert (done["status"], done["results"]["studyFailed"]) == ("failed", 1)
        names = [one["00100010"]["Value"][0]["Alphabetic"] for one in await updates.metadata()]
        assert names == ["Doe^Jane"] * 2
        unknown = await revert(updates, beforeOperation="0" * 32)
        assert (unknown["status"], unknown["errors"]) == (
            "failed",
            ["The operation whose effect is to be reverted is not known."],
        )


@pytest.mark.parametrize(
    "body",
    [{}, {"time": "2026-01-01T00:00:00"}, {"time": "x"}, {"time": "2026-01-01T00:00:00Z", "beforeOperation": "1"}],
)
async def test_an_invalid_state_is_refused(tmp_path: Path, body: Any) -> None:
    async with archive(tmp_path) as updates:
        answer = await updates.web.post(f"/v2/studies/{STUDY}/$revert", json=body)
        assert answer.status_code == 400
