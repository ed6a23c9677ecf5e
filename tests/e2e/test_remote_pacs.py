"""DCMTK's dcmqrscp and Orthanc as remote PACS: the archive sends to them, and retrieves from them."""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dicomstore.v1 import transfer_service_pb2 as pb
from pydicom.data import get_testdata_file

from tests.integration.dimse.archive import archive_at, eventually
from tests.integration.dimse.gateways import running_core, running_gateway
from tests.integration.dimse.peers import data_sets
from tests.ports import free_port

CORPUS = [
    Path(str(get_testdata_file(name))).read_bytes()
    for name in ("CT_small.dcm", "MR_small_RLE.dcm", "JPEG-LL.dcm", "reportsi.dcm", "rtplan.dcm")
]
SENT = data_sets(CORPUS)


@contextmanager
def dcmqrscp(directory: Path, port: int, archive_port: int) -> Iterator[None]:
    """Run DCMTK's image archive."""
    database = directory / "database"
    database.mkdir(parents=True)
    settings = directory / "dcmqrscp.cfg"
    settings.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\narchive = (DICOMSTORE, 127.0.0.1, {archive_port})\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nREMOTE {database} RW (200, 1024mb) ANY\nAETable END\n"
    )
    with listening(port, "dcmqrscp", "-c", str(settings), str(port)):
        yield


@contextmanager
def orthanc(directory: Path, port: int, archive_port: int) -> Iterator[None]:
    """Run Orthanc."""
    directory.mkdir(parents=True)
    settings = {
        "StorageDirectory": str(directory),
        "IndexDirectory": str(directory),
        "HttpServerEnabled": False,
        "DicomAet": "REMOTE",
        "DicomPort": port,
        "DicomCheckCalledAet": True,
        "DicomModalities": {"archive": ["DICOMSTORE", "127.0.0.1", archive_port]},
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "DicomAlwaysAllowFind": True,
        "UnknownSopClassAccepted": True,
        "Plugins": [],
    }
    path = directory / "settings.json"
    path.write_text(json.dumps(settings))
    with listening(port, "Orthanc", str(path)):
        yield


@contextmanager
def listening(port: int, *command: str) -> Iterator[None]:
    """Run a program that listens on a port."""
    program = str(shutil.which(command[0]))
    process = subprocess.Popen(
        [program, *command[1:]],
        env=os.environ | {"TCP_NODELAY": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def is_listening() -> bool:
        assert process.poll() is None
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        eventually(is_listening)
        yield
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(dcmqrscp, marks=pytest.mark.clients("dcmqrscp")),
        pytest.param(orthanc, marks=pytest.mark.clients("orthanc")),
    ],
)
def test_studies_are_sent_and_retrieved_with_both_methods(tmp_path: Path, run: Callable[[Path, int, int], Any]) -> None:
    port, archive_port = free_port(), free_port()
    remotes = {"PACS": {"ae_title": "REMOTE", "host": "127.0.0.1", "port": port}}
    gateway = {"remotes": remotes, "dimse": f"127.0.0.1:{archive_port}"}
    studies = sorted({str(one.StudyInstanceUID) for one in SENT.values()})
    with run(tmp_path / "remote", port, archive_port):
        with running_core(tmp_path / "source") as core, running_gateway(core, **gateway), archive_at(core) as source:
            source.stores(*CORPUS)
            sent = source.after_attempt(source.sends(*studies))
        assert (sent.state, sent.progress.completed) == (pb.TRANSFER_STATE_SUCCEEDED, len(CORPUS)), sent
        for method in (pb.RETRIEVE_METHOD_MOVE, pb.RETRIEVE_METHOD_GET):
            with (
                running_core(tmp_path / f"target{method}") as core,
                running_gateway(core, **gateway),
                archive_at(core) as target,
            ):
                pulled = target.after_attempt(target.pulls(*studies, method=method))
                assert (pulled.state, pulled.progress.completed) == (pb.TRANSFER_STATE_SUCCEEDED, len(CORPUS)), pulled
                assert {uid for study in studies for uid in target.uids(study)} == set(SENT)
                keys = [{"attribute": "PatientID", "values": [str(SENT[min(SENT)].PatientID)]}]
                assert target.after_attempt(target.pulls(keys=keys, method=method)).state == pb.TRANSFER_STATE_SUCCEEDED
