"""Statuses of deletions, the change feed, operations and partitions in both versions (docs/api.md)."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from server.bootstrap.serving import running
from server.config import Settings
from tests.core import settings_for
from tests.data import UID_ROOT, part10
from tests.integration.facade.serving import JSON, STOW, multipart, serving, stored, stow
from tests.operations import perform

pytestmark = pytest.mark.asyncio(loop_scope="module")

STUDY = f"{UID_ROOT}.1"
FILES = {
    (series, number): part10(SeriesInstanceUID=f"1.2.{series}", SOPInstanceUID=f"1.2.{series}.{number}")
    for series, number in ((1, 1), (1, 2), (2, 1))
}
ANY = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}


@pytest_asyncio.fixture(loop_scope="module")
async def web(emptied_web: httpx.AsyncClient) -> httpx.AsyncClient:
    return emptied_web


class Archive:
    """An archive with partitions, which the tests share."""

    def __init__(self, web: httpx.AsyncClient, settings: Settings) -> None:
        self.web = web
        self.settings = settings


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def partitioned(module_path: Any) -> AsyncIterator[Archive]:
    settings = settings_for(module_path / "partitioned", partitions=True)
    async with running(settings) as core, serving(core.address) as web:
        yield Archive(web, settings)


async def latest(web: httpx.AsyncClient) -> int:
    answer = await web.get("/v1/changefeed/latest?includeMetadata=false")
    return int(answer.json()["sequence"]) if answer.status_code == 200 else 0


async def entries_after(web: httpx.AsyncClient, sequence: int) -> list[tuple[str, str]]:
    answer = await web.get(f"/v1/changefeed?offset={sequence}&limit=100&includeMetadata=false")
    return [(one["action"], one["sopInstanceUid"]) for one in answer.json()]


# Deleting


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize(
    ("path", "deleted", "series_left"),
    [
        ("", [(1, 1), (1, 2), (2, 1)], []),
        ("/series/1.2.1", [(1, 1), (1, 2)], ["1.2.2"]),
        ("/series/1.2.1/instances/1.2.1.1", [(1, 1)], ["1.2.1", "1.2.2"]),
        ("/series/1.2.2/instances/1.2.2.1", [(2, 1)], ["1.2.1"]),
    ],
)
async def test_what_was_deleted_is_gone_and_everything_else_is_untouched(
    web: httpx.AsyncClient, version: str, path: str, deleted: list[tuple[int, int]], series_left: list[str]
) -> None:
    await stored(web, *FILES.values())
    before = (await web.get(f"/{version}/studies/{STUDY}/metadata", headers=JSON)).headers["etag"]
    sequence = await latest(web)
    answer = await web.delete(f"/{version}/studies/{STUDY}{path}")

    assert (answer.status_code, answer.content) == (204, b"")
    for (series, number), file in FILES.items():
        instance = f"/{version}/studies/{STUDY}/series/1.2.{series}/instances/1.2.{series}.{number}"
        is_gone = (series, number) in deleted
        found = await web.get(instance, headers={"Accept": "application/dicom; transfer-syntax=*"})
        metadata = await web.get(f"{instance}/metadata", headers=JSON)
        assert (found.status_code, metadata.status_code) == ((404, 404) if is_gone else (200, 200))
        assert is_gone or found.content == file
    left = await web.get(f"/{version}/studies/{STUDY}/series", headers=JSON)
    assert sorted(one["0020000E"]["Value"][0] for one in (left.json() if left.content else ())) == series_left
    assert (await web.get(f"/{version}/studies", headers=JSON)).status_code == (200 if series_left else 204)
    if series_left:
        assert (await web.get(f"/{version}/studies/{STUDY}/metadata", headers=JSON)).headers["etag"] != before
    uids = [f"1.2.{series}.{number}" for series, number in deleted]
    assert sorted(await entries_after(web, sequence)) == sorted(("Delete", uid) for uid in uids)
    assert (await web.delete(f"/{version}/studies/{STUDY}{path}")).status_code == 404
    assert (await stow(web, *FILES.values(), path=f"/{version}/studies")).status_code == 200


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("1.2.404", 404),
        (f"{STUDY}/series/1.2.404", 404),
        (f"{STUDY}/series/1.2.1/instances/1.2.404", 404),
        ("x", 400),
        (f"{STUDY}/series/x", 400),
        (f"{STUDY}/series/1.2.1/instances/x", 400),
        ("1" * 65, 400),
    ],
)
async def test_unknown_resources_and_invalid_uids_are_not_deleted(
    web: httpx.AsyncClient, version: str, path: str, status: int
) -> None:
    await stored(web, FILES[1, 1])

    assert (await web.delete(f"/{version}/studies/{path}")).status_code == status
    assert (await web.delete(f"/{version}/studies/{STUDY}", headers={"Accept": "text/html"})).status_code == 204


# Change feed


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/changefeed/latest?includeMetadata=2", 400),
        ("/changefeed/latest?includeMetadata=FALSE", 200),
        ("/changefeed?includeMetadata=True", 200),
        ("/changefeed?limit=100", 200),
        ("/changefeed?offset=0&limit=1", 200),
        ("/partitions/Microsoft.Default/changefeed", 404),
    ],
)
async def test_the_parameters_of_the_change_feed(web: httpx.AsyncClient, version: str, path: str, status: int) -> None:
    await stored(web, FILES[1, 1])

    assert (await web.get(f"/{version}{path}")).status_code == status


@pytest.mark.parametrize(("version", "number"), [("v1", 10), ("v2", 100)])
async def test_the_default_length_of_a_window(web: httpx.AsyncClient, version: str, number: int) -> None:
    sequence = await latest(web)
    assert (await stow(web, *(part10() for _ in range(101)))).status_code == 200
    rows = (await web.get(f"/{version}/changefeed?includeMetadata=false&offset={sequence}")).json()

    assert [one["sequence"] for one in rows] == list(range(sequence + 1, sequence + number + 1))


@pytest.mark.parametrize(
    ("changes", "states"),
    [
        (["store"], [("Create", "Current")]),
        (["store", "delete"], [("Create", "Deleted"), ("Delete", "Deleted")]),
        (["store", "delete", "store"], [("Create", "Replaced"), ("Delete", "Replaced"), ("Create", "Current")]),
        (["store", "replace"], [("Create", "Replaced"), ("Update", "Current")]),
        (["store", "replace", "delete"], [("Create", "Deleted"), ("Update", "Deleted"), ("Delete", "Deleted")]),
    ],
)
@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_the_state_of_an_entry_is_the_relation_to_now(
    web: httpx.AsyncClient, version: str, changes: list[str], states: list[tuple[str, str]]
) -> None:
    sequence = await latest(web)
    path = f"/v2/studies/{STUDY}"
    for change in changes:
        if change == "store":
            await stored(web, FILES[1, 1])
        elif change == "replace":
            other = part10(SeriesInstanceUID="1.2.1", SOPInstanceUID="1.2.1.1", PatientName="Other")
            answer = await web.put("/v2/studies", content=multipart(other), headers=STOW)
            assert answer.status_code == 200
        else:
            assert (await web.delete(path)).status_code == 204
    rows = (await web.get(f"/{version}/changefeed?offset={sequence}&limit=100")).json()

    assert [(one["action"], one["state"]) for one in rows] == states
    assert [one["sequence"] for one in rows] == list(range(sequence + 1, sequence + len(states) + 1))
    assert all(("metadata" in one) == (one["state"] != "Deleted") for one in rows)
    assert all("filePath" not in one and one["timestamp"].endswith("Z") for one in rows)


# Operations


async def test_an_update_is_followed_by_its_operation(partitioned: Archive) -> None:
    web, base = partitioned.web, "/partitions/followed"
    await stored(web, FILES[1, 1], base=f"/v2{base}")
    changes = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "New"}]}}
    body = {"studyInstanceUids": [STUDY], "changeDataset": changes}
    started = await web.post(f"/v2{base}/studies/$bulkUpdate", json=body)
    reference = started.json()

    assert (started.status_code, sorted(reference)) == (202, ["href", "id"])
    assert "location" not in started.headers
    assert len(reference["id"]) == 32
    for version in ("v1", "v2"):
        url = f"/{version}/operations/{reference['id']}"
        answer = await web.get(url)
        assert (answer.status_code, answer.headers["location"]) == (202, f"{web.base_url}{url}")
        assert (answer.json()["status"], answer.json()["percentComplete"]) == ("notStarted", 0)
    await perform(partitioned.settings)
    for version, status in (("v1", "completed"), ("v2", "succeeded")):
        answer = await web.get(f"/{version}/operations/{reference['id']}")
        found = answer.json()
        assert (answer.status_code, "location" in answer.headers) == (200, False)
        assert (found["operationId"], found["type"], found["status"]) == (reference["id"], "update", status)
        assert (found["percentComplete"], "resources" in found, "errors" in found) == (100, False, False)
        assert found["createdTime"] <= found["lastUpdatedTime"]
        assert found["results"] == {
            "studyProcessed": 1,
            "studyUpdated": 1,
            "studyFailed": 0,
            "instanceUpdated": 1,
        }
        feed = await web.get(f"/{version}/changefeed?limit=100&includeMetadata=false")
        of_update = [(one["action"], one["state"]) for one in feed.json() if one["partitionName"] == "followed"]
        assert of_update == [("Create", "Replaced"), ("Update", "Current")]
    assert (await web.delete(f"/v2{base}/studies/{STUDY}")).status_code == 204
    for headers in (ANY, ANY | {"msdicom-request-original": "true"}):
        assert (await web.get(f"/v2{base}/studies/{STUDY}", headers=headers)).status_code == 404


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize(("operation_id", "status"), [("0" * 32, 404), ("0" * 31, 400), ("x" * 32, 400)])
async def test_operations_that_are_unknown_or_have_no_valid_id(
    web: httpx.AsyncClient, version: str, operation_id: str, status: int
) -> None:
    assert (await web.get(f"/{version}/operations/{operation_id}")).status_code == status


# Partitions


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_partitions_that_are_off_do_not_exist(web: httpx.AsyncClient, version: str) -> None:
    for path in ("/partitions", "/partitions/p/studies", "/partitions/Microsoft.Default/studies"):
        answer = await web.get(f"/{version}{path}", headers=JSON)
        assert (answer.status_code, answer.text) == (400, "Data partitions feature is disabled.")


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("name", ["a", "A.b_c-9", "x" * 64])
async def test_names_of_partitions_have_up_to_64_letters_digits_and_three_other_characters(
    partitioned: Archive, version: str, name: str
) -> None:
    path = f"/{version}/partitions/{version}.{name}"[: len(f"/{version}/partitions/") + 64]
    answer = await stow(partitioned.web, part10(), path=f"{path}/studies")

    assert answer.status_code == 200
    assert answer.json()["00081199"]["Value"][0]["00081190"]["Value"][0].startswith(
        f"{partitioned.web.base_url}{path}/"
    )


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("name", ["a%20b", "a%2Fb%3F", "x" * 65, "%C3%A4", "a+b", "a:b"])
async def test_other_names_of_partitions_are_refused(partitioned: Archive, version: str, name: str) -> None:
    answers = [
        await stow(partitioned.web, part10(), path=f"/{version}/partitions/{name}/studies"),
        await partitioned.web.get(f"/{version}/partitions/{name}/studies", headers=JSON),
    ]

    assert [answer.status_code for answer in answers] == [400, 400]


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/studies"),
        ("GET", "/studies/1.2"),
        ("GET", "/studies/1.2/metadata"),
        ("GET", "/studies/1.2/series/1.3/instances/1.4/rendered"),
        ("DELETE", "/studies/1.2"),
        ("GET", "/workitems"),
    ],
)
async def test_a_partition_must_be_named_and_exist_except_for_storing(
    partitioned: Archive, version: str, method: str, path: str
) -> None:
    web = partitioned.web
    missing = await web.request(method, f"/{version}{path}", headers={"Accept": "*/*"})
    unknown = await web.request(method, f"/{version}/partitions/unknown{path}", headers={"Accept": "*/*"})

    assert (missing.status_code, missing.text) == (400, "PartitionName value is missing in the route segment.")
    assert (unknown.status_code, unknown.text) == (400, "Specified PartitionName does not exist.")


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_partitions_share_only_the_change_feed_operations_and_tags(partitioned: Archive, version: str) -> None:
    web = partitioned.web
    one, other = (f"/{version}/partitions/{version}-{name}" for name in ("one", "other"))
    for base in (one, other):
        await stored(web, FILES[1, 1], base=base)
    names = [row["partitionName"] for row in (await web.get(f"/{version}/partitions")).json()]
    assert {f"{version}-one", f"{version}-other"} <= set(names)
    assert (await web.delete(f"{one}/studies/{STUDY}")).status_code == 204
    assert (await web.delete(f"{one}/studies/{STUDY}")).status_code == 404
    assert len((await web.get(f"{other}/instances", headers=JSON)).json()) == 1
    rows = (await web.get("/v2/changefeed?limit=200&includeMetadata=false")).json()
    assert {f"{version}-one", f"{version}-other"} <= {row["partitionName"] for row in rows}
    for path in ("/changefeed", "/changefeed/latest", "/extendedquerytags"):
        assert (await web.get(f"/{version}{path}")).status_code == 200
