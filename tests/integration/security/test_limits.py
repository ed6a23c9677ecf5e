"""Limits per principal and per partition at both interfaces (docs/security.md, Limits)."""

import asyncio
import logging
import statistics
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from dicomstore.v1 import audit_service_pb2, audit_service_pb2_grpc, change_feed_service_pb2, search_service_pb2
from google.rpc.error_details_pb2 import RetryInfo
from grpc_status import rpc_status

from tests.core import CoreClient, reason_of, store_requests
from tests.data import part10
from tests.integration.conftest import a_core
from tests.integration.facade.serving import STOW, multipart, serving
from tests.integration.security.callers import Metadata, bearer, create_token, operator_token

STUDIES = "/v2/studies"
SEARCH = "/v2/studies?limit=1"


@asynccontextmanager
async def an_archive(data: Path, **settings: Any) -> AsyncIterator[tuple[CoreClient, httpx.AsyncClient]]:
    async with a_core(data, auth_required=True, **settings) as core, serving(core.address) as web:
        yield core, web


async def tokens(core: CoreClient, *roles: str) -> list[Metadata]:
    """Return the credentials of as many principals as there are roles."""
    admin = bearer(operator_token(core.data))
    return [bearer((await create_token(core.channel, role, by=admin)).secret) for role in roles]


def retry_seconds(error: grpc.aio.AioRpcError) -> int:
    status = rpc_status.from_call(error)
    assert status is not None
    retry = RetryInfo()
    assert any(detail.Unpack(retry) for detail in status.details if detail.Is(RetryInfo.DESCRIPTOR))
    return int(retry.retry_delay.seconds)


async def test_a_principal_above_its_rate_is_refused_and_others_are_not(tmp_path: Path) -> None:
    async with an_archive(tmp_path, max_call_rate_per_principal=0.2) as (core, web):
        one, other = await tokens(core, "globalReader", "globalReader")
        for _ in range(2):
            assert (await web.get(SEARCH, headers=dict(one))).status_code == 204
        refused = await web.get(SEARCH, headers=dict(one))
        assert refused.status_code == 429
        assert 3 <= int(refused.headers["retry-after"]) <= 5
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await core.change_feed_stub.ListChanges(change_feed_service_pb2.ListChangesRequest(), metadata=one)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert reason_of(caught.value) == "RATE_LIMITED"
        assert 3 <= retry_seconds(caught.value) <= 5
        assert (await web.get(SEARCH, headers=dict(other))).status_code == 204


async def test_a_principal_leaves_calls_to_others(tmp_path: Path) -> None:
    """Ten calls, of which one principal gets eight: its open uploads do not shut others out."""
    async with an_archive(tmp_path, max_calls=10) as (core, web):
        greedy, other = await tokens(core, "globalAdmin", "globalReader")
        open_uploads = []
        while (answer := await web.get(SEARCH, headers=dict(greedy))).status_code == 204:
            call = core.store_stub.StoreInstances(metadata=greedy)
            for message in list(store_requests([part10()]))[:1]:
                await call.write(message)
            open_uploads.append(call)
            assert len(open_uploads) < 100
        assert (answer.status_code, "retry-after" in answer.headers) == (429, True)
        assert (await web.get(SEARCH, headers=dict(other))).status_code == 204
        for call in open_uploads:
            call.cancel()


@pytest.mark.parametrize("quotas", [{"ward": 5_000}, {"*": 5_000, "other": 10**9}])
async def test_a_partition_stores_no_more_than_its_quota(tmp_path: Path, quotas: dict[str, int]) -> None:
    async with an_archive(tmp_path, partitions=True, partition_quotas=quotas) as (core, web):
        [writer] = await tokens(core, "globalAdmin")
        files = [part10(StudyInstanceUID=f"1.2.{number}", PatientComments="x" * 1000) for number in range(6)]
        size = len(files[0])
        assert 1_000 < size < 2_500

        answer = await web.post("/v2/partitions/ward/studies", content=multipart(*files), headers=STOW | dict(writer))
        assert answer.status_code == 202
        stored = answer.json()["00081199"]["Value"]
        assert len(stored) == 5_000 // size
        reasons = {item["00081197"]["Value"][0] for item in answer.json()["00081198"]["Value"]}
        assert reasons == {272}

        path = "/v2/partitions/ward/studies"
        full = await web.post(path, content=multipart(files[-1]), headers=STOW | dict(writer))
        assert (full.status_code, full.headers["retry-after"]) == (429, "3600")
        assert (
            await web.post("/v2/partitions/other/studies", content=multipart(*files), headers=STOW | dict(writer))
        ).status_code == 200

        again = await web.post(path, content=multipart(files[0][:-2]), headers=STOW | dict(writer))
        assert again.status_code in (409, 429)
        assert (await web.get(path, headers=dict(writer) | {"Accept": "application/dicom+json"})).status_code == 200


