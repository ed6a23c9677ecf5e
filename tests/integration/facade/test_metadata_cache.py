"""The metadata cache: equal bytes with and without it, and never those of another state."""

import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from backports import zstd
from dicomstore.v1 import retrieve_service_pb2_grpc
from dicomstore.v1.retrieve_service_pb2 import MetadataItem, ResourceState, RetrieveMetadataResponse

from facade.app import create_app
from facade.config import Settings
from node.calls import LocalChannel, LocalServer
from server.bootstrap.serving import running
from tests.core import settings_for
from tests.data import part10
from tests.integration.facade.serving import JSON, serving, stored, stow

STUDY = "1.2.826.0.1.3680043.10.1.1"
STUDY_PATH = f"/v2/studies/{STUDY}/metadata"
SERIES_PATH = f"/v2/studies/{STUDY}/series/{STUDY}.1/metadata"
INSTANCE_PATH = f"/v2/studies/{STUDY}/series/{STUDY}.1/instances/1.2.3/metadata"
PATHS = [STUDY_PATH, SERIES_PATH, INSTANCE_PATH]
PLAIN = JSON | {"Accept-Encoding": "identity"}
GZIP = JSON | {"Accept-Encoding": "gzip"}
ZSTD = JSON | {"Accept-Encoding": "gzip, deflate, br, zstd"}
ENCODINGS = [PLAIN, GZIP, ZSTD]
UNPACKED = {None: bytes, "gzip": gzip.decompress, "zstd": zstd.decompress}


def image(sop_instance_uid: str, **attributes: Any) -> bytes:
    return part10(SOPInstanceUID=sop_instance_uid, frames=[bytes(2000)], **attributes)


async def sent(web: httpx.AsyncClient, path: str, headers: dict[str, str]) -> tuple[httpx.Headers, bytes]:
    """Return headers and the bytes of the body as they were sent."""
    async with web.stream("GET", path, headers=headers) as response:
        assert response.status_code == 200
        return response.headers, b"".join([chunk async for chunk in response.aiter_raw()])


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """A facade with a cache and one without, of the same core, with a series of 121 instances."""
    async with (
        running(settings_for(tmp_path)) as core,
        serving(core.address, public_url="http://pacs.example") as cached,
        serving(core.address, public_url="http://pacs.example", metadata_cache_bytes=0) as uncached,
    ):
        await stow(cached, image("1.2.3"), *[image(f"1.2.3.{number}") for number in range(120)])
        yield cached, uncached


@pytest.mark.parametrize("path", PATHS)
async def test_bodies_are_equal_with_and_without_cache_and_content_coding(
    archive: tuple[httpx.AsyncClient, httpx.AsyncClient], path: str
) -> None:
    cached, uncached = archive
    expected = (await sent(uncached, path, PLAIN))[1]
    assert len(expected) > 300
    for _ in range(3):
        assert (await sent(cached, path, PLAIN))[1] == expected
        headers, packed = await sent(cached, path, GZIP)
        assert headers["content-encoding"] == "gzip"
        assert len(packed) < len(expected)
        assert gzip.decompress(packed) == expected
        headers, packed = await sent(cached, path, ZSTD)
        assert headers["content-encoding"] == "zstd"
        assert zstd.decompress(packed) == expected
    assert gzip.decompress((await sent(uncached, path, GZIP))[1]) == expected


async def test_a_cached_body_has_a_content_length(web: httpx.AsyncClient) -> None:
    await stored(web, image("1.2.3"))
    for headers in (PLAIN, GZIP):
        first, _ = await sent(web, STUDY_PATH, headers)
        second, body = await sent(web, STUDY_PATH, headers)

        assert "content-length" not in first
        assert second["content-length"] == str(len(body))


