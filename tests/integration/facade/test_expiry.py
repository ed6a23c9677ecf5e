"""Expiry of studies over a real core (docs/api.md, Expiry)."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.data import part10
from tests.integration.facade.serving import STOW, multipart, stored

STUDY = "1.2.826.0.1.3680043.10.1.1"
PATH = f"/v2/studies/{STUDY}"
FILE = part10(SOPInstanceUID="1.2.3", frames=[bytes(2000)])
TIME, OPTION, LEVEL = (f"msdicom-expiry-{name}" for name in ("time-milliseconds", "option", "level"))
DAY = {TIME: "86400000", OPTION: "RelativeToNow", LEVEL: "Study"}


async def store(web: httpx.AsyncClient, headers: dict[str, str], path: str = "/v2/studies") -> httpx.Response:
    return await web.post(path, content=multipart(FILE), headers=STOW | headers)


async def gone(web: httpx.AsyncClient, path: str = PATH) -> None:
    """Wait until the study has expired."""
    async with asyncio.timeout(30):
        while (await web.get(f"{path}/metadata")).status_code != 404:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("path", ["/v1/studies", f"/v1/studies/{STUDY}", "/v2/studies", f"/v2/studies/{STUDY}"])
async def test_a_stored_study_expires_with_all_its_instances_and_can_be_restored(
    web: httpx.AsyncClient, path: str
) -> None:
    await stored(web, part10(StudyInstanceUID=STUDY, SOPInstanceUID="1.2.4"))
    assert (await store(web, DAY | {TIME: "1"}, path)).status_code == 200
    await gone(web)
    [deletion] = (await web.get("/v2/deleted")).json()
    assert (deletion["author"], deletion["reason"], deletion["instances"]) == ("dicomstore:expiry", "expired", 2)
    actions = [change["action"] for change in (await web.get("/v2/changefeed")).json()]
    assert sorted(actions) == ["Create", "Create", "Delete", "Delete"]
    assert (await web.post(f"{PATH}/$undelete")).json() == {"restoredInstances": 2}
    assert (await web.get(f"{PATH}/expiry")).json() == {"expires": None}


@pytest.mark.parametrize("headers", [DAY, {TIME: "86400000"}, DAY | {OPTION: "relativetonow", LEVEL: "study"}])
async def test_the_expiry_is_relative_to_the_time_of_storing_and_reset_by_a_later_one(
    web: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    await store(web, DAY | {TIME: "1000000"})
    await store(web, {})
    first = (await web.get(f"{PATH}/expiry")).json()
    assert (await store(web, headers)).status_code == 200
    second = (await web.get(f"{PATH}/expiry")).json()
    assert first["expires"] < second["expires"]
    expires = datetime.fromisoformat(second["expires"])
    assert abs(expires - datetime.now(UTC) - timedelta(days=1)) < timedelta(minutes=1)
    assert second["author"] == "anonymous"


INVALID = (
    *({OPTION: "RelativeToNow"}, {LEVEL: "Study"}),
    *(DAY | {TIME: text} for text in ("0", "-1", "1.5", "x", "", "1" * 20, "\u0664", "99999999999999")),
    *(DAY | {OPTION: "Absolute"}, DAY | {OPTION: "NeverExpire"}, DAY | {LEVEL: "Series"}),
)


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_invalid_headers_are_refused_and_nothing_is_stored(web: httpx.AsyncClient, version: str) -> None:
    for headers in INVALID:
        encoded = {name: value.encode() for name, value in (STOW | headers).items()}
        answer = await web.post(f"/{version}/studies", content=multipart(FILE), headers=encoded)
        assert answer.status_code == 400, headers
    assert (await web.get(f"{PATH}/metadata")).status_code == 404


async def test_an_expiry_is_set_shown_and_removed(web: httpx.AsyncClient) -> None:
    assert (await web.get(f"{PATH}/expiry")).status_code == 404
    assert (await web.put(f"{PATH}/expiry", json={"expires": "2999-01-01T00:00:00Z"})).status_code == 404
    await stored(web, FILE)
    assert (await web.get(f"{PATH}/expiry")).json() == {"expires": None}
    answer = await web.put(f"{PATH}/expiry", json={"expires": "2999-01-01T01:00:00+01:00"})
    assert answer.json()["expires"] == "2999-01-01T00:00:00Z"
    assert (await web.get(f"{PATH}/expiry")).json() == answer.json()
    assert (await web.delete(f"{PATH}/expiry")).status_code == 204
    assert (await web.get(f"{PATH}/expiry")).json() == {"expires": None}


async def test_an_invalid_expiry_is_refused(web: httpx.AsyncClient) -> None:
    await stored(web, FILE)
    for expires in (None, "2999-01-01", "x", "2020-01-01T00:00:00Z", 1):
        assert (await web.put(f"{PATH}/expiry", json={"expires": expires})).status_code == 400


async def test_a_study_on_hold_expires_after_the_release(web: httpx.AsyncClient) -> None:
    await stored(web, FILE)
    await web.put(f"{PATH}/hold", json={"reason": "complaint"})
    await store(web, DAY | {TIME: "1"})
    other = part10(StudyInstanceUID="1.2.9", SOPInstanceUID="1.2.9.1")
    await web.post("/v2/studies", content=multipart(other), headers=STOW | {TIME: "1"})
    await gone(web, "/v2/studies/1.2.9")
    assert (await web.get(f"{PATH}/metadata")).status_code == 200
    await web.delete(f"{PATH}/hold")
    await gone(web)


async def test_an_upsert_sets_the_expiry(web: httpx.AsyncClient) -> None:
    answer = await web.put("/v2/studies", content=multipart(FILE), headers=STOW | DAY)
    assert answer.status_code == 200
    assert (await web.get(f"{PATH}/expiry")).json()["expires"] is not None
