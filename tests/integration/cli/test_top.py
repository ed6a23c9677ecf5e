"""`dicomstore top`, against a real core."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from dicomstore.v1 import search_service_pb2 as search
from dicomstore.v1.metrics_service_pb2 import GetMetricsResponse

from facade.monitoring import exposition
from facade.monitoring.families import with_own
from tests.core import CoreClient
from tests.data import part10


async def test_once_shows_the_figures_of_an_interval_as_json(archive: CoreClient, dicomstore: Any) -> None:
    process = await dicomstore.start("top", "--once", "--interval", "4", "--json")
    while process.returncode is None:
        await archive.stored(part10())
        await archive.search_stub.Search(search.SearchRequest(level=search.QUERY_LEVEL_STUDY))
        await asyncio.sleep(0.1)
    output, problems = await process.communicate()
    assert process.returncode == 0, problems
    [line] = output.splitlines()
    found = json.loads(line)
    assert found["seconds"] >= 4
    assert found["processes"]["core-1"]["memory_bytes"] > 1 << 20
    assert found["processes"]["core-1"]["cpu_percent"] > 0
    search_calls = found["calls"]["SearchService/Search"]
    assert search_calls["per_second"] > 0
    assert 0 < search_calls["p50_ms"] <= search_calls["p99_ms"]
    assert found["stored"]["stored_per_second"] > 0
    assert found["stored"]["bytes_per_second"] > 0
    assert found["index"]["write"]["p99_ms"] > 0
    assert found["unhealthy"] == []
    assert found["disk_free_bytes"]["data"] > 0


async def test_the_tables_show_processes_and_calls(archive: CoreClient, dicomstore: Any) -> None:
    ran = await dicomstore("top", "--once", "--interval", "0.1")
    assert ran.exit_code == 0, ran.stderr
    assert "calls/s" in ran.stdout
    assert "core-1" in ran.stdout
    assert "MetricsService/GetMetrics" in ran.stdout
    assert "Operations: none" in ran.stdout


class _Facade(BaseHTTPRequestHandler):
    """Answers as a facade with one process does, and a gateway that is part of its core."""

    def do_GET(self) -> None:
        if self.path != "/metrics" or self.headers["Accept"] != "application/json":
            self.send_error(404)
            return
        requests = time.perf_counter() * 100
        taken = {
            "dicomstore_http_requests_total": [(("/{version}/studies", "GET", "200"), requests)],
            "dicomstore_process_info": [(("1",), 1.0)],
        }
        families = with_own(GetMetricsResponse(), [("facade-1", taken), ("core-7", taken)])
        body = json.dumps(exposition.json(families)).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing."""


@pytest.fixture
def facade() -> Iterator[str]:
    """The address of a facade that runs apart from the core."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Facade) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


async def test_facades_that_run_apart_are_included(archive: CoreClient, dicomstore: Any, facade: str) -> None:
    ran = await dicomstore("top", "--once", "--interval", "0.2", "--json", "--facade", f"http://{facade}/")
    assert ran.exit_code == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert set(found["processes"]) == {"core-1", f"facade-1 {facade}"}
    assert 50 < found["requests_per_second"] < 200


async def test_a_facade_without_metrics_is_a_failure(archive: CoreClient, dicomstore: Any, facade: str) -> None:
    ran = await dicomstore("top", "--once", "--interval", "0.1", "--facade", f"http://{facade}/other")
    assert ran.exit_code == 1
    assert f"the facade at http://{facade}/other answers with status 404" in ran.stderr
    ran = await dicomstore("top", "--facade", "ftp://example")
    assert ran.exit_code == 2