async def test_stores_and_deletes_are_visible_at_once(web: httpx.AsyncClient) -> None:
    async def found(path: str, headers: dict[str, str]) -> list[str]:
        return [data_set["00080018"]["Value"][0] for data_set in (await web.get(path, headers=headers)).json()]

    await stored(web, image("1.2.3"), image("1.2.4", SeriesInstanceUID="1.5"))
    for _ in range(2):
        assert [await found(STUDY_PATH, headers) for headers in (PLAIN, GZIP)] == [["1.2.3", "1.2.4"]] * 2
    await stored(web, image("1.2.5"))
    for _ in range(2):
        assert [await found(STUDY_PATH, headers) for headers in (PLAIN, GZIP)] == [["1.2.3", "1.2.4", "1.2.5"]] * 2
        assert [await found(SERIES_PATH, headers) for headers in (PLAIN, GZIP)] == [["1.2.3", "1.2.5"]] * 2
    await web.delete(f"/v2/studies/{STUDY}/series/{STUDY}.1")
    for _ in range(2):
        assert [await found(STUDY_PATH, headers) for headers in (PLAIN, GZIP)] == [["1.2.4"]] * 2
        assert (await web.get(SERIES_PATH, headers=JSON)).status_code == 404
    await stored(web, image("1.2.3"))
    assert await found(SERIES_PATH, GZIP) == ["1.2.3"]


@pytest.mark.parametrize("headers", [PLAIN, GZIP])
async def test_each_client_gets_urls_of_its_own(web: httpx.AsyncClient, headers: dict[str, str]) -> None:
    await stored(web, image("1.2.3"))
    clients = [
        ({}, "/v2", str(web.base_url)),
        ({}, "/v1", str(web.base_url)),
        ({"X-Forwarded-Host": "pacs.example"}, "/v2", "http://pacs.example"),
        ({"X-Forwarded-Host": "pacs.example", "X-Forwarded-Proto": "https"}, "/v2", "https://pacs.example"),
        ({"X-Forwarded-Host": "pacs.example", "X-Forwarded-Prefix": "/a"}, "/v2", "http://pacs.example/a"),
        ({"Host": "other.example"}, "/v2", "http://other.example"),
    ]
    for _ in range(2):
        for more, version, root in clients:
            (data_set,) = (await web.get(version + STUDY_PATH[3:], headers={**headers, **more})).json()
            assert data_set["7FE00010"]["BulkDataURI"].startswith(f"{root}{version}/studies/{STUDY}/")


async def test_partitions_have_separate_cache_entries(partitioned_web: httpx.AsyncClient) -> None:
    for partition in ("p1", "p2"):
        await stored(partitioned_web, image("1.2.3", PatientID=partition), base=f"/v2/partitions/{partition}")
    for _ in range(2):
        for partition in ("p1", "p2"):
            path = f"/v2/partitions/{partition}/studies/{STUDY}/metadata"
            (data_set,) = (await partitioned_web.get(path, headers=JSON)).json()
            assert data_set["00100020"]["Value"] == [partition]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("had", [PLAIN, GZIP])
@pytest.mark.parametrize("takes", ENCODINGS)
async def test_the_tag_of_any_coding_gets_304(
    web: httpx.AsyncClient, path: str, had: dict[str, str], takes: dict[str, str]
) -> None:
    await stored(web, image("1.2.3"))
    for _ in range(2):
        tag = (await web.get(path, headers=had)).headers["etag"]
        for known in (tag, tag.strip('"'), f"W/{tag}", f'"x", {tag}'):
            response = await web.get(path, headers=takes | {"If-None-Match": known})
            assert (response.status_code, response.content) == (304, b""), known
            assert response.headers["etag"] == tag
            assert response.headers["vary"] == "Accept, Accept-Encoding, Origin"
            assert response.headers["cache-control"] == "private, no-cache"
    await stored(web, image("1.2.3.1"))
    if path != INSTANCE_PATH:
        assert (await web.get(path, headers=takes | {"If-None-Match": tag})).status_code == 200


@pytest.mark.parametrize("path", [STUDY_PATH, SERIES_PATH])
@pytest.mark.parametrize("known", ["1", '"1"', '"01-1"', '"1-1-gzip-gzip"', '"-gzip"', '"2-1"', '"x"'])
async def test_a_similar_but_different_tag_gets_the_body(web: httpx.AsyncClient, path: str, known: str) -> None:
    await stored(web, image("1.2.3"))
    assert (await web.get(path, headers=PLAIN)).headers["etag"] == '"1-1"'
    for headers in ENCODINGS:
        its_headers, body = await sent(web, path, headers | {"If-None-Match": known})
        assert len(json.loads(UNPACKED[its_headers.get("content-encoding")](body))) == 1


