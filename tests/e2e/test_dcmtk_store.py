"""DCMTK's tools store in the archive over DIMSE, with and without TLS, and get back what they have stored."""

import os
import subprocess
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from dicomstore.v1.resources_pb2 import Address
from pydicom import dcmread
from pydicom.dataset import Dataset

from dimse.core import Core
from dimse.services.storage.sop_classes import STORAGE_SOP_CLASSES
from server.dicom.part10.file_meta import read_meta
from tests.certificates import Authority
from tests.corpus import corpus
from tests.data import new_uid, part10
from tests.e2e.test_dcmtk_queries import PIXELS, listening
from tests.integration.dimse.gateways import RunningGateway, running_core, running_gateway
from tests.integration.dimse.test_store import instances, metadata, retrieved, stored_by_grpc
from tests.ports import free_port

# Some files of the corpus deviate from the standard, of which pydicom warns.
pytestmark = [pytest.mark.clients("dcmtk"), pytest.mark.filterwarnings("ignore::UserWarning")]

OPTIONS = {
    "1.2.840.10008.1.2": "xi",
    "1.2.840.10008.1.2.1": "xe",
    "1.2.840.10008.1.2.2": "xb",
    "1.2.840.10008.1.2.1.99": "xd",
    "1.2.840.10008.1.2.4.50": "xy",
    "1.2.840.10008.1.2.4.51": "xx",
    "1.2.840.10008.1.2.4.70": "xs",
    "1.2.840.10008.1.2.4.80": "xt",
    "1.2.840.10008.1.2.4.81": "xu",
    "1.2.840.10008.1.2.4.90": "xv",
    "1.2.840.10008.1.2.4.91": "xw",
    "1.2.840.10008.1.2.5": "xr",
}
"""Options for all transfer syntaxes of the corpus."""

FILES, MAX_BYTES = 3, 200_000
"""Number of files of each transfer syntax, and their size."""

CHANGED = {"FFFCFFFC"}
"""Data Set Trailing Padding, which DCMTK does not send."""

UNREADABLE = {"SC_rgb_jpeg.dcm", "explicit_VR-UN.dcm"}
"""Files that DCMTK cannot read."""

_ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}


@pytest.fixture(scope="module")
def core(module_path: Path) -> Iterator[str]:
    """A core that makes versions of instances that the corpus has in several transfer syntaxes."""
    with running_core(module_path / "data", partitions=True, duplicates="new-version") as address:
        yield address


@pytest.fixture(scope="module")
def storescp(module_path: Path) -> Iterator[tuple[int, Path]]:
    """Run storescp, which accepts every transfer syntax; yield its port and directory."""
    port, directory = free_port(), module_path / "storescp"
    directory.mkdir()
    with listening(port, "storescp", "+xa", "-aet", "STORESCP", "-od", str(directory), str(port)):
        yield port, directory


@pytest.fixture(scope="module")
def gateway(core: str, storescp: tuple[int, Path]) -> Iterator[RunningGateway]:
    remotes = {"STORESCP": {"host": "127.0.0.1", "port": storescp[0]}}
    with running_gateway(core, remotes=remotes, dimse_partition="dimse") as running:
        yield running


