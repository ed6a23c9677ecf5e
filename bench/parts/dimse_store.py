"""`python -m bench.parts.dimse_store`: C-STORE of small objects and CT slices, with one association and with several,
beside Orthanc.

The client is DCMTK's `storescu`, one process for each association, with TCP_NODELAY; both servers sync their files.
They run one after the other, in several rounds. "CPU" is the CPU time of all processes of a server for an instance.
"""

import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import typer

from bench import data
from bench.archive import cpu_seconds, running_archive
from tests.ports import free_port

_KINDS = {"small": data.SMALL, "CT slice": data.CT_SLICE}
ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: its DICOM port, AE title and process."""

    name: str
    port: int
    ae_title: str
    pid: int

    def cpu_seconds(self) -> float:
        """Return the CPU time of all its processes."""
        found, todo = 0.0, [self.pid]
        while todo:
            pid = todo.pop()
            found += cpu_seconds(pid)
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                todo += map(int, task.read_text().split())
        return found


def measure(
    small: int = typer.Option(2000, help="Number of small objects in a run."),
    slices: int = typer.Option(400, help="Number of CT slices in a run."),
    associations: list[int] = typer.Option([1, 8], help="Numbers of associations."),  # noqa: B008
    rounds: int = typer.Option(2),
    orthanc: bool = typer.Option(True, help="Measure Orthanc, too."),
) -> None:
    """Measure each combination and print a table."""
    folder = os.environ.get("BENCH_DIR")
    counts = {"small": small, "CT slice": slices}
    results: dict[tuple[str, int, str], list[tuple[float, float]]] = {}
    study = 0
    with tempfile.TemporaryDirectory(prefix="dicomstore-bench-", dir=folder) as directory:
        for _ in range(rounds):
            for server in (dicomstore, orthanc_server) if orthanc else (dicomstore,):
                with server(Path(directory)) as running:
                    for kind, count in counts.items():
                        for clients in associations:
                            files = _written(Path(directory, "files"), kind, count, clients, study)
                            study += clients
                            rate = _store(running, files, count)
                            results.setdefault((kind, clients, running.name), []).append(rate)
                            shutil.rmtree(Path(directory, "files"))
    typer.echo("| object | associations | server | instances per s | CPU ms |\n|---|--:|---|--:|--:|")
    for (kind, clients, name), rates in sorted(results.items()):
        per_s, cpu_ms = (statistics.median(column) for column in zip(*rates, strict=True))
        typer.echo(f"| {kind} | {clients} | {name} | {per_s:,.0f} | {cpu_ms:.2f} |")


def _written(directory: Path, kind: str, count: int, clients: int, study: int) -> list[Path]:
    """Write instances, a folder for each association, and return the folders."""
    folders = []
    for client in range(clients):
        folder = directory / str(client)
        folder.mkdir(parents=True)
        folders.append(folder)
        for number in range(count // clients):
            Path(folder, f"{number}.dcm").write_bytes(data.instance(_KINDS[kind], study + client, number=number + 1))
    return folders


def _store(server: Server, folders: Sequence[Path], count: int) -> tuple[float, float]:
    """Return instances per second, and the CPU time of each in ms."""
    address = ["-aec", server.ae_title, "127.0.0.1", str(server.port)]
    cpu, began = server.cpu_seconds(), time.perf_counter()
    clients = [
        subprocess.Popen(["storescu", "-R", "+sd", *address, str(folder)], env=ENVIRONMENT) for folder in folders
    ]
    if {client.wait() for client in clients} != {0}:
        raise RuntimeError("storescu failed")
    seconds = time.perf_counter() - began
    stored = count // len(folders) * len(folders)
    time.sleep(0.5)
    return stored / seconds, (server.cpu_seconds() - cpu) / stored * 1000


@contextmanager
def dicomstore(_: Path, settings: Mapping[str, str] = MappingProxyType({})) -> Iterator[Server]:
    """Run an archive with a gateway; `settings` are environment variables."""
    port = free_port()
    options: dict[str, Any] = {"DICOMSTORE_LOG_LEVEL": "warning", **settings}
    with running_archive(options=[f"--dimse=127.0.0.1:{port}"], **options) as archive:
        wait_for(port)
        yield Server("dicomstore", port, "DICOMSTORE", archive.pid)


@contextmanager
def orthanc_server(directory: Path, **options: Any) -> Iterator[Server]:
    """Run Orthanc with its files below a directory; `options` are those of its configuration."""
    port, files = free_port(), directory / "orthanc"
    files.mkdir()
    settings = {
        "Name": "bench",
        "StorageDirectory": str(files),
        "IndexDirectory": str(files),
        "StorageCompression": False,
        "HttpServerEnabled": False,
        "DicomAet": "ORTHANC",
        "DicomPort": port,
        "SyncStorageArea": True,
        "DicomThreadsCount": 8,
        **options,
    }
    Path(files, "orthanc.json").write_text(json.dumps(settings))
    process = subprocess.Popen(
        ["Orthanc", str(files / "orthanc.json")],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(port)
        yield Server("Orthanc", port, "ORTHANC", process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
        shutil.rmtree(files)


def wait_for(port: int) -> None:
    """Wait until something listens on a port."""
    end = time.monotonic() + 60
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > end:
            raise RuntimeError("the server did not start")
        time.sleep(0.05)


if __name__ == "__main__":
    typer.run(measure)
