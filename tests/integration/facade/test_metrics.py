"""GET /metrics: the metrics of all processes of a node, in three formats, for those who may read them."""

from pathlib import Path

import httpx
import pytest
from prometheus_client.openmetrics import parser as open_metrics
from prometheus_client.parser import text_string_to_metric_families

from common.telemetry.metrics import families
from server.bootstrap.serving import running
from server.bootstrap.working import working
from tests.core import settings_for
from tests.data import UID_ROOT, part10
from tests.integration.conftest import a_core
from tests.integration.facade.serving import JSON, serving, stow
from tests.integration.security.callers import bearer, create_token, operator_token

pytestmark = pytest.mark.asyncio(loop_scope="module")

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def samples_of(web: httpx.AsyncClient) -> Samples:
    response = await web.get("/metrics")
    assert response.status_code == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def increase(before: Samples, after: Samples, name: str, **labels: str) -> float:
    """Return the increase of the sum of all series with some labels."""

    def total(samples: Samples) -> float:
        return sum(
            value for (one, found), value in samples.items() if one == name and labels.items() <= dict(found).items()
        )

    return total(after) - total(before)


async def test_requests_and_calls_are_counted_by_template_and_status(emptied_web: httpx.AsyncClient) -> None:
    before = await samples_of(emptied_web)
    image = part10(StudyInstanceUID=f"{UID_ROOT}.5")
    await stow(emptied_web, image)
    await stow(emptied_web, image)
    await emptied_web.get(f"/v2/studies/{UID_ROOT}.5")
    await emptied_web.get(f"/v2/studies/{UID_ROOT}.6")
    await emptied_web.request("PROPFIND", "/v2/studies")
    await emptied_web.get("/marked")
    after = await samples_of(emptied_web)

    http, rpc = "dicomstore_http_requests_total", "dicomstore_rpc_calls_total"
    store = {"route": "/{version}/studies", "method": "POST"}
    assert increase(before, after, http, **store, status="200") == 2
    assert increase(before, after, "dicomstore_http_request_duration_seconds_count", **store) == 2
    retrieve = {"route": "/{version}/studies/{study}", "method": "GET"}
    assert increase(before, after, http, **retrieve, status="200") == 1
    assert increase(before, after, http, **retrieve, status="404") == 1
    assert increase(before, after, http, route="/{version}/studies", method="other", status="405") == 1
    assert increase(before, after, http, route="-", status="404") == 1
    assert increase(before, after, rpc, rpc="StoreService/StoreInstances", code="OK") == 2
    assert increase(before, after, rpc, rpc="RetrieveService/RetrieveInstances", code="NOT_FOUND") == 1
    assert increase(before, after, "dicomstore_rpc_duration_seconds_count", rpc="StoreService/StoreInstances") == 2
    assert increase(before, after, "dicomstore_stored_instances_total", result="stored") == 1
    assert increase(before, after, "dicomstore_stored_instances_total", result="identical") == 1
    assert increase(before, after, "dicomstore_stored_bytes_total") == len(image)
    assert increase(before, after, "dicomstore_blob_duration_seconds_count", operation="commit") == 2
    assert increase(before, after, "dicomstore_blob_bytes_total", kind="read") >= len(image)
    assert increase(before, after, "dicomstore_index_duration_seconds_count", kind="write") >= 1
    assert increase(before, after, "dicomstore_change_feed_latest_sequence") >= 1
    assert "marked" not in str(after).lower()


async def test_all_families_are_returned_in_each_format(shared_web: httpx.AsyncClient) -> None:
    names = [family.name for family in families()]
    text = await shared_web.get("/metrics")
    assert text.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert [line.split()[2] for line in text.text.splitlines() if line.startswith("# TYPE")] == names
    opened = await shared_web.get(
        "/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}
    )
    assert opened.headers["content-type"].startswith("application/openmetrics-text")
    parsed = [family.name for family in open_metrics.text_string_to_metric_families(opened.text)]
    assert parsed == [name.removesuffix("_total") for name in names]
    json = await shared_web.get("/metrics", headers=JSON | {"Accept": "application/json"})
    assert [family["name"] for family in json.json()["families"]] == names


async def test_the_state_of_budgets_caches_disk_and_processes_is_included(shared_web: httpx.AsyncClient) -> None:
    samples = await samples_of(shared_web)
    core, facade = ("process", "core-1"), ("process", "facade-1")
    assert samples["dicomstore_ingest_memory_limit_bytes", (core,)] > 1 << 20
    assert samples["dicomstore_ingest_memory_used_bytes", (core,)] == 0
    assert samples["dicomstore_cache_limit_bytes", (("cache", "thumbnails"), core)] > 1 << 20
    assert samples["dicomstore_component_healthy", (("component", "writes"), core)] == 1
    assert samples["dicomstore_rpc_calls_in_progress", (("kind", "calls"), core)] >= 1
    assert samples["dicomstore_disk_free_bytes", (("place", "data"),)] > 0
    assert samples["dicomstore_disk_free_bytes", (("place", "blobs"),)] > 0
    assert samples["dicomstore_process_resident_memory_bytes", (core,)] > 1 << 20
    assert samples["dicomstore_process_cpu_seconds_total", (core,)] > 0
    # The core of this test is in the process of the facade, so it has its metrics.
    assert not any(facade in labels for _, labels in samples)
    assert samples["dicomstore_http_requests_limit", (core,)] == 500


async def test_the_worker_that_uses_the_same_data_is_included(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    async with running(settings) as core, serving(core.address) as web, working(settings):
        samples = await samples_of(web)
        assert samples["dicomstore_process_resident_memory_bytes", (("process", "worker-1"),)] > 1 << 20


async def test_reading_metrics_requires_the_action_monitor(tmp_path: Path) -> None:
    async with a_core(tmp_path, auth_required=True) as core, serving(core.address) as web:
        operator = bearer(operator_token(core.data))
        statuses = {}
        for role in ("monitor", "globalAdmin", "globalReader", "auditor"):
            token = bearer((await create_token(core.channel, role, by=operator)).secret)
            statuses[role] = (await web.get("/metrics", headers=dict(token))).status_code
            if role == "monitor":
                assert (await web.get("/v2/studies", headers=dict(token))).status_code == 403
        assert statuses == {"monitor": 200, "globalAdmin": 200, "globalReader": 403, "auditor": 403}
        assert (await web.get("/metrics")).status_code == 401
