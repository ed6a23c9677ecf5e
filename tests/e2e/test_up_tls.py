"""`dicomstore up` with TLS on both interfaces, in two processes that share the ports, and the commands that use it."""

import asyncio
import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.certificates import Authority, Pair
from tests.data import part10
from tests.e2e.test_up import Archive, up


def settings(pair: Pair) -> dict[str, str]:
    return {"DICOMSTORE_TLS_CERTIFICATE": str(pair.certificate), "DICOMSTORE_TLS_KEY": str(pair.key)}


async def checks(archive: Archive, **variables: str) -> dict[str, dict[str, str]]:
    """Return the checks of `dicomstore doctor` by name."""
    grpc, http = archive.core.removeprefix("https://"), archive.url.removeprefix("https://")
    _, output, errors = await archive.run("doctor", "--json", "--grpc", grpc, "--http", http, **variables)
    assert output, errors
    return {check["name"]: check for check in json.loads(output)["checks"]}


async def test_all_parts_of_an_archive_with_tls_work_together(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.server()
    tls = settings(pair)
    ca = f"--core-ca={authority.certificate}"
    (tmp_path / "ct.dcm").write_bytes(part10())

    async with up(tmp_path, "--workers", "2", **tls) as archive:
        assert archive.url.startswith("https://")
        assert archive.core.startswith("https://")
        context = authority.context()
        for _ in range(6):  # connections to both nodes
            health = await asyncio.to_thread(urllib.request.urlopen, f"{archive.url}/health/check", context=context)
            with health:
                assert health.status == 200
        assert (await archive.run(ca, "store", "ct.dcm"))[0] == 0
        found = await checks(archive, **tls)
        assert found["certificate"]["status"] == "ok"
        assert found["core"]["status"] == "ok"
        assert found["facade"]["status"] == "ok"
        plain_url = archive.url.replace("https://", "http://")
        with pytest.raises(urllib.error.HTTPError, match="400"):
            await asyncio.to_thread(urllib.request.urlopen, f"{plain_url}/v2/studies")
