"""Versions of instances, PUT and the duplicates policy over a real core (docs/api.md, Versions and Duplicates)."""

from typing import Any

import httpx
import pytest

from tests.data import part10
from tests.integration.facade.serving import stored

STUDY, SERIES, INSTANCE = "1.2.3", "1.2.3.4", "1.2.3.4.5"
UIDS = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES, "SOPInstanceUID": INSTANCE}
PATH = f"/v2/studies/{STUDY}/series/{SERIES}/instances/{INSTANCE}"
DICOM = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}


def content(name: str, **attributes: Any) -> bytes:
    """Return an instance; all have the same UIDs."""
    return part10(PatientName=name, **{**UIDS, **attributes})


async def put(web: httpx.AsyncClient, body: bytes, path: str = "/v2/studies", **headers: str) -> httpx.Response:
    """Store with PUT."""
    return await web.put(path, content=body, headers=DICOM | headers)


async def body_of(web: httpx.AsyncClient, query: str = "") -> bytes:
    """Return the instance, or a version of it."""
    answer = await web.get(PATH + query, headers={"Accept": "application/dicom; transfer-syntax=*"})
    assert answer.status_code == 200, answer.text
    return answer.content


async def history(web: httpx.AsyncClient, path: str = PATH) -> list[dict[str, Any]]:
    answer = await web.get(f"{path}/versions")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


@pytest.mark.parametrize("path", ["/v1/studies", "/v2/studies", f"/v1/studies/{STUDY}", f"/v2/studies/{STUDY}"])
async def test_put_stores_an_instance_or_replaces_it(web: httpx.AsyncClient, path: str) -> None:
    for name in ("one", "two"):
        answer = await put(web, content(name), path)
        assert answer.status_code == 200
        [item] = answer.json()["00081199"]["Value"]
        assert item["00081155"]["Value"] == [INSTANCE]
        assert "00081198" not in answer.json()
        assert await body_of(web) == content(name)
    assert [one["origin"] for one in await history(web)] == ["stored", "replaced"]


async def test_putting_identical_content_changes_nothing(web: httpx.AsyncClient) -> None:
    for _ in range(2):
        assert (await put(web, content("same"))).status_code == 200
    assert len(await history(web)) == 1


async def test_put_fails_for_instances_of_another_study_as_post_does(web: httpx.AsyncClient) -> None:
    answer = await put(web, content("one"), "/v2/studies/1.2.9")
    assert answer.status_code == 409
    [failed] = answer.json()["00081198"]["Value"]
    assert failed["00081197"]["Value"] == [43264]


async def test_post_rejects_duplicates_unless_a_header_asks_for_new_versions(web: httpx.AsyncClient) -> None:
    await stored(web, content("one"))

    async def post(**headers: str) -> httpx.Response:
        return await web.post("/v2/studies", content=content("two"), headers=DICOM | headers)

    for headers in ({}, {"X-Dicomstore-Duplicates": "reject"}):
        answer = await post(**headers)
        assert answer.status_code == 409
        assert answer.json()["00081198"]["Value"][0]["00081197"]["Value"] == [45070]
    assert (await post(**{"X-Dicomstore-Duplicates": "New-Version"})).status_code == 200
    assert (await post(**{"X-Dicomstore-Duplicates": "maybe"})).status_code == 400
    assert (await put(web, content("two"), **{"X-Dicomstore-Duplicates": "reject"})).status_code == 400


async def test_the_history_says_who_stored_what_and_why(web: httpx.AsyncClient) -> None:
    await put(web, content("one"), **{"X-Dicomstore-Reason": "first"})
    await put(web, content("two"), "/v2/studies?reason=wrong%20patient")
    one, two = await history(web)
    assert (one["author"], one["reason"], one["origin"], one["isCurrent"]) == ("anonymous", "first", "stored", False)
    assert (two["reason"], two["origin"], two["isCurrent"]) == ("wrong patient", "replaced", True)
    assert one["replacedTime"] == two["createdTime"]
    assert "replacedTime" not in two
    assert {one["studyInstanceUid"], one["seriesInstanceUid"], one["sopInstanceUid"]} == {STUDY, SERIES, INSTANCE}
    assert one["size"] == len(content("one"))


async def test_the_history_of_a_study_has_pages(web: httpx.AsyncClient) -> None:
    for number in range(3):
        await put(web, content(str(number)))
    await put(web, content("other", SOPInstanceUID="1.2.3.4.6"))
    for path in (f"/v1/studies/{STUDY}", f"/v2/studies/{STUDY}/series/{SERIES}"):
        first = await web.get(f"{path}/versions?limit=3")
        second = await web.get(first.links["next"]["url"])
        assert [*first.json(), *second.json()] == await history(web, path)
        assert len(second.json()) == 1
        assert "next" not in second.links
    assert (await web.get("/v2/studies/1.2.9/versions")).status_code == 404
    assert (await web.get(f"{PATH}/versions?limit=201")).status_code == 400


async def test_every_representation_of_a_version_can_be_retrieved(web: httpx.AsyncClient) -> None:
    frames = [bytes([number]) * 256 for number in range(3)]
    await put(web, content("one", frames=frames))
    await put(web, content("two"))
    version = (await history(web))[0]["version"]
    query = f"?version={version}"
    assert await body_of(web, query) == content("one", frames=frames)
    [metadata] = (await web.get(f"{PATH}/metadata{query}")).json()
    assert metadata["00100010"]["Value"] == [{"Alphabetic": "one"}]
    octets = {"Accept": "application/octet-stream"}
    value = await web.get(metadata["7FE00010"]["BulkDataURI"], headers=octets)
    assert value.content == b"".join(frames)
    frame = await web.get(f"{PATH}/frames/2{query}", headers=octets)
    assert frame.content == frames[1]
    for path in ("/rendered", "/thumbnail", "/frames/3/rendered"):
        assert (await web.get(PATH + path + query)).status_code == 200
    for path in ("/bulkdata", "/pixeldata"):
        assert frames[0] in (await web.get(PATH + path + query)).content
    assert (await web.get(f"{PATH}/frames/2", headers=octets)).status_code == 404