async def test_each_coding_has_its_own_tag(web: httpx.AsyncClient) -> None:
    await stored(web, image("1.2.3"))
    for path in PATHS:
        for _ in range(2):
            tags = [(await sent(web, path, headers))[0]["etag"] for headers in ENCODINGS]
            assert tags[1:] == [f'{tags[0][:-1]}-{coding}"' for coding in ("gzip", "zstd")]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("headers", [PLAIN, GZIP])
async def test_head_has_the_headers_of_get(web: httpx.AsyncClient, path: str, headers: dict[str, str]) -> None:
    await stored(web, image("1.2.3"))
    for _ in range(2):
        head, get = await web.head(path, headers=headers), await web.get(path, headers=headers)

        assert (head.status_code, head.content) == (200, b"")
        assert get.headers["vary"] == "Accept, Accept-Encoding, Origin"
        for name in ("etag", "vary", "content-type", "content-encoding", "cache-control"):
            assert head.headers.get(name) == get.headers.get(name)


async def test_a_client_that_names_no_coding_gets_no_coding(web: httpx.AsyncClient) -> None:
    await stored(web, *(image(f"1.2.3.{number}") for number in range(30)))
    del web.headers["accept-encoding"]
    for path in (STUDY_PATH, "/v2/studies", "/v2/instances?limit=30", "/v2/instances?limit=500"):
        headers, body = await sent(web, path, JSON)

        assert "content-encoding" not in headers
        assert headers["vary"].removeprefix("Accept, ") == "Accept-Encoding, Origin"
        assert body.startswith(b"[{")


async def test_larger_search_responses_have_a_content_coding(web: httpx.AsyncClient) -> None:
    await stow(web, *(image(f"1.2.3.{number}") for number in range(230)))
    for path, is_packed in (
        ("/v2/studies", False),
        ("/v2/instances?limit=30", True),
        ("/v2/instances?limit=500", True),
    ):
        plain = (await sent(web, path, PLAIN))[1]
        headers, body = await sent(web, path, GZIP)

        assert headers["vary"] == "Accept, Accept-Encoding, Origin"
        assert headers.get("content-encoding") == ("gzip" if is_packed else None)
        assert (gzip.decompress(body) if is_packed else body) == plain


async def test_dicom_and_frames_have_no_content_coding(web: httpx.AsyncClient) -> None:
    await stored(web, image("1.2.3"))
    instance = INSTANCE_PATH.removesuffix("/metadata")
    for path in (f"/v2/studies/{STUDY}", instance, f"{instance}/frames/1", f"{instance}/bulkdata/7FE00010"):
        response = await web.get(path, headers={"Accept": "*/*", "Accept-Encoding": "gzip"})

        assert response.status_code == 200
        assert "content-encoding" not in response.headers


class Core(retrieve_service_pb2_grpc.RetrieveServiceServicer):
    """Answers each request with the next given messages and optional status; records the requests."""

    def __init__(self, *answers: list[RetrieveMetadataResponse | grpc.StatusCode]) -> None:
        self._answers = list(answers)
        self.known: list[tuple[int, int] | None] = []
        self.credentials: list[str | None] = []
        self.ended_well = 0

    async def RetrieveMetadata(self, request: Any, context: Any) -> AsyncIterator[Any]:
        state = request.known_state
        self.known.append((state.max_version, state.instance_count) if request.HasField("known_state") else None)
        self.credentials.append(dict(context.invocation_metadata()).get("authorization"))
        for step in self._answers.pop(0):
            if isinstance(step, grpc.StatusCode):
                await context.abort(step, "no")
            yield step
        self.ended_well += 1


def message(state: tuple[int, int] | None, *versions: int, size: int = 2) -> RetrieveMetadataResponse:
    """Return a message with data sets of some versions."""
    return RetrieveMetadataResponse(
        state=ResourceState(max_version=state[0], instance_count=state[1]) if state else None,
        items=[MetadataItem(version=version, dicom_json=b"{" + b" " * (size - 2) + b"}") for version in versions],
    )


