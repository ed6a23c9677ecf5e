"""In a node, a trace passes from the facade to the core in memory, also while responses are streamed."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from common.telemetry import tracing
from common.telemetry.tracing import Span, recorded, sampler_of
from facade.app import create_app
from facade.config import Settings
from node.calls import LocalChannel, LocalServer
from server.bootstrap.serving import running
from tests.core import settings_for
from tests.data import UID_ROOT, part10
from tests.integration.facade.serving import serving_application, stow

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENTS = [f"{number:016x}" for number in range(1, 9)]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[tuple[httpx.AsyncClient, list[Span]]]:
    spans: list[Span] = []
    with recorded(spans.append, sampler_of({"OTEL_TRACES_SAMPLER": "parentbased_always_off"})):
        async with running(settings_for(tmp_path), kind="node") as core:
            local = LocalServer(core.interceptors)
            core.register(local)
            async with serving_application(create_app(Settings(), LocalChannel(local))) as web:
                yield web, spans


async def test_concurrent_requests_are_separate_traces(node: tuple[httpx.AsyncClient, list[Span]]) -> None:
    web, spans = node
    study = f"{UID_ROOT}.61"
    await stow(web, *(part10(StudyInstanceUID=study) for _ in range(5)))
    assert spans == [], "no client has sampled it"

    async def retrieve(parent: str) -> None:
        response = await web.get(f"/v2/studies/{study}", headers={"traceparent": f"00-{TRACE}-{parent}-01"})
        assert response.status_code == 200

    await asyncio.gather(*map(retrieve, PARENTS))
    by_id = {span.span_id: span for span in spans}
    requests = [span for span in spans if span.name == "GET /{version}/studies/{study}"]
    calls = [span for span in spans if span.name == "RetrieveService/RetrieveInstances"]
    assert sorted(span.parent_id for span in requests) == PARENTS
    assert sorted(span.parent_id for span in calls) == sorted(span.span_id for span in requests)
    reads = [span for span in spans if span.name in ("index read", "blob read")]
    assert {by_id[span.parent_id].name for span in reads} == {"RetrieveService/RetrieveInstances"}
    assert len([span for span in reads if span.name == "blob read"]) == 5 * len(PARENTS)
    assert {span.trace_id for span in spans} == {TRACE}
    assert tracing.current() is None
