"""Login links: sessions in a browser without an identity provider."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from dicomstore.v1 import login_service_pb2 as pb
from dicomstore.v1 import login_service_pb2_grpc, token_service_pb2, token_service_pb2_grpc

from tests.audit import audited
from tests.core import CoreClient, reason_of
from tests.integration.conftest import a_core
from tests.integration.facade.serving import JSON, serving
from tests.integration.security.callers import bearer, create_token, operator_token, revoke

PAGE = {"Accept": "text/html,*/*;q=0.8"}
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
NAME = "dicomstore-session"


@asynccontextmanager
async def an_archive(data: Path, **settings: Any) -> AsyncIterator[tuple[CoreClient, httpx.AsyncClient]]:
    async with a_core(data, **settings) as core, serving(core.address) as web:
        yield core, web


async def code_of(core: CoreClient, token: str, *roles: str) -> str:
    """Create a login link; return its code."""
    stub = login_service_pb2_grpc.LoginServiceStub(core.channel)
    answer = await stub.CreateLoginLink(pb.CreateLoginLinkRequest(roles=roles), metadata=bearer(token))
    return str(answer.code)


async def reason(call: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return reason_of(caught.value)


async def test_a_link_opens_one_session_with_the_roles_of_its_creator(tmp_path: Path) -> None:
    async with an_archive(tmp_path, auth_required=True) as (core, web):
        code = await code_of(core, operator_token(tmp_path))
        url = f"/login/link/{code}"
        page = await web.get(url, headers=PAGE)
        assert page.status_code == 200
        assert f'<form method="post" action="{url}">' in page.text
        assert (page.headers["cache-control"], page.headers["referrer-policy"]) == ("no-store", "no-referrer")
        assert (await web.get(url, headers=PAGE)).status_code == 200  # looking at the page does not use it up
        assert (await web.post(url, headers={"Sec-Fetch-Site": "cross-site"})).status_code == 403
        opened = await web.post(url, headers=SAME_ORIGIN)
        assert opened.status_code == 303
        assert re.fullmatch(rf"{NAME}=[\w-]+; Path=/; HttpOnly; SameSite=Lax", opened.headers["set-cookie"])
        assert (await web.get("/v2/shares")).status_code == 200
        used = await web.post(url, headers=SAME_ORIGIN)
        assert used.status_code == 404
        assert "used or has expired" in used.text
        assert code not in used.text


async def test_logout_revokes_the_token_of_the_session(tmp_path: Path) -> None:
    async with an_archive(tmp_path, auth_required=True) as (core, web):
        operator = operator_token(tmp_path)
        await web.post(f"/login/link/{await code_of(core, operator)}", headers=SAME_ORIGIN)
        cookie = {"Cookie": f"{NAME}={web.cookies[NAME]}"}
        assert (await web.post("/logout", headers=SAME_ORIGIN)).headers["location"] == str(web.base_url) + "/"
        assert NAME not in web.cookies
        assert (await web.get("/v2/studies", headers=JSON | cookie)).status_code == 401
        stub = token_service_pb2_grpc.TokenServiceStub(core.channel)
        wanted = token_service_pb2.ListTokensRequest(include_invalid=True)
        [token] = (await stub.ListTokens(wanted, metadata=bearer(operator))).tokens
        assert (token.name, token.creator, list(token.roles)) == ("browser session", "operator", ["globalAdmin"])
        assert token.HasField("revoke_time")


async def test_a_link_has_the_requested_roles_but_no_more_than_its_creator(tmp_path: Path) -> None:
    async with an_archive(tmp_path, auth_required=True) as (core, web):
        operator = operator_token(tmp_path)
        await web.post(f"/login/link/{await code_of(core, operator, 'globalReader')}", headers=SAME_ORIGIN)
        assert (await web.get("/v2/studies", headers=JSON)).status_code == 204
        assert (await web.delete("/v2/studies/1.2", headers=SAME_ORIGIN)).status_code == 403
        assert await reason(code_of(core, operator, "unknown")) == "INVALID_FIELD"
        reader = await create_token(core.channel, "globalReader", by=bearer(operator))
        assert await reason(code_of(core, reader.secret)) == "PERMISSION_DENIED"


async def test_a_link_is_invalid_once_the_token_of_its_creator_is_revoked(tmp_path: Path) -> None:
    async with an_archive(tmp_path, auth_required=True) as (core, web):
        operator = bearer(operator_token(tmp_path))
        admin = await create_token(core.channel, "globalAdmin", by=operator)
        code = await code_of(core, admin.secret)
        await revoke(core.channel, admin.token, operator)
        refused = await web.post(f"/login/link/{code}", headers=SAME_ORIGIN)
        assert refused.status_code == 404
        assert NAME not in web.cookies


async def test_only_sessions_of_login_links_can_be_ended(tmp_path: Path) -> None:
    async with an_archive(tmp_path, auth_required=True) as (core, _):
        stub = login_service_pb2_grpc.LoginServiceStub(core.channel)
        operator = operator_token(tmp_path)
        assert await reason(stub.EndLogin(pb.EndLoginRequest(), metadata=bearer(operator))) == "LOGIN_LINK_NOT_FOUND"
        token = await create_token(core.channel, "globalReader", by=bearer(operator))
        assert (
            await reason(stub.EndLogin(pb.EndLoginRequest(), metadata=bearer(token.secret))) == "LOGIN_LINK_NOT_FOUND"
        )
        for code in ("", "dcml_", f"dcml_{'A' * 43}", "x" * 1000):
            call = stub.RedeemLoginLink(pb.RedeemLoginLinkRequest(code=code))
            assert await reason(call) == "LOGIN_LINK_NOT_FOUND"


async def test_while_authentication_is_off_no_link_is_created(tmp_path: Path) -> None:
    async with an_archive(tmp_path) as (core, web):
        assert await reason(code_of(core, operator_token(tmp_path))) == "AUTHENTICATION_OFF"
        assert (await web.get("/v2/studies", headers=JSON)).status_code == 204


async def test_an_invented_code_is_refused_without_a_durable_record(tmp_path: Path) -> None:
    """Anybody can send one, so it must not make the core write before it answers."""
    async with an_archive(tmp_path, auth_required=True) as (core, _):
        stub = login_service_pb2_grpc.LoginServiceStub(core.channel)
        invented = pb.RedeemLoginLinkRequest(code=f"dcml_{'A' * 43}")
        assert await reason(stub.RedeemLoginLink(invented)) == "LOGIN_LINK_NOT_FOUND"
        await stub.RedeemLoginLink(pb.RedeemLoginLinkRequest(code=await code_of(core, operator_token(tmp_path))))
    records = await audited(tmp_path, count=3, rpc="LoginService/RedeemLoginLink")
    assert [(record["kind"], record.get("code")) for record in records] == [
        ("executed", "NOT_FOUND"),
        ("executing", None),
        ("executed", "OK"),
    ]
