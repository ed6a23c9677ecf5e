"""`dicomstore up` with TLS on both interfaces, in two processes that share the ports, and the commands that use it."""

import asyncio
import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path

from tests.certificates import Authority, Pair
from tests.data import part10
from tests.e2e.test_up import Archive, up


def settings(pair: Pair, authority: Authority) -> dict[str, str]:
    """TLS with optional certificates of clients; commands have the permissions of the operator."""
    return {
        "DICOMSTORE_TLS_CERTIFICATE": str(pair.certificate),
        "DICOMSTORE_TLS_KEY": str(pair.key),
        "DICOMSTORE_TLS_CLIENT_CA": str(authority.certificate),
        "DICOMSTORE_TLS_CLIENT_ROLES": '{"dns:reader.example": ["globalReader"]}',
    }


async def status(url: str, context: ssl.SSLContext | None = None) -> int:
    """Return the HTTP status of a GET request on a new connection."""

    def get() -> int:
        try:
            with urllib.request.urlopen(url, context=context) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    return await asyncio.to_thread(get)


async def checks(archive: Archive, **variables: str) -> dict[str, dict[str, str]]:
    """Return the checks of `dicomstore doctor` by name."""
    grpc, http = archive.core.removeprefix("https://"), archive.url.removeprefix("https://")
    _, output, errors = await archive.run("doctor", "--json", "--grpc", grpc, "--http", http, **variables)
    assert output, errors
    return {check["name"]: check for check in json.loads(output)["checks"]}


async def test_all_parts_of_an_archive_with_tls_work_together(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.server()
    tls = settings(pair, authority)
    ca = f"--core-ca={authority.certificate}"
    (tmp_path / "ct.dcm").write_bytes(part10())

    async with up(tmp_path, "--workers", "2", **tls) as archive:
        assert archive.url.startswith("https://")
        assert archive.core.startswith("https://")
        reader = authority.issue("reader", "reader.example")
        assert (await archive.run(ca, "store", "ct.dcm"))[0] == 0
        for _ in range(6):  # connections to both nodes
            assert await status(f"{archive.url}/health/check", authority.context()) == 200
            assert await status(f"{archive.url}/v2/studies", authority.context()) == 401
            assert await status(f"{archive.url}/v2/studies", authority.context(reader)) == 200
        found = await checks(archive, **tls)
        assert found["certificate"]["status"] == "ok"
        assert found["core"]["status"] == "ok"
        assert found["facade"]["status"] == "ok"
        assert await status(f"{archive.url.replace('https://', 'http://')}/v2/studies") == 400
