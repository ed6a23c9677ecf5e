"""Orthanc with its Explorer 2, beside which the explorer is measured.

Explorer 2 is a plugin, which is built from its sources: see docs/performance.md.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.ports import free_port

PAGE = "/ui/app/"
"""Path of Explorer 2."""


@contextmanager
def running_orthanc(directory: Path, plugin: Path | None = None) -> Iterator[tuple[str, int]]:
    """Run Orthanc with a plugin, in a new directory; return its URL and its process id."""
    directory.mkdir()
    port = free_port()
    settings = {
        "HttpPort": port,
        "DicomServerEnabled": False,
        "StorageDirectory": str(directory),
        "IndexDirectory": str(directory),
        "RemoteAccessAllowed": False,
        "SyncStorageArea": True,
        "Plugins": [str(plugin)] if plugin else [],
    }
    (directory / "orthanc.json").write_text(json.dumps(settings))
    command = ["Orthanc", str(directory / "orthanc.json")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        while process.poll() is None:
            try:
                httpx.get(f"{url}/system", trust_env=False)
                break
            except httpx.TransportError:
                time.sleep(0.1)
        else:
            raise RuntimeError("Orthanc does not start")
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(30)
