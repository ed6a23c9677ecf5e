"""Clients that authenticate themselves by a certificate, over gRPC, and over HTTP through a facade."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from dicomstore.v1.search_service_pb2 import QUERY_LEVEL_STUDY, SearchRequest

from facade.app import create_app
from facade.config import Settings as FacadeSettings
from node.calls import LocalChannel, LocalServer
from server.bootstrap.serving import Core, running
from server.rpc.interceptors.peer_certificates import FORWARDED
from tests.certificates import Authority, Pair
from tests.core import CoreClient, Ref, reason_of, settings_for
from tests.integration.facade.serving import serving, serving_application

READER, WRITER, FACADE = "dns:reader.example", "cn:Gateway", "dns:facade.example"
ROLES = {READER: ["globalReader"], WRITER: ["writer"], "email:admin@pacs.example": ["globalAdmin"]}
VIEWER = "https://viewer.example"
FORGED = ((FORWARDED, json.dumps([READER]).encode()),)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@asynccontextmanager
async def core_with_roles(tmp_path: Path, authority: Authority, **settings: Any) -> AsyncIterator[Core]:
    pair = authority.server()
    given = {
        "tls_certificate": str(pair.certificate),
        "tls_key": str(pair.key),
        "tls_client_ca": str(authority.certificate),
        "tls_client_roles": ROLES,
        "grpc_client_certificates": "127.0.0.1:0",
    }
    async with running(settings_for(tmp_path / "data", **given | settings)) as core:
        yield core


def facade_settings(authority: Authority, **more: Any) -> dict[str, Any]:
    pair = authority.server("http")
    return {
        "tls_certificate": str(pair.certificate),
        "tls_key": str(pair.key),
        "tls_client_ca": str(authority.certificate),
        **more,
    }


async def outcome(address: str, credentials: grpc.ChannelCredentials, *metadata: tuple[str, str | bytes]) -> str:
    """Search over gRPC and return OK or the reason of the failure."""
    async with grpc.aio.secure_channel(address, credentials) as channel:
        request = SearchRequest(level=QUERY_LEVEL_STUDY)
        try:
            await CoreClient(channel, Path()).search_stub.Search(request, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            return reason_of(error)
        return "OK"


async def test_the_roles_of_a_certificate_permit_calls_over_grpc(tmp_path: Path, authority: Authority) -> None:
    clients = {
        "OK": authority.issue("reader", "reader.example"),
        "UNAUTHENTICATED": authority.issue("unknown", "unknown.example"),
    }
    async with core_with_roles(tmp_path, authority) as core:
        for expected, client in clients.items():
            found = await outcome(core.client_certificates_address, authority.credentials(client))
            assert found == expected
        assert await outcome(core.address, authority.credentials()) == "UNAUTHENTICATED"
        async with grpc.aio.secure_channel(
            core.client_certificates_address, authority.credentials(clients["OK"])
        ) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await CoreClient(channel, tmp_path).delete(Ref(study_instance_uid="1.2"))
    assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_bearer_credential_takes_precedence_over_a_certificate(tmp_path: Path, authority: Authority) -> None:
    client = authority.credentials(authority.issue("reader", "reader.example"))
    async with core_with_roles(tmp_path, authority) as core:
        found = await outcome(core.client_certificates_address, client, ("authorization", "Bearer wrong"))
    assert found == "UNAUTHENTICATED"


async def test_names_that_a_client_only_claims_are_not_believed(tmp_path: Path, authority: Authority) -> None:
    unknown = authority.credentials(authority.issue("unknown", "unknown.example"))
    async with core_with_roles(tmp_path, authority, tls_facades=FACADE) as core:
        assert await outcome(core.address, authority.credentials(), *FORGED) == "UNAUTHENTICATED"
        assert await outcome(core.client_certificates_address, unknown, *FORGED) == "UNAUTHENTICATED"


async def status_of(web: httpx.AsyncClient, **headers: str) -> int:
    response = await web.get("/v2/studies", headers=headers)
    return response.status_code


async def test_a_facade_in_the_same_process_passes_certificates_on(tmp_path: Path, authority: Authority) -> None:
    reader, unknown = authority.issue("reader", "reader.example"), authority.issue("unknown", "unknown.example")
    async with core_with_roles(tmp_path, authority) as core:
        local = LocalServer(core.interceptors)
        core.register(local)
        settings = FacadeSettings(**facade_settings(authority))
        for client, expected in ((reader, 204), (unknown, 401), (None, 401)):
            app = create_app(settings, LocalChannel(local))
            async with serving_application(app, authority.context(client)) as web:
                assert await status_of(web) == expected
                assert await status_of(web, **{FORWARDED: json.dumps([READER])}) == expected
                assert (await web.delete("/v2/studies/1.2")).status_code == {204: 403, 401: 401}[expected]


@pytest.mark.parametrize(("is_trusted", "expected"), [(True, 204), (False, 401)])
async def test_a_separate_facade_is_believed_if_the_core_trusts_its_certificate(
    is_trusted: bool, expected: int, tmp_path: Path, authority: Authority
) -> None:
    facade = authority.issue("facade", "facade.example")
    reader = authority.issue("reader", "reader.example")
    async with core_with_roles(tmp_path, authority, tls_facades=FACADE if is_trusted else "") as core:
        settings = to_core(core, authority, facade)
        async with serving(verify=authority.context(reader), **settings) as web:
            assert await status_of(web) == expected
        async with serving(verify=authority.context(), **settings) as web:
            assert await status_of(web) == 401


async def test_a_facade_never_lends_its_own_roles_to_clients(tmp_path: Path, authority: Authority) -> None:
    facade = authority.issue("facade", "reader.example")
    async with core_with_roles(tmp_path, authority) as core:
        assert await outcome(core.client_certificates_address, authority.credentials(facade)) == "OK"
        async with serving(verify=authority.context(), **to_core(core, authority, facade)) as web:
            assert await status_of(web) == 401


def to_core(core: Core, authority: Authority, facade: Pair) -> dict[str, Any]:
    return facade_settings(
        authority,
        core=f"https://{core.client_certificates_address}",
        core_ca=str(authority.certificate),
        core_certificate=str(facade.certificate),
        core_key=str(facade.key),
    )


async def test_names_are_the_same_over_both_interfaces(tmp_path: Path, authority: Authority) -> None:
    clients = {
        204: [
            authority.issue("dns", "reader.example", common_name="Nobody"),
            authority.issue("email", "admin@pacs.example"),
            authority.issue("cn", "10.0.0.1", common_name="Gateway"),
        ],
        401: [authority.issue("other", "other.example", common_name="Gateway")],
    }
    async with core_with_roles(tmp_path, authority) as core:
        local = LocalServer(core.interceptors)
        core.register(local)
        settings = FacadeSettings(**facade_settings(authority))
        for expected, pairs in clients.items():
            for client in pairs:
                app = create_app(settings, LocalChannel(local))
                async with serving_application(app, authority.context(client)) as web:
                    assert await status_of(web) == expected
                found = await outcome(core.client_certificates_address, authority.credentials(client))
                assert found == ("OK" if expected == 204 else "UNAUTHENTICATED")


@pytest.mark.parametrize(
    ("site", "expected"), [("same-origin", 404), ("none", 404), ("cross-site", 401), ("same-site", 401)]
)
async def test_pages_of_permitted_origins_cannot_change_anything_with_the_certificate_of_a_browser(
    site: str, expected: int, tmp_path: Path, authority: Authority
) -> None:
    admin = authority.issue("admin", "admin@pacs.example")
    async with core_with_roles(tmp_path, authority) as core:
        local = LocalServer(core.interceptors)
        core.register(local)
        settings = FacadeSettings(**facade_settings(authority, cors_origins=VIEWER))
        app = create_app(settings, LocalChannel(local))
        async with serving_application(app, authority.context(admin)) as web:
            headers = {"Sec-Fetch-Site": site, "Origin": VIEWER}
            response = await web.delete("/v2/studies/1.2", headers=headers)
    assert response.status_code == expected


async def test_a_core_with_authentication_listens_for_other_machines_and_its_facade_serves(
    tmp_path: Path, authority: Authority
) -> None:
    async with core_with_roles(tmp_path, authority, grpc_client_certificates="0.0.0.0:0") as core:
        assert core.client_certificates_address.startswith("0.0.0.0:")
        settings = {"core": f"https://{core.address}", "core_ca": str(authority.certificate), "workers": 1}
        app = create_app(FacadeSettings(http="0.0.0.0:8080", **settings))
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client,
        ):
            response = await client.get("http://127.0.0.1/v2/studies")
    assert response.status_code == 401


async def test_revoked_certificates_are_refused_at_both_interfaces(tmp_path: Path, authority: Authority) -> None:
    """RFC 5280 section 5. The changed list is used within seconds, also for calls on connections that exist."""
    reader, other = authority.issue("reader", "reader.example"), authority.issue("other", "reader.example")
    lists = str(authority.revoke(other))
    async with core_with_roles(tmp_path, authority, tls_client_crl=lists) as core:
        address = core.client_certificates_address
        assert await outcome(address, authority.credentials(reader)) == "OK"
        assert await outcome(address, authority.credentials(other)) == "UNAUTHENTICATED"
        assert await outcome(address, authority.credentials(other), ("authorization", "Bearer x")) == "UNAUTHENTICATED"
        local = LocalServer(core.interceptors)
        core.register(local)
        app = create_app(FacadeSettings(**facade_settings(authority, tls_client_crl=lists)), LocalChannel(local))
        async with serving_application(app, authority.context(reader)) as web:
            assert await status_of(web) == 204
        async with serving_application(app, authority.context(other)) as web:
            with pytest.raises(httpx.TransportError):
                await status_of(web)
        async with grpc.aio.secure_channel(address, authority.credentials(reader)) as channel:
            stub, request = CoreClient(channel, Path()).search_stub, SearchRequest(level=QUERY_LEVEL_STUDY)
            await stub.Search(request)
            authority.revoke(other, reader)
            refused = await _refusal(lambda: stub.Search(request))
    assert "The certificate of the client is not accepted: it is revoked." in refused


async def _refusal(call: Callable[[], Awaitable[object]]) -> str:
    """Repeat a call until it is refused; return the message."""
    async with asyncio.timeout(20):
        while True:
            try:
                await call()
            except grpc.aio.AioRpcError as error:
                return error.details() or ""
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("days", [-1, None])
async def test_certificates_are_refused_without_a_valid_revocation_list_of_their_authority(
    days: int | None, tmp_path: Path, authority: Authority
) -> None:
    reader = authority.issue("reader", "reader.example")
    lists = authority.revoke(days=days) if days else Authority(tmp_path, "another").revoke()
    async with core_with_roles(tmp_path, authority, tls_client_crl=str(lists)) as core:
        assert await outcome(core.client_certificates_address, authority.credentials(reader)) == "UNAUTHENTICATED"
        app = create_app(FacadeSettings(**facade_settings(authority, tls_client_crl=str(lists))))
        async with serving_application(app, authority.context(reader)) as web:
            with pytest.raises(httpx.TransportError):
                await status_of(web)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tls_client_roles": {"reader.example": ["globalReader"]}}, "is not a name in a certificate"),
        ({"tls_facades": "facade.example"}, "is not a name in a certificate"),
        ({"tls_client_roles": {READER: ["reader"]}}, "has roles that do not exist: reader"),
        ({"tls_facades": READER}, "a facade cannot have roles of its own: dns:reader.example"),
        ({"tls_client_ca": "", "grpc_client_certificates": ""}, "tls_client_roles and tls_facades need tls_client_ca"),
    ],
)
async def test_contradictory_settings_are_refused(
    settings: dict[str, Any], message: str, tmp_path: Path, authority: Authority
) -> None:
    with pytest.raises(ValueError, match=message):
        async with core_with_roles(tmp_path, authority, **settings):
            pass