async def test_identical_instances_need_no_room(tmp_path: Path) -> None:
    file = part10(PatientComments="x" * 1000)
    async with an_archive(tmp_path, partition_quotas={"*": 2 * len(file)}) as (core, web):
        [writer] = await tokens(core, "globalAdmin")
        for _ in range(4):
            answer = await web.post(STUDIES, content=multipart(file), headers=STOW | dict(writer))
            assert answer.status_code == 200


CONNECTIONS = 48

HAMMER = """
import asyncio, sys

async def connection(host, port, head):
    reader, writer = await asyncio.open_connection(host, port)
    while True:
        writer.write(head)
        await reader.readuntil(b"\\r\\n\\r\\n")

async def main(host, port, token, count):
    lines = ["GET /v2/studies/1.2/metadata HTTP/1.1", f"Host: {host}:{port}", f"Authorization: {token}", "", ""]
    head = "\\r\\n".join(lines).encode()
    await asyncio.gather(*(connection(host, int(port), head) for _ in range(int(count))))

asyncio.run(main(*sys.argv[1:]))
"""
"""Another process, because the cost of a client in this one would be larger than that of the archive."""


class Ended(logging.Handler):
    """Counts the calls of the core that have ended."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += "RetrieveMetadata" in record.getMessage()


async def crowd(web: httpx.AsyncClient, token: str, other: Metadata) -> list[int]:
    """Make requests of one client while another one makes requests on many connections, all for a missing study.

    Returns how many calls of the other one end during each request; unlike times, this does not depend on the speed of
    the machine.
    """
    ended = Ended()
    logger = logging.getLogger("dicomstore.access")
    logger.addHandler(ended)
    level = logger.level
    logger.setLevel(logging.INFO)
    host, port = web.base_url.host, str(web.base_url.port)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", HAMMER, host, port, token, str(CONNECTIONS))
    try:
        while ended.count < 10 * CONNECTIONS:
            await web.get("/health/check")
        meanwhile = []
        for _ in range(40):
            before = ended.count
            assert (await web.get(SEARCH, headers=dict(other))).status_code == 204
            meanwhile.append(ended.count - before)
        return meanwhile
    finally:
        process.kill()
        await process.wait()
        logger.removeHandler(ended)
        logger.setLevel(level)


async def test_a_client_with_many_connections_does_not_starve_others(tmp_path: Path) -> None:
    """A request waits for a few calls of others, however many connections these have; measured are five."""
    async with an_archive(tmp_path) as (core, web):
        greedy, other = await tokens(core, "globalAdmin", "globalReader")
        for token in (greedy[0][1], "Bearer dcmt_unknown"):
            meanwhile = await crowd(web, token, other)
            assert statistics.median(meanwhile) <= 16, meanwhile


async def test_a_watch_of_the_audit_trail_leaves_its_principal_the_other_calls(tmp_path: Path) -> None:
    async with a_core(tmp_path, auth_required=True, max_calls_per_principal=1) as core:
        sent = bearer(operator_token(tmp_path))
        stub = audit_service_pb2_grpc.AuditServiceStub(core.channel)
        watch = stub.WatchAuditEvents(audit_service_pb2.WatchAuditEventsRequest(), metadata=sent)
        await watch.read()
        request = search_service_pb2.SearchRequest(level=search_service_pb2.QUERY_LEVEL_STUDY)
        await core.search_stub.Search(request, metadata=sent, timeout=5)
        watch.cancel()
