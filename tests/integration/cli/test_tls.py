"""Messages of commands for a core with other transport settings, and the checks of certificates by `doctor`."""

import asyncio
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cli.commands.doctor import Status, _tls_paths, certificate_check
from cli.connection import GlobalOptions
from cli.errors import Failure, explain
from common.core_channel import core_tls_files, open_channel
from common.tls import TlsPaths
from server.bootstrap.serving import running
from tests.certificates import Authority, Pair
from tests.core import settings_for


async def failure(core: str, **options: str) -> Failure:
    """Call the health service as a command does, and return the failure that the command prints."""
    settings = GlobalOptions(**options).settings(core)
    async with open_channel(core, core_tls_files(settings), ()) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    return await asyncio.to_thread(explain, raised.value, core, may_connect=True)


async def test_a_command_explains_why_it_cannot_connect(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server, elsewhere = authority.server(), authority.issue("elsewhere", "pacs.example")
    ca = str(authority.certificate)
    (tmp_path / "foreign").mkdir()
    foreign = Authority(tmp_path / "foreign").certificate

    def with_tls(pair: Pair, name: str) -> object:
        return settings_for(
            tmp_path / name, tls_certificate=str(pair.certificate), tls_key=str(pair.key), tls_client_ca=ca,
            tls_client_required=name == "required",
        )  # fmt: skip

    async with (
        running(settings_for(tmp_path / "plain")) as plain,
        running(with_tls(server, "tls")) as tls,
        running(with_tls(server, "required")) as required,
        running(with_tls(elsewhere, "other")) as other,
    ):
        found = {
            "plain client": await failure(tls.address),
            "plain server": await failure(f"https://{plain.address}", core_ca=ca),
            "untrusted": await failure(f"https://{tls.address}", core_ca=str(foreign)),
            "other host": await failure(f"https://{other.address}", core_ca=ca),
            "no certificate": await failure(f"https://{required.address}", core_ca=ca),
        }

    assert f"the core at {tls.address} uses TLS" in found["plain client"].message
    assert f"--core https://{tls.address}" in found["plain client"].hint
    assert f"the server at {plain.address} does not use TLS" in found["plain server"].message
    assert "is not trusted" in found["untrusted"].message
    assert "--core-ca" in found["untrusted"].hint
    assert "is for another host" in found["other host"].message
    assert "--core-certificate" in found["no certificate"].hint


@pytest.mark.parametrize(
    ("days", "mode", "status", "text"),
    [
        (300, 0o600, Status.OK, "is valid until"),
        (10, 0o600, Status.WARNING, "expires at"),
        (300, 0o644, Status.WARNING, "other users can read the private key"),
        (-1, 0o600, Status.FAILED, "expired at"),
    ],
)
def test_doctor_checks_certificate_and_key(days: int, mode: int, status: Status, text: str, tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("server", "localhost", days=days)
    pair.key.chmod(mode)

    check = certificate_check(TlsPaths(str(pair.certificate), str(pair.key)))

    assert check.status is status
    assert text in check.detail


def test_doctor_reports_unusable_files(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("server", "localhost")
    pair.key.write_text("no key")

    check = certificate_check(TlsPaths(str(pair.certificate), str(pair.key)))

    assert check.status is Status.FAILED
    assert "no key" not in check.detail


def test_doctor_warns_before_a_revocation_list_expires(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("server", "localhost", days=90)
    lists, ca = authority.revoke(days=0.5), str(authority.certificate)
    values = {
        ("facade", f"tls_{name}"): value
        for name, value in (
            *(("certificate", str(pair.certificate)), ("key", str(pair.key))),
            *(("client_ca", ca), ("client_crl", str(lists))),
        )
    }
    check = certificate_check(_tls_paths(values, "facade"))
    assert check.status is Status.WARNING
    assert "revocation list" in check.detail
