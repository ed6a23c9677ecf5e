"""dcm4che's tools as modality, workstation and RIS client of the DIMSE gateway, with and without TLS."""

import subprocess
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key, pkcs12
from pydicom import dcmread

from tests.certificates import Authority
from tests.e2e.archive import ROOT
from tests.e2e.test_dcmtk_queries import CORPUS, SENT
from tests.integration.dimse.archive import eventually
from tests.integration.dimse.gateways import RunningGateway, running_core, running_gateway
from tests.integration.dimse.peers import Destination, data_sets
from tests.integration.dimse.test_store import instances, retrieved
from tests.integration.dimse.test_worklist import Workitems
from tests.ports import free_port

pytestmark = pytest.mark.clients("dcm4che")

DCM4CHE = ROOT / ".clients/dcm4che"
TOOLS = {
    "storescu": "storescu.StoreSCU",
    "findscu": "findscu.FindSCU",
    "movescu": "movescu.MoveSCU",
    "getscu": "getscu.GetSCU",
    "stgcmtscu": "stgcmtscu.StgCmtSCU",
    "mppsscu": "mppsscu.MppsSCU",
}
CT = next(iter(data_sets(CORPUS[:1]).values()))
PASSWORD = "secret"


def command(tool: str, port: int, *arguments: str | Path) -> list[str]:
    """Return the command of a tool that connects to the archive."""
    java = ["java", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp", f"{DCM4CHE}/classes:{DCM4CHE}/lib/*"]
    return [*java, f"org.dcm4che3.tool.{TOOLS[tool]}", "-c", f"DICOMSTORE@127.0.0.1:{port}", *map(str, arguments)]


def run(tool: str, port: int, *arguments: str | Path) -> str:
    """Run a tool; return what it prints."""
    done = subprocess.run(
        command(tool, port, *arguments), capture_output=True, text=True, errors="replace", timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def files(module_path: Path) -> Path:
    """A folder with the files of the corpus."""
    folder = module_path / "files"
    folder.mkdir()
    for number, content in enumerate(CORPUS):
        one = dcmread(BytesIO(content))
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID  # which dcm4che sends in the command
        one.save_as(folder / f"{number}.dcm")
    return folder


@pytest.fixture(scope="module")
def destination() -> Iterator[Destination]:
    classes = sorted({str(one.SOPClassUID) for one in SENT.values()})
    with Destination().running(*classes) as running:
        yield running


@pytest.fixture(scope="module")
def modality_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def core(module_path: Path) -> Iterator[str]:
    with running_core(module_path / "core") as core:
        yield core


@pytest.fixture(scope="module")
def archive(core: str, destination: Destination, modality_port: int, files: Path) -> Iterator[RunningGateway]:
    """A gateway whose archive has the files, which `storescu` has stored."""
    remotes = {
        "DEST": {"host": "127.0.0.1", "port": destination.port},
        "STGCMTSCU": {"host": "127.0.0.1", "port": modality_port},
    }
    with running_gateway(core, remotes=remotes) as running:
        run("storescu", running.port, files)
        yield running


def test_storescu_stores_data_sets_as_they_are(archive: RunningGateway) -> None:
    core = archive.gateway.core
    for uid, sent in SENT.items():
        [resource] = instances(core, uid)
        stored = dcmread(BytesIO(retrieved(core, resource)))
        assert stored.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
        assert stored == sent


@pytest.mark.parametrize(
    ("level", "keyword"), [("STUDY", "StudyInstanceUID"), ("SERIES", "SeriesInstanceUID"), ("IMAGE", "SOPInstanceUID")]
)
def test_findscu(archive: RunningGateway, tmp_path: Path, level: str, keyword: str) -> None:
    options = ["-M", "StudyRoot", "-L", level, "--relational", "-m", f"PatientID={CT.PatientID}", "-r", keyword]
    run("findscu", archive.port, *options, "--out-dir", tmp_path, "--out-file", "000.dcm")
    found = {dcmread(path, force=True)[keyword].value for path in tmp_path.iterdir()}
    assert found == {one[keyword].value for one in SENT.values() if one.PatientID == CT.PatientID}


def test_movescu(archive: RunningGateway, destination: Destination) -> None:
    destination.received.clear()
    keys = ["-M", "StudyRoot", "-L", "STUDY", "-m", f"StudyInstanceUID={CT.StudyInstanceUID}"]
    run("movescu", archive.port, *keys, "--dest", "DEST")
    of_study = {uid for uid, one in SENT.items() if one.StudyInstanceUID == CT.StudyInstanceUID}
    assert set(destination.uids()) == of_study
    assert {one.originator for one in destination.received} == {"MOVESCU"}


def test_getscu(archive: RunningGateway, tmp_path: Path) -> None:
    keys = ["-M", "StudyRoot", "-L", "STUDY", "-m", f"StudyInstanceUID={CT.StudyInstanceUID}"]
    run("getscu", archive.port, *keys, "--directory", tmp_path)
    received = {one.SOPInstanceUID: one for one in map(dcmread, tmp_path.iterdir())}
    assert received == {uid: one for uid, one in SENT.items() if one.StudyInstanceUID == CT.StudyInstanceUID}


def test_stgcmtscu_gets_the_result(archive: RunningGateway, files: Path, modality_port: int, tmp_path: Path) -> None:
    """On a new association, to which it listens."""
    options = ["-b", f"STGCMTSCU:{modality_port}", "--directory", tmp_path]
    process = subprocess.Popen(
        command("stgcmtscu", archive.port, *options, files), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        eventually(lambda: any(path.stat().st_size for path in tmp_path.iterdir()), 60)
        process.wait(60)
    finally:
        process.kill()
        process.wait()
    [path] = tmp_path.iterdir()
    result = dcmread(path, force=True)
    assert {item.ReferencedSOPInstanceUID for item in result.ReferencedSOPSequence} == set(SENT)
    assert "FailedSOPSequence" not in result


def test_findscu_reads_the_worklist(archive: RunningGateway, core: str, tmp_path: Path) -> None:
    workitems = Workitems(core)
    workitems.schedule("41", station="DCM4CHE")
    keys = ["-M", "MWL", "-m", "ScheduledProcedureStepSequence.ScheduledStationAETitle=DCM4CHE", "-r", "PatientID"]
    run("findscu", archive.port, *keys, "--out-dir", tmp_path, "--out-file", "0.dcm")
    [path] = tmp_path.iterdir()
    assert dcmread(path, force=True).PatientID == "P41"
    workitems.channel.close()


def test_mppsscu_reports_a_step_that_was_not_scheduled(
    archive: RunningGateway, core: str, files: Path, tmp_path: Path
) -> None:
    codes, step = tmp_path / "codes", "2.25.4100"
    codes.touch()
    run("mppsscu", archive.port, "--code-config", codes, "--ppsuid", step, files / "0.dcm")
    workitems = Workitems(core)
    assert workitems.values(step, "ProcedureStepState") == ["COMPLETED"]
    performed = "UnifiedProcedureStepPerformedProcedureSequence"
    reference = ("OutputInformationSequence", "ReferencedSOPSequence", "ReferencedSOPInstanceUID")
    assert workitems.values(step, performed, *reference) == [CT.SOPInstanceUID]
    workitems.channel.close()


def test_tools_with_tls_and_a_certificate(core: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own, client = authority.server(), authority.issue("dcm4che", "dcm4che.example")
    key = load_pem_private_key(Path(client.key).read_bytes(), None)
    certificate = x509.load_pem_x509_certificate(Path(client.certificate).read_bytes())
    trusted = x509.load_pem_x509_certificate(Path(authority.certificate).read_bytes())
    stores: dict[str, Any] = {
        "key": pkcs12.serialize_key_and_certificates(
            b"dcm4che", key, certificate, [trusted], BestAvailableEncryption(PASSWORD.encode())
        ),
        "trust": pkcs12.serialize_java_truststore(
            [pkcs12.PKCS12Certificate(trusted, b"authority")], BestAvailableEncryption(PASSWORD.encode())
        ),
    }
    for name, content in stores.items():
        (tmp_path / f"{name}.p12").write_bytes(content)
    tls = {
        "dimse_tls_certificate": str(own.certificate),
        "dimse_tls_key": str(own.key),
        "dimse_tls_ca": str(authority.certificate),
    }
    options = ["--tls13", "--key-store", tmp_path / "key.p12", "--trust-store", tmp_path / "trust.p12"]
    with running_gateway(core, **tls) as secured:
        run("storescu", secured.port, "--tls-cipher", "TLS_AES_128_GCM_SHA256", *options)  # C-ECHO
        unsecured = subprocess.run(command("storescu", secured.port), capture_output=True, timeout=120, check=False)
    assert unsecured.returncode != 0
