"""`dimse echo` and `dimse find`: the connection to a remote, its answers, and why it fails."""

import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, evt
from typer.testing import CliRunner

from dimse.__main__ import app
from dimse.associations.errors import CannotConnect
from dimse.associations.requestor import Requestor
from dimse.config import RemoteSettings, Settings, dimse_tls_files
from dimse.gateway import limits_of
from dimse.services.echo import VERIFICATION, verify
from tests.certificates import Authority
from tests.data import SECONDARY_CAPTURE, part10
from tests.integration.dimse.remotes import Remote, running_remote


@pytest.fixture(scope="module")
def remote() -> Iterator[Remote]:
    with running_remote() as running:
        yield running


def verified(remote: dict[str, Any], **settings: Any) -> float:
    """Verify the connection to a remote, with short time limits."""
    limits = {"association_seconds": 3, "dimse_seconds": 3}
    chosen = Settings(**(limits | settings))
    return verify(Requestor(chosen, limits_of(chosen), dimse_tls_files(chosen)), RemoteSettings(**remote))


def problem(remote: dict[str, Any], **settings: Any) -> str:
    with pytest.raises(CannotConnect) as caught:
        verified(remote, **settings)
    return caught.value.problem


def test_a_remote_that_responds_is_verified(remote: Remote) -> None:
    assert verified(remote.settings()) > 0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"ae_title": "OTHER"}, "CALLED_AE_REJECTED"),
        ({"port": 1}, "CONNECTION_REFUSED"),
        ({"host": "unknown.invalid"}, "UNKNOWN_HOST"),
        ({"tls": True}, "TLS_FAILED"),
        ({"host": "", "addresses": ["127.0.0.1"]}, "NO_HOST"),
    ],
)
def test_why_there_is_no_association(remote: Remote, changes: dict[str, Any], expected: str) -> None:
    assert problem(remote.settings() | changes) == expected


def test_a_remote_that_does_not_answer_is_a_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert problem({"ae_title": "REMOTE", "host": "127.0.0.1", "port": port}, association_seconds=0.2) == "TIMEOUT"


@pytest.mark.parametrize(
    ("handlers", "contexts", "expected"),
    [
        ([(evt.EVT_C_ECHO, lambda event: 0x0122)], [VERIFICATION], "STATUS_0122"),
        ([(evt.EVT_C_ECHO, lambda event: event.assoc.abort())], [VERIFICATION], "ASSOCIATION_LOST"),
        ([], ["1.2.840.10008.5.1.4.1.1.2"], "NO_CONTEXT"),
    ],
)
def test_a_remote_may_refuse_the_request(handlers: list[Any], contexts: list[str], expected: str) -> None:
    ae = AE("REMOTE")
    for sop_class in contexts:
        ae.add_supported_context(sop_class)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    try:
        port = server.socket.getsockname()[1]
        assert problem({"ae_title": "REMOTE", "host": "127.0.0.1", "port": port}) == expected
    finally:
        ae.shutdown()


def test_a_remote_with_tls_is_verified_with_the_certificate_of_its_authority(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path, "other")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.certificate))
    context.verify_mode = ssl.CERT_REQUIRED
    pair, own = authority.server(), authority.issue("own", "gateway.example")
    context.load_cert_chain(pair.certificate, pair.key)
    files = {"dimse_tls_certificate": str(own.certificate), "dimse_tls_key": str(own.key)}
    ae = AE("REMOTE")
    ae.add_supported_context(VERIFICATION)
    server = ae.start_server(("127.0.0.1", 0), block=False, ssl_context=context)
    assert server is not None
    remote = {"ae_title": "REMOTE", "host": "127.0.0.1", "port": server.socket.getsockname()[1], "tls": True}
    try:
        assert verified(remote, dimse_tls_ca=str(authority.certificate), **files) > 0
        assert problem(remote, dimse_tls_ca=str(other.certificate), **files) == "TLS_FAILED"
    finally:
        ae.shutdown()


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["PACS"], 0, "REMOTE at 127.0.0.1:{port} responds in"),
        (["127.0.0.1:{port}", "--ae-title", "REMOTE"], 0, "REMOTE at 127.0.0.1:{port} responds in"),
        (["127.0.0.1:{port}"], 1, "ANY-SCP at 127.0.0.1:{port}: the remote does not have the called AE title"),
        (["NONE"], 2, "no remote NONE"),
        (["127.0.0.1:0"], 2, "port"),
    ],
)
def test_the_command_says_what_is_wrong(
    remote: Remote, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, text: str
) -> None:
    monkeypatch.setenv("DICOMSTORE_REMOTES", json.dumps({"PACS": remote.settings()}))
    written = [argument.format(port=remote.port) for argument in arguments]
    result = CliRunner().invoke(app, ["echo", *written])
    assert result.exit_code == code, result.output
    assert text.format(port=remote.port) in result.output


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (
            ["PatientID=P1", "PatientName"],
            0,
            [{"PatientID": "P1", "PatientName": "M\u00fcller", "StudyInstanceUID": "1.9.30"}],
        ),
        (["PatientID=P2"], 0, []),
        (["SOPClassUID", "--level", "image"], 0, [{"SOPClassUID": SECONDARY_CAPTURE, "SOPInstanceUID": "1.9.30.1"}]),
        (["NoKeyword=1"], 2, "NoKeyword"),
        (["PatientID", "--level", "patient"], 2, "level"),
        (["PatientID", "--ae-title", "OTHER"], 1, "CALLED_AE_REJECTED"),
    ],
)
def test_find_prints_the_matches(remote: Remote, arguments: list[str], code: int, expected: Any) -> None:
    values: dict[str, Any] = {
        "StudyInstanceUID": "1.9.30",
        "SOPInstanceUID": "1.9.30.1",
        "SpecificCharacterSet": "ISO_IR 192",
    }
    remote.has(part10(PatientID="P1", PatientName="M\u00fcller", **values))
    title = [] if "--ae-title" in arguments else ["--ae-title", "REMOTE"]
    result = CliRunner().invoke(app, ["find", f"127.0.0.1:{remote.port}", *arguments, *title])
    assert result.exit_code == code, result.output
    if code:
        assert expected in result.output
    else:
        assert [json.loads(line) for line in result.stdout.splitlines()] == expected