def run(tool: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([tool, *arguments], env=_ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)


def test_echoscu_verifies_the_connection(gateway: RunningGateway) -> None:
    done = run("echoscu", "-aec", "DICOMSTORE", "127.0.0.1", str(gateway.port))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("syntax", OPTIONS, ids=OPTIONS.get)
def test_files_of_each_transfer_syntax_are_stored_as_by_stow_and_sent_back(
    gateway: RunningGateway, storescp: tuple[int, Path], tmp_path: Path, syntax: str
) -> None:
    """`storescu` sends files of the corpus, `movescu` lets the archive send them to `storescp`, `getscu` gets them."""
    core, address = gateway.gateway.core, ["-aec", "DICOMSTORE", "127.0.0.1", str(gateway.port)]
    files, directory = {}, tmp_path / "files"
    directory.mkdir()
    for path in files_of(syntax, directory):
        outcome = stored_by_grpc(core, path.read_bytes(), "stow")
        if outcome.HasField("stored") and outcome.stored.sop_class_uid in STORAGE_SOP_CLASSES:
            files[outcome.stored.id.sop_instance_uid] = path, outcome.stored.id
    assert files
    done = run("storescu", f"-{OPTIONS[syntax]}", "-R", *address, *(path for path, _ in files.values()))
    assert done.returncode == 0, done.stderr
    for uid, (path, of_stow) in files.items():
        [resource] = instances(core, uid, "dimse")
        assert comparable(core, resource) == comparable(core, of_stow), path.name
        sent, stored = dcmread(path), dcmread(BytesIO(retrieved(core, resource)))
        assert stored.file_meta.TransferSyntaxUID == syntax
        assert_equal(sent, stored)
    studies = {of_stow.study_instance_uid for _, of_stow in files.values()}
    received = tmp_path / "getscu"
    received.mkdir()
    for study in studies:
        keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"]
        done = run("movescu", "-S", "-aem", "STORESCP", *keys, *address)
        assert done.returncode == 0, done.stderr
        done = run("getscu", "-S", f"+{OPTIONS[syntax]}", "-od", received, *keys, *address)
        assert done.returncode == 0, done.stderr
    for directory in (storescp[1], received):
        found = {one.SOPInstanceUID: one for one in map(dcmread, directory.iterdir())}
        for uid, (path, _) in files.items():
            is_as_stored = found[uid].file_meta.TransferSyntaxUID == syntax
            assert is_as_stored or directory == received
            assert_equal(dcmread(path), found[uid], except_pixels=not is_as_stored)


def files_of(syntax: str, directory: Path) -> list[Path]:
    """Return some files of the corpus in a transfer syntax. Those without study and series get them, in a copy."""
    found = []
    for path in corpus():
        file = path.read_bytes()
        meta = read_meta(file, is_whole=True) if len(file) < MAX_BYTES and path.name not in UNREADABLE else None
        if meta is not None and not isinstance(meta, int) and meta.transfer_syntax_uid == syntax:
            found.append(path)
    return [_in_a_study(path, directory) for path in sorted(found, key=lambda path: path.stat().st_size)[-FILES:]]


def _in_a_study(path: Path, directory: Path) -> Path:
    content = dcmread(path)
    if "StudyInstanceUID" in content:
        return path
    content.StudyInstanceUID, content.SeriesInstanceUID = new_uid(), new_uid()
    content.save_as(directory / path.name)
    return directory / path.name


def comparable(core: Core, resource: Address) -> Any:
    """Return the metadata of an instance without what depends on its partition, or on DCMTK."""
    found = metadata(core, resource)
    return {tag: element for tag, element in found.items() if tag not in CHANGED and "BulkDataURI" not in element}


def assert_equal(sent: Dataset, other: Dataset, *, except_pixels: bool = False) -> None:
    """Check that two data sets have the same values, bulk data included; DCMTK computes group lengths again."""
    differing = {one.tag for one in sent if one.tag not in other or one.value != other[one.tag].value}
    ignored = {int(tag, 16) for tag in CHANGED} | (PIXELS if except_pixels else set())
    assert {tag for tag in differing if tag.element} <= ignored


def test_tools_with_a_certificate_use_tls_and_others_are_refused(core: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own, client = authority.server(), authority.issue("dcmtk", "dcmtk.example")
    with running_gateway(
        core,
        dimse_partition="dimse",
        dimse_tls_certificate=str(own.certificate),
        dimse_tls_key=str(own.key),
        dimse_tls_ca=str(authority.certificate),
    ) as secured:
        tls = ["+tls", client.key, client.certificate, "+cf", authority.certificate]
        address = ["-aec", "DICOMSTORE", "127.0.0.1", str(secured.port)]
        (tmp_path / "file.dcm").write_bytes(part10())
        assert run("echoscu", *tls, *address).returncode == 0
        assert run("storescu", *tls, *address, tmp_path / "file.dcm").returncode == 0
        assert run("echoscu", *address).returncode != 0
