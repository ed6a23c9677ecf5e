"""Identity of peers: certificates, permissions, and the audit trail."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from dicomstore.v1 import token_service_pb2 as pb
from dicomstore.v1 import token_service_pb2_grpc

from common.tls import TlsFiles, TlsPaths
from dimse.associations.errors import CannotConnect
from tests.audit import audit_records
from tests.certificates import Authority
from tests.data import EXPLICIT_LITTLE, SECONDARY_CAPTURE, new_uid, part10
from tests.integration.dimse.clients import associated, store
from tests.integration.dimse.gateways import RunningGateway, running_core, running_gateway
from tests.integration.security.callers import in_future

VERIFICATION = ("1.2.840.10008.1.1", EXPLICIT_LITTLE)


@pytest.fixture(scope="module")
def authority(module_path: Path) -> Authority:
    return Authority(module_path)


@pytest.fixture(scope="module")
def secured(authority: Authority) -> Iterator[RunningGateway]:
    """A gateway with TLS and certificates of remotes; its core is not there."""
    pair = authority.server()
    remotes = {"CT1": {"addresses": ["127.0.0.1"], "certificate": "dns:ct1.example"}}
    with running_gateway(
        "127.0.0.1:1",
        dimse_tls_certificate=str(pair.certificate),
        dimse_tls_key=str(pair.key),
        dimse_tls_ca=str(authority.certificate),
        remotes=remotes,
    ) as running:
        yield running


def client(authority: Authority, name: str) -> TlsFiles:
    """Return the files of a client with a certificate for a name, or without one."""
    pair = authority.issue(name, name) if name else None
    paths = (str(pair.certificate), str(pair.key)) if pair else ("", "")
    return TlsFiles(TlsPaths(*paths, str(authority.certificate)), "tls")


def test_a_peer_with_a_certificate_of_the_authority_associates(secured: RunningGateway, authority: Authority) -> None:
    with associated(secured.port, VERIFICATION, tls=client(authority, "anybody.example")) as association:
        assert len(association.contexts) == 1
    with associated(secured.port, VERIFICATION, calling="CT1", tls=client(authority, "ct1.example")) as association:
        assert len(association.contexts) == 1


def test_a_remote_with_another_certificate_than_its_own_is_rejected(
    secured: RunningGateway, authority: Authority
) -> None:
    with (
        pytest.raises(CannotConnect),
        associated(secured.port, VERIFICATION, calling="CT1", tls=client(authority, "ct2.example")),
    ):
        pass


def test_a_peer_without_certificate_or_without_tls_is_refused(
    secured: RunningGateway, authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path)
    pair = other.issue("other", "ct1.example")
    foreign = TlsFiles(TlsPaths(str(pair.certificate), str(pair.key), str(authority.certificate)), "tls")
    for tls in (None, client(authority, ""), foreign):
        with pytest.raises(CannotConnect), associated(secured.port, VERIFICATION, tls=tls):
            pass


def created_token(core: str, admin: str, role: str) -> str:
    with grpc.insecure_channel(core) as channel:
        request = pb.CreateTokenRequest(name=role, roles=[role], expire_time=in_future(days=1))
        stub = token_service_pb2_grpc.TokenServiceStub(channel)
        created: Any = stub.CreateToken(request, metadata=[("authorization", f"Bearer {admin}")])
        return str(created.secret)


def test_a_peer_has_the_permissions_of_its_token_and_the_audit_trail_names_it(module_path: Path) -> None:
    data = module_path / "authenticated"
    uid = new_uid()
    file = part10(SOPInstanceUID=uid)
    with running_core(data, auth_required=True, trusted_facades="127.0.0.1") as core:
        admin = (data / "operator.token").read_text().strip()
        remotes = {
            "WRITER": {"host": "127.0.0.1", "token": created_token(core, admin, "writer")},
            "READER": {"host": "127.0.0.1", "token": created_token(core, admin, "globalReader")},
        }
        with running_gateway(core, remotes=remotes) as running:
            assert store(running.port, file, SECONDARY_CAPTURE, uid, calling="NOBODY").status == 0x0124
            assert store(running.port, file, SECONDARY_CAPTURE, uid, calling="READER").status == 0x0124
            assert store(running.port, file, SECONDARY_CAPTURE, uid, calling="WRITER").status == 0
    stored = [one for one in audit_records(data, rpc="StoreService/StoreInstances") if uid in str(one)]
    assert stored
    assert {(one.get("client"), one.get("uri")) for one in stored} == {("127.0.0.1", "dicom://WRITER@DICOMSTORE")}