async def test_entity_tags_are_those_of_the_version(web: httpx.AsyncClient) -> None:
    await put(web, content("one"))
    accept = {"": {"Accept": "application/dicom; transfer-syntax=*"}, "/metadata": {"Accept": "application/dicom+json"}}
    before = {path: (await web.get(PATH + path, headers=accept[path])).headers["etag"] for path in accept}
    [first] = await history(web)
    await put(web, content("two"))
    for path, tag in before.items():
        same = {"If-None-Match": tag, **accept[path]}
        assert (await web.get(PATH + path, headers=same)).status_code == 200
        again = await web.get(f"{PATH}{path}?version={first['version']}", headers=accept[path])
        assert again.headers["etag"] == tag
        assert (await web.get(f"{PATH}{path}?version={first['version']}", headers=same)).status_code == 304
    study = (await web.get(f"/v2/studies/{STUDY}/metadata")).json()
    assert study[0]["00100010"]["Value"] == [{"Alphabetic": "two"}]


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        (f"{PATH}?version=99", 404, "does not have the specified version"),
        (f"{PATH}/metadata?version=99", 404, "does not have the specified version"),
        (f"{PATH}/versions/99/difference", 404, "does not have the specified version"),
        (f"{PATH}?version=0", 400, ""),
        (f"{PATH}?version=x", 400, ""),
        (f"{PATH}/versions/x/difference", 400, ""),
        (f"/v2/studies/{STUDY}?version=1", 400, ""),
        (f"{PATH}6?version=1", 404, "instance does not exist"),
    ],
)
async def test_a_version_that_does_not_exist_is_an_error(
    web: httpx.AsyncClient, path: str, status: int, text: str
) -> None:
    await put(web, content("one"))
    answer = await web.get(path)
    assert answer.status_code == status, answer.text
    assert text in answer.text


async def test_the_difference_of_versions_has_the_elements_before_and_after(web: httpx.AsyncClient) -> None:
    for name in ("one", "two", "three"):
        await put(web, content(name))
    first, _, last = [one["version"] for one in await history(web)]

    async def difference(query: str) -> Any:
        answer = await web.get(f"{PATH}/versions/{last}/difference{query}")
        assert answer.status_code == 200
        return answer.json()

    [change] = await difference(f"?from={first}")
    assert change == {
        "path": "00100010",
        "keyword": "PatientName",
        "vr": "PN",
        "change": "changed",
        "before": {"vr": "PN", "Value": [{"Alphabetic": "one"}]},
        "after": {"vr": "PN", "Value": [{"Alphabetic": "three"}]},
    }
    assert (await difference(""))[0]["before"]["Value"] == [{"Alphabetic": "two"}]
    assert await difference(f"?from={last}") == []


async def test_reverting_makes_a_new_version_with_the_earlier_content(web: httpx.AsyncClient) -> None:
    for name in ("one", "two"):
        await put(web, content(name))
    [first, _] = await history(web)
    answer = await web.post(
        f"{PATH}/versions/{first['version']}/$revert", headers={"X-Dicomstore-Reason": "it was right"}
    )
    assert answer.status_code == 200
    latest = (await history(web))[-1]
    assert (latest["version"], latest["origin"], latest["reason"]) == (
        answer.json()["version"],
        "reverted",
        "it was right",
    )
    assert await body_of(web) == content("one")
    changes = (await web.get("/v2/changefeed")).json()
    assert [(one["action"].lower(), one["state"].lower()) for one in changes] == [
        ("create", "replaced"),
        ("update", "replaced"),
        ("update", "current"),
    ]
    assert (await web.post(f"{PATH}/versions/99/$revert")).status_code == 404


async def test_what_is_on_hold_is_neither_replaced_nor_reverted(web: httpx.AsyncClient) -> None:
    for name in ("one", "two"):
        await put(web, content(name))
    version = (await history(web))[0]["version"]
    await web.put(f"{PATH}/hold", json={"reason": "trial"})
    refused = await web.post(f"{PATH}/versions/{version}/$revert")
    assert refused.status_code == 409
    assert "on hold" in refused.text
    assert (await put(web, content("three"))).status_code == 409
    assert await body_of(web) == content("two")


async def test_the_policy_of_a_partition_is_set_with_patch(partitioned_web: httpx.AsyncClient) -> None:
    web = partitioned_web
    path = "/v2/partitions/ward"

    async def post(name: str) -> int:
        answer = await web.post(f"{path}/studies", content=content(name), headers=DICOM)
        return answer.status_code

    async def set_policy(policy: str) -> httpx.Response:
        return await web.patch(path, json={"duplicates": policy})

    assert (await set_policy("new-version")).status_code == 404
    assert [await post("one"), await post("two")] == [200, 409]
    changed = await set_policy("new-version")
    assert (changed.status_code, changed.json()["duplicates"]) == (200, "new-version")
    assert "duplicates" in (await web.get("/v2/partitions")).json()[1]
    assert await post("two") == 200
    assert "duplicates" not in (await set_policy("default")).json()
    assert await post("three") == 409
    assert (await set_policy("maybe")).status_code == 400
