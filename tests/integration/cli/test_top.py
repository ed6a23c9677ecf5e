"""`dicomstore top`, against a real core."""

import json
from typing import Any

from dicomstore.v1 import search_service_pb2 as search

from tests.core import CoreClient
from tests.data import part10


async def test_once_shows_the_figures_of_an_interval_as_json(archive: CoreClient, dicomstore: Any) -> None:
    process = await dicomstore.start("top", "--once", "--interval", "4", "--json")
    stored = 0
    while process.returncode is None and stored < 50:
        await archive.stored(part10())
        await archive.search_stub.Search(search.SearchRequest(level=search.QUERY_LEVEL_STUDY))
        stored += 1
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
