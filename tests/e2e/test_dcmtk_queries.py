"""DCMTK's findscu, movescu, getscu, storescp and termscu as peers of the DIMSE gateway."""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from dicomstore.v1.workitem_service_pb2 import CreateWorkitemRequest
from dicomstore.v1.workitem_service_pb2_grpc import WorkitemServiceStub
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from tests.data import part10
from tests.e2e.archive import ROOT
from tests.integration.dimse.gateways import RunningGateway, running_core, running_gateway
from tests.integration.dimse.peers import data_sets, store
from tests.ports import free_port
from tests.worklist import text, workitem

pytestmark = pytest.mark.clients("findscu")

CORPUS = [
    Path(str(get_testdata_file(name))).read_bytes()
    for name in ("CT_small.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm", "JPEG-LL.dcm", "reportsi.dcm", "rtplan.dcm")
]
SENT = data_sets(CORPUS)
PIXELS = {0x00280004, 0x00280006, 0x7FE00010}
"""Photometric Interpretation, Planar Configuration and Pixel Data: they differ in decoded instances."""

TRAILING_PADDING = {0xFFFCFFFC}
"""Data Set Trailing Padding, which DCMTK does not write."""

NAME = part10(SpecificCharacterSet="ISO_IR 192", PatientName="Müller^Jörg", PatientID="M1", StudyInstanceUID="2.25.77")


@pytest.fixture(scope="module")
def move_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def core(module_path: Path) -> Iterator[str]:
    with running_core(module_path / "core") as core:
        store(core, *CORPUS, NAME)
        yield core


@pytest.fixture(scope="module")
def storescp(module_path: Path) -> Iterator[tuple[int, Path]]:
    """Run DCMTK's storescp; yield its port and directory."""
    port, directory = free_port(), module_path / "storescp"
    directory.mkdir()
    with listening(port, "storescp", "+xa", "-aet", "STORESCP", "-od", str(directory), str(port)):
        yield port, directory


@pytest.fixture(scope="module")
def archive(core: str, move_port: int, storescp: tuple[int, Path]) -> Iterator[RunningGateway]:
    remotes = {
        "MOVESCU": {"host": "127.0.0.1", "port": move_port},
        "STORESCP": {"host": "127.0.0.1", "port": storescp[0]},
    }
    with running_gateway(core, remotes=remotes) as running:
        yield running


@contextmanager
def listening(port: int, *command: str) -> Iterator[None]:
    """Run a program that listens on a port."""
    program = str(shutil.which(command[0]))
    process = subprocess.Popen([program, *command[1:]], env=os.environ | {"TCP_NODELAY": "1"})
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None
        yield
    finally:
        process.terminate()
        process.wait()


