"""`python -m bench.parts.dimse_send`: a study of CT slices is sent to DCMTK's `storescp`, beside Orthanc.

Both are asked over REST: a transfer of the archive, and a job of Orthanc. "CPU" is the CPU time of all processes of the
sender for an instance.
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
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from bench import data
from bench.archive import cpu_seconds, running_archive
from tests.ports import free_port

_ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}
_STUDY = 1


@dataclass(frozen=True, slots=True)
class _Sender:
    """A server with DIMSE and HTTP ports."""

    name: str
    ae_title: str
    dimse_port: int
    base: str
    pid: int

    def cpu_seconds(self) -> float:
        found, todo = 0.0, [self.pid]
        while todo:
            pid = todo.pop()
            found += cpu_seconds(pid)
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                todo += map(int, task.read_text().split())
        return found

    def request(self, path: str, body: Any = None) -> Any:
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, content, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=300) as response:
            return json.load(response)


def measure(
    slices: int = typer.Option(500, help="Number of CT slices."),
    rounds: int = typer.Option(3),
    orthanc: bool = typer.Option(True, help="Measure Orthanc, too."),
) -> None:
    """Measure and print a table."""
    with tempfile.TemporaryDirectory(prefix="dicomstore-bench-", dir=os.environ.get("BENCH_DIR")) as directory:
        files = Path(directory, "files")
        files.mkdir()
        for number in range(slices):
            Path(files, f"{number}.dcm").write_bytes(data.instance(data.CT_SLICE, _STUDY, number=number + 1))
        typer.echo("| sender | CT slices per s | CPU ms |\n|---|--:|--:|")
        with _receiver(Path(directory)) as port:
            for server in (_dicomstore, _orthanc) if orthanc else (_dicomstore,):
                with server(Path(directory), port) as running:
                    address = ["-aec", running.ae_title, "127.0.0.1", str(running.dimse_port)]
                    subprocess.run(["storescu", "-R", "+sd", *address, str(files)], env=_ENVIRONMENT, check=True)
                    results = [_send(running, slices) for _ in range(rounds)]
                per_s, cpu_ms = (statistics.median(column) for column in zip(*results, strict=True))
                typer.echo(f"| {running.name} | {per_s:,.0f} | {cpu_ms:.2f} |")


def _send(sender: _Sender, slices: int) -> tuple[float, float]:
    """Send the study; return instances per second, and the CPU time of each in ms."""
    cpu, began = sender.cpu_seconds(), time.perf_counter()
    if sender.name == "Orthanc":
        [study] = sender.request("/studies")
        job = sender.request("/modalities/receiver/store", {"Resources": [study], "Synchronous": True})
        if job["FailedInstancesCount"] or job["InstancesCount"] != slices:
            raise RuntimeError("Orthanc has not sent everything")
    else:
        [found] = sender.request("/v2/studies")
        body = {"type": "send", "remote": "receiver", "resources": found["0020000D"]["Value"]}
        transfer = sender.request("/v2/transfers", body)
        while transfer["state"] in ("waiting", "running"):
            time.sleep(0.05)
            transfer = sender.request(f"/v2/transfers/{transfer['id']}")
        if (transfer["state"], transfer["completed"]) != ("succeeded", slices):
            raise RuntimeError(f"the transfer has ended with {transfer['problem']}")
    seconds = time.perf_counter() - began
    return slices / seconds, (sender.cpu_seconds() - cpu) / slices * 1000


@contextmanager
def _receiver(directory: Path) -> Iterator[int]:
    port = free_port()
    process = subprocess.Popen(["storescp", "--ignore", "+xa", "-aet", "RECEIVER", str(port)], env=_ENVIRONMENT)
    try:
        _wait(port)
        yield port
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _dicomstore(_: Path, receiver: int) -> Iterator[_Sender]:
    port = free_port()
    remotes = json.dumps({"receiver": {"ae_title": "RECEIVER", "host": "127.0.0.1", "port": receiver}})
    with running_archive(options=[f"--dimse=127.0.0.1:{port}"], DICOMSTORE_REMOTES=remotes) as archive:
        _wait(port)
        yield _Sender("dicomstore", "DICOMSTORE", port, f"http://127.0.0.1:{archive.http_port}", archive.pid)


@contextmanager
def _orthanc(directory: Path, receiver: int) -> Iterator[_Sender]:
    port, http_port, files = free_port(), free_port(), directory / "orthanc"
    files.mkdir()
    settings = {
        "StorageDirectory": str(files),
        "IndexDirectory": str(files),
        "StorageCompression": False,
        "HttpPort": http_port,
        "AuthenticationEnabled": False,
        "DicomAet": "ORTHANC",
        "DicomPort": port,
        "DicomModalities": {"receiver": ["RECEIVER", "127.0.0.1", receiver]},
        "DicomThreadsCount": 8,
    }
    Path(files, "orthanc.json").write_text(json.dumps(settings))
    process = subprocess.Popen(
        ["Orthanc", str(files / "orthanc.json")],
        env=_ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(port)
        yield _Sender("Orthanc", "ORTHANC", port, f"http://127.0.0.1:{http_port}", process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
        shutil.rmtree(files)


def _wait(port: int) -> None:
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
