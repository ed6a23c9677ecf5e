"""DCMTK's tools store in the archive over DIMSE, with and without TLS."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.data import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    JPEG_BASELINE,
    RLE_LOSSLESS,
    new_uid,
    part10,
)
from tests.integration.dimse.clients import data_set_of
from tests.integration.dimse.gateways import RunningGateway, running_core, running_gateway
from tests.integration.dimse.test_store import instances, retrieved

pytestmark = pytest.mark.clients("dcmtk")

_ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}


@pytest.fixture(scope="module")
def core(module_path: Path) -> Iterator[str]:
    with running_core(module_path / "data") as address:
        yield address


@pytest.fixture(scope="module")
def gateway(core: str) -> Iterator[RunningGateway]:
    with running_gateway(core) as running:
        yield running


def run(tool: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([tool, *arguments], env=_ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)


def test_echoscu_verifies_the_connection(gateway: RunningGateway) -> None:
    done = run("echoscu", "-aec", "DICOMSTORE", "127.0.0.1", str(gateway.port))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("syntax", "option"),
    [
        (IMPLICIT_LITTLE, "-xi"),
        (EXPLICIT_LITTLE, "-xe"),
        (EXPLICIT_BIG, "-xb"),
        (JPEG_BASELINE, "-xy"),
        (RLE_LOSSLESS, "-xr"),
    ],
)
def test_storescu_stores_data_sets_as_they_are(
    gateway: RunningGateway, tmp_path: Path, syntax: str, option: str
) -> None:
    study, uid = new_uid(), new_uid()
    pixels = {"frames": [bytes(64)]} if syntax in (IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG) else {}
    if not pixels:
        pixels = {"fragments": [[b"\xff\xd8\xff\xd9" * 16]]}  # type: ignore[dict-item]
    file = part10(
        StudyInstanceUID=study,
        SeriesInstanceUID=f"{study}.1",
        SOPInstanceUID=uid,
        transfer_syntax=syntax,
        Rows=8,
        Columns=8,
        **pixels,  # type: ignore[arg-type]
    )
    (tmp_path / "file.dcm").write_bytes(file)
    done = run("storescu", option, "-aec", "DICOMSTORE", "127.0.0.1", str(gateway.port), tmp_path / "file.dcm")
    assert done.returncode == 0, done.stderr
    [resource] = instances(gateway.gateway.core, uid)
    found = data_set_of(retrieved(gateway.gateway.core, resource))
    assert found[0] == syntax
    assert len(found[1]) == len(data_set_of(file)[1])


def test_tools_with_a_certificate_use_tls_and_others_are_refused(core: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own, client = authority.server(), authority.issue("dcmtk", "dcmtk.example")
    with running_gateway(
        core,
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