@asynccontextmanager
async def facade_of(core: Core, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    retrieve_service_pb2_grpc.add_RetrieveServiceServicer_to_server(core, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with serving(f"127.0.0.1:{port}", **settings) as web:
            yield web
    finally:
        await server.stop(0)


async def asked(core: Core, *requests: dict[str, str], **settings: Any) -> list[int]:
    """Ask for the metadata of one study again and again; return the statuses."""
    async with facade_of(core, **settings) as web:
        return [(await web.get("/v2/studies/1.2/metadata", headers=headers)).status_code for headers in requests]


async def test_the_core_gets_the_cached_state_and_sends_no_body() -> None:
    core = Core([message((3, 2), 1), message(None, 3)], [message((3, 2))], [message((3, 2), 1, 3)], [message((3, 2))])

    assert await asked(core, PLAIN, PLAIN, GZIP, GZIP) == [200] * 4
    assert core.known == [None, (3, 2), None, (3, 2)]


async def test_a_call_without_new_data_is_not_cancelled() -> None:
    core = Core([message((1, 1), 1)], [message((1, 1))], [message((1, 1))])
    server = LocalServer()
    retrieve_service_pb2_grpc.add_RetrieveServiceServicer_to_server(core, server)
    app = create_app(Settings(), LocalChannel(server))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as web,
    ):
        for headers, status in ((PLAIN, 200), (PLAIN, 200), (PLAIN | {"If-None-Match": '"1-1"'}, 304)):
            assert (await web.get("/v2/studies/1.2/metadata", headers=headers)).status_code == status

    assert core.ended_well == 3


async def test_every_request_passes_its_own_credentials_to_the_core() -> None:
    core = Core([message((1, 1), 1)], [message((1, 1))], [grpc.StatusCode.PERMISSION_DENIED])
    requests = [PLAIN | {"Authorization": f"Bearer {number}"} for number in range(3)]

    assert (await asked(core, *requests))[:2] == [200, 200]
    assert core.credentials == ["Bearer 0", "Bearer 1", "Bearer 2"]


async def test_a_resource_not_found_by_the_core_is_dropped_from_the_cache() -> None:
    core = Core([message((1, 1), 1)], [grpc.StatusCode.NOT_FOUND], [message((1, 1), 1)])
    first, missing, last = await asked(core, PLAIN, PLAIN, PLAIN)

    assert (first, last) == (200, 200)
    assert missing >= 400
    assert core.known == [None, (1, 1), None]


async def test_an_incomplete_response_is_not_cached() -> None:
    core = Core([message((2, 2), 1), grpc.StatusCode.UNAVAILABLE], [message((2, 2), 1, 2)])
    async with facade_of(core) as web:
        with pytest.raises(httpx.RemoteProtocolError):
            await web.get("/v2/studies/1.2/metadata", headers=PLAIN)
        assert (await web.get("/v2/studies/1.2/metadata", headers=PLAIN)).status_code == 200

    assert core.known == [None, None]


@pytest.mark.parametrize(
    "torn",
    [
        [message((3, 2), 1)],
        [message((3, 2), 1, 3, 4)],
        [message((3, 2), 3)],
        [message((3, 2), 1, 2)],
        [message((3, 2))],
    ],
)
async def test_a_response_that_does_not_match_its_state_is_not_cached(torn: list[RetrieveMetadataResponse]) -> None:
    core = Core(torn, [message((3, 2), 1, 3)], [message((3, 2))])

    assert await asked(core, PLAIN, PLAIN, PLAIN) == [200] * 3
    assert core.known == [None, None, (3, 2)]


async def test_head_caches_nothing_and_does_not_read_the_body() -> None:
    core = Core([message((1, 1), 1)], [message((1, 1), 1)])
    async with facade_of(core) as web:
        assert (await web.head("/v2/studies/1.2/metadata", headers=PLAIN)).status_code == 200
        assert (await web.get("/v2/studies/1.2/metadata", headers=PLAIN)).status_code == 200

    assert core.known == [None, None]


@pytest.mark.parametrize(("size", "is_kept"), [(20_000, True), (30_000, False)])
async def test_metadata_larger_than_a_quarter_of_the_budget_is_not_cached(size: int, is_kept: bool) -> None:
    core = Core([message((1, 1), 1, size=size)], [message((1, 1), *([] if is_kept else [1]), size=size)])

    assert await asked(core, PLAIN, PLAIN, metadata_cache_bytes=100_000) == [200, 200]
    assert core.known == [None, (1, 1) if is_kept else None]