def run(archive: RunningGateway, program: str, *options: str, keys: dict[str, Any] | None = None) -> str:
    """Run a program of DCMTK against the gateway; return what it prints."""
    chosen = [part for keyword, value in (keys or {}).items() for part in ("-k", f"{keyword}={value}")]
    address = ["-aec", "DICOMSTORE", "127.0.0.1", str(archive.port)]
    done = subprocess.run(
        [str(shutil.which(program)), *options, *chosen, *address],
        env=os.environ | {"TCP_NODELAY": "1"},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("syntax", ["-x=", "-xi"])
@pytest.mark.parametrize(
    ("model", "level", "key", "keyword"),
    [
        ("-P", "PATIENT", {}, "PatientID"),
        ("-P", "STUDY", {}, "StudyInstanceUID"),
        ("-S", "STUDY", {}, "StudyInstanceUID"),
        ("-S", "SERIES", {"StudyInstanceUID": SENT[next(iter(SENT))].StudyInstanceUID}, "SeriesInstanceUID"),
        ("-S", "IMAGE", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "SOPInstanceUID"),
    ],
)
def test_findscu(
    archive: RunningGateway, model: str, level: str, key: dict[str, str], keyword: str, syntax: str, tmp_path: Path
) -> None:
    asked = {"QueryRetrieveLevel": level, **key}
    run(archive, "findscu", model, syntax, "-X", "-od", str(tmp_path), keys=asked | {keyword: ""})
    found = {dcmread(path, force=True)[keyword].value for path in tmp_path.iterdir()}
    everything = [*SENT.values(), *data_sets([NAME]).values()]
    assert found == {
        one[keyword].value for one in everything if all(one[name].value == value for name, value in key.items())
    }


def test_findscu_cancels(archive: RunningGateway) -> None:
    keys = {"QueryRetrieveLevel": "IMAGE", "SOPInstanceUID": ""}
    output = run(archive, "findscu", "-v", "-S", "--cancel", "2", keys=keys)
    assert "Cancel" in output or output.count("Find Response:") >= 2


@pytest.mark.parametrize("model", ["-S", "-P"])
def test_movescu_receives_instances_itself(archive: RunningGateway, move_port: int, model: str, tmp_path: Path) -> None:
    """It is the destination, too: uncompressed transfer syntaxes are what it accepts."""
    ids = {one.PatientID for one in SENT.values() if one.SOPClassUID.startswith("1.2.840.10008.5.1.4.1.1.481")}
    study = next(one for one in SENT.values() if one.SOPClassUID == "1.2.840.10008.5.1.4.1.1.2")
    keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": study.StudyInstanceUID}
    if model == "-P":
        keys = {"QueryRetrieveLevel": "PATIENT", "PatientID": ids.pop()}
    run(
        archive,
        "movescu",
        model,
        "-aem",
        "MOVESCU",
        "-aet",
        "MOVESCU",
        "+P",
        str(move_port),
        "-od",
        str(tmp_path),
        keys=keys,
    )
    assert_received(tmp_path, *keys_of(keys))


def test_movescu_sends_to_storescp_as_stored(archive: RunningGateway, storescp: tuple[int, Path]) -> None:
    """storescp accepts every transfer syntax, and shows that each is sent without transcoding."""
    for study in {one.StudyInstanceUID for one in SENT.values()}:
        keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": study}
        run(archive, "movescu", "-S", "-aem", "STORESCP", "-aet", "STORESCP", keys=keys)
    received = assert_received(storescp[1])
    assert {uid: one.file_meta.TransferSyntaxUID for uid, one in received.items()} == {
        uid: one.file_meta.TransferSyntaxUID for uid, one in SENT.items()
    }


@pytest.mark.parametrize("options", [[], ["+B"]])
def test_getscu(archive: RunningGateway, options: list[str], tmp_path: Path) -> None:
    """It proposes uncompressed transfer syntaxes only: compressed instances are decoded."""
    for number, one in enumerate(SENT.values()):
        directory = tmp_path / str(number)
        directory.mkdir()
        keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": one.StudyInstanceUID}
        run(archive, "getscu", "-S", *options, "-od", str(directory), keys=keys)
        assert_received(directory, *keys_of(keys))


def test_termscu_does_not_stop_the_gateway(archive: RunningGateway) -> None:
    """DCMTK's private SOP class for shutting down a server is not supported."""
    command = [str(shutil.which("termscu")), "-aec", "DICOMSTORE", "127.0.0.1", str(archive.port)]
    subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert "Success" in run(archive, "echoscu", "-v")


def test_findscu_finds_the_worklist_item_of_the_example(archive: RunningGateway, tmp_path: Path) -> None:
    """The workitem of docs/dimse.md."""
    example = (ROOT / "docs/dimse.md").read_text().partition("<<'END'\n")[2].partition("\nEND\n")[0]
    content = workitem() | dict(json.loads(example))
    with grpc.insecure_channel(archive.core) as channel:
        WorkitemServiceStub(channel).CreateWorkitem(
            CreateWorkitemRequest(workitem_uid="2.25.555", dicom_json=text(content))
        )
    sequence = "ScheduledProcedureStepSequence[0]"
    keys = {
        "PatientName": "",
        "PatientID": "",
        f"{sequence}.ScheduledStationAETitle": "CT1",
        f"{sequence}.Modality": "CT",
        f"{sequence}.ScheduledProcedureStepStartDate": "20260504",
        f"{sequence}.ScheduledProcedureStepID": "",
    }
    run(archive, "findscu", "-W", "-X", "-od", str(tmp_path), keys=keys)
    [path] = tmp_path.iterdir()
    found = dcmread(path, force=True)
    assert (found.PatientName, found.PatientID) == ("Doe^Jane", "4711")
    assert found.ScheduledProcedureStepSequence[0].ScheduledProcedureStepID == "STEP1"


def keys_of(keys: dict[str, Any]) -> list[str]:
    """Return the UIDs of the instances to which keys refer."""
    values = {keyword: value for keyword, value in keys.items() if keyword != "QueryRetrieveLevel"}
    return [uid for uid, one in SENT.items() if all(one[name].value == value for name, value in values.items())]


def assert_received(directory: Path, *uids: str) -> dict[str, Dataset]:
    """Check that files are these instances, all if none are given, with other pixel data at most if it was decoded."""
    received = data_sets(path.read_bytes() for path in directory.iterdir())
    assert set(received) == set(uids or SENT)
    for uid, one in received.items():
        sent = SENT[uid]
        differing = {element.tag for element in sent if element != one.get(element.tag)} - TRAILING_PADDING
        is_decoded = sent.file_meta.TransferSyntaxUID != one.file_meta.TransferSyntaxUID
        assert differing <= (PIXELS if is_decoded else set())
    return received
