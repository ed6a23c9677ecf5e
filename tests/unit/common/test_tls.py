"""Certificate files and settings of TLS."""

import contextlib
import ssl
from pathlib import Path

import pytest
from pydantic import ValidationError

import cli.config
import facade.config
import server.config
from common.tls import TlsError, TlsFiles, TlsPaths, is_exposed, server_context
from common.tls_settings import listener_files
from tests.certificates import Authority, Pair


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Authority(tmp_path).server()


def paths(pair: Pair) -> TlsPaths:
    return TlsPaths(str(pair.certificate), str(pair.key))


def test_files_are_loaded_again_when_they_have_not_changed_between_two_checks(pair: Pair, tmp_path: Path) -> None:
    files = TlsFiles(paths(pair), "tls")
    before = files.content
    assert not files.refresh()

    pair.replace(Authority(tmp_path, "other").server("new"))

    assert not files.refresh()
    assert files.refresh()
    assert files.content != before
    assert not files.refresh()


def test_a_missing_file_is_waited_for(pair: Pair) -> None:
    files = TlsFiles(paths(pair), "tls")
    before = files.content
    moved = pair.certificate.rename(pair.certificate.with_suffix(".old"))
    assert [files.refresh() for _ in range(3)] == [False] * 3
    assert files.content is before

    moved.rename(pair.certificate)

    files.refresh()
    assert not files.refresh()


def test_an_encrypted_key_is_refused(pair: Pair) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    pair.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(TlsError, match="tls_key cannot be used: the private key is encrypted"):
        TlsFiles(paths(pair), "tls")


def test_an_authority_that_is_not_pem_is_refused(pair: Pair) -> None:
    with pytest.raises(TlsError, match="tls_client_ca cannot be used: not in PEM format"):
        TlsFiles(TlsPaths(str(pair.certificate), str(pair.key), __file__), "tls")


@pytest.mark.parametrize(
    ("mode", "exposed"), [(0o600, False), (0o400, False), (0o640, False), (0o644, True), (0o660, True)]
)
def test_a_key_of_root_may_be_readable_by_one_group(mode: int, exposed: bool, pair: Pair) -> None:
    pair.key.chmod(mode)
    if pair.key.stat().st_uid != 0 and mode == 0o640:
        exposed = True
    assert is_exposed(str(pair.key)) is exposed


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, session: ssl.SSLSession | None) -> ssl.SSLObject:
    """Connect a client and a server in memory; return the client's side."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    of_client = client.wrap_bio(to_client, to_server, server_hostname="localhost", session=session)
    of_server = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (of_client, of_server):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    of_server.write(b"!")
    assert of_client.read(1) == b"!"  # with the tickets of TLS 1.3
    return of_client


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_not_resumed_after_a_change_of_files(version: ssl.TLSVersion, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.server()
    content = TlsFiles(TlsPaths(str(pair.certificate), str(pair.key), str(authority.certificate)), "tls").content
    before, after = (server_context(content, alpn=["http/1.1"], certificate_required=True) for _ in range(2))
    client = authority.context(authority.issue("client", "client.example"))
    client.maximum_version = version

    session = handshake(client, before, None).session

    assert handshake(client, before, session).session_reused
    assert not handshake(client, after, session).session_reused


def test_the_content_of_files_is_not_displayed(pair: Pair) -> None:
    assert "PRIVATE" not in repr(TlsFiles(paths(pair), "tls").content)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tls_certificate": "a"}, "tls_certificate and tls_key belong together"),
        ({"tls_key": "a"}, "tls_certificate and tls_key belong together"),
        ({"tls_client_ca": "a"}, "tls_client_ca needs TLS"),
        ({"tls_client_required": True}, "tls_client_required needs tls_client_ca"),
        ({"tls_client_crl": "a"}, "tls_client_crl needs tls_client_ca"),
    ],
)
@pytest.mark.parametrize("program", [server.config.Settings, facade.config.Settings])
def test_incomplete_settings_of_a_listener_are_refused(
    program: type[server.config.Settings], settings: dict[str, str], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        program(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"core": "https://c:1", "core_key": "a"}, "core_certificate and core_key belong together"),
        ({"core": "c:1", "core_ca": "a"}, "need a core with TLS"),
        ({"core": "http://c:1"}, "write HOST:PORT"),
        ({"core": "https://c:1/v2"}, "write HOST:PORT"),
    ],
)
@pytest.mark.parametrize("program", [cli.config.Settings, facade.config.Settings])
def test_incomplete_settings_of_a_client_of_the_core_are_refused(
    program: type[cli.config.Settings], settings: dict[str, str], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        program(**settings)


def test_the_second_address_of_the_core_needs_authorities_of_clients() -> None:
    with pytest.raises(ValidationError, match="grpc_client_certificates needs tls_client_ca"):
        server.config.Settings(grpc_client_certificates="127.0.0.1:1")


def test_without_certificate_there_is_no_tls() -> None:
    assert listener_files(facade.config.Settings()) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "not in PEM format"), ("foreign", "a list is not signed by its authority")],
)
def test_unusable_revocation_lists_are_refused(content: str, message: str, pair: Pair, tmp_path: Path) -> None:
    authority, lists = Authority(tmp_path, "clients"), tmp_path / "clients.crl"
    lists.write_bytes(b"no list")
    if content:
        authority.revoke(key_of=Authority(tmp_path, "other")).rename(lists)
    used = TlsPaths(str(pair.certificate), str(pair.key), str(authority.certificate), str(lists))
    with pytest.raises(TlsError, match=f"tls_client_crl cannot be used: {message}"):
        TlsFiles(used, "tls")


@pytest.mark.parametrize(("days", "verb"), [(-1, "expired"), (0.5, "expires"), (2, "")])
def test_a_revocation_list_that_ends_soon_is_a_warning(days: float, verb: str, pair: Pair, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "clients")
    lists = authority.revoke(days=days)
    files = TlsFiles(TlsPaths(str(pair.certificate), str(pair.key), str(authority.certificate), str(lists)), "tls")
    found = [warning for warning in files.warnings() if "revocation list" in warning]
    assert [f" {verb} " in warning for warning in found] == ([True] if verb else [])
