"""Archive tokens, and when authentication is on."""

import asyncio
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from dicomstore.v1 import change_feed_service_pb2 as change_feed
from dicomstore.v1 import token_service_pb2 as pb
from dicomstore.v1 import token_service_pb2_grpc

from server.adapters.sql.engine import open_database
from server.bootstrap.maintenance import recover
from server.domain.security.credentials import AuthenticationState
from server.domain.security.token_verifier import TokenVerifier
from server.model.errors import Unauthenticated
from server.model.security.archive_token import ArchiveToken, digest, new_id, new_secret
from server.model.security.roles import Roles
from tests.core import CoreClient, settings_for
from tests.data import part10
from tests.databases import migrated
from tests.integration.conftest import a_core
from tests.integration.security.callers import (
    Metadata,
    bearer,
    create_token,
    error_info,
    in_future,
    operator_token,
    outcome,
    revoke,
    search_studies,
    upload,
)
from tests.integration.test_access import METHODS
from tests.integration.test_opening import remove_index

MISSING, INVALID = "UNAUTHENTICATED missing", "UNAUTHENTICATED invalid"


async def test_the_first_token_turns_authentication_on_and_revoking_it_does_not_turn_it_off(core: CoreClient) -> None:
    assert await search_studies(core.channel) == "OK"
    assert await search_studies(core.channel, bearer("dcmt_anything")) == "OK"
    created = await create_token(core.channel, "globalReader")
    assert await search_studies(core.channel) == MISSING
    assert await search_studies(core.channel, bearer(created.secret)) == "OK"
    await revoke(core.channel, created.token, bearer(operator_token(core.data)))
    assert await search_studies(core.channel, bearer(created.secret)) == INVALID
    assert await search_studies(core.channel) == MISSING


async def test_two_cores_of_one_archive_agree_within_seconds(tmp_path: Path) -> None:
    async with a_core(tmp_path) as one, a_core(tmp_path) as other:
        assert await search_studies(other.channel) == "OK"
        created = await create_token(one.channel, "globalReader")
        await becomes(other, MISSING)
        assert await search_studies(other.channel, bearer(created.secret)) == "OK"
        await revoke(one.channel, created.token, bearer(operator_token(tmp_path)))
        await becomes(other, INVALID, bearer(created.secret))


async def becomes(core: CoreClient, outcome: str, metadata: Metadata = ()) -> None:
    """Search until the outcome is this one; at most two seconds, and some for a busy machine."""
    async with asyncio.timeout(5):
        while True:
            if await search_studies(core.channel, metadata) == outcome:
                return
            await asyncio.sleep(0.02)


WATCHES = [name for name, method in METHODS.items() if method.name.startswith("Watch")]


@pytest.mark.parametrize("name", WATCHES)
async def test_a_watch_ends_when_its_token_is_revoked(core: CoreClient, name: str) -> None:
    created = await create_token(core.channel, "globalAdmin")
    service, _, method = name.rpartition(".")
    changes = change_feed.WatchChangesRequest(checkpoint_interval={"seconds": 1}).SerializeToString()
    request = changes if method == "WatchChanges" else b""
    watch: Any = core.channel.unary_stream(f"/{service}/{method}")(request, metadata=bearer(created.secret))
    assert isinstance(await watch.read(), bytes)
    await revoke(core.channel, created.token, bearer(operator_token(core.data)))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await read_to_the_end(watch)
    assert error_info(caught.value).reason == "UNAUTHENTICATED"


async def read_to_the_end(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


async def test_tokens_and_the_fact_that_they_exist_outlive_a_restart(tmp_path: Path) -> None:
    async with a_core(tmp_path) as core:
        created = await create_token(core.channel, "globalReader")
    async with a_core(tmp_path) as core:
        assert await search_studies(core.channel) == MISSING
        assert await search_studies(core.channel, bearer(created.secret)) == "OK"


@pytest.mark.parametrize(
    ("role", "searching", "storing", "administering"),
    [
        ("globalReader", "OK", "PERMISSION_DENIED", False),
        ("writer", "OK", "OK", False),
        ("auditor", "PERMISSION_DENIED", "PERMISSION_DENIED", False),
        ("globalAdmin", "OK", "OK", True),
    ],
)
async def test_a_token_has_the_permissions_of_its_roles(
    core: CoreClient, role: str, searching: str, storing: str, administering: bool
) -> None:
    credentials = bearer((await create_token(core.channel, role)).secret)
    assert await search_studies(core.channel, credentials) == searching
    assert await upload(core.channel, credentials) == storing
    if administering:
        await create_token(core.channel, "writer", by=credentials)
    else:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await create_token(core.channel, "auditor", by=credentials)
        assert dict(error_info(caught.value).metadata) == {"action": "administer"}


async def test_a_token_may_be_limited_to_partitions(partitioned_core: CoreClient) -> None:
    channel = partitioned_core.channel
    credentials = bearer((await create_token(channel, "writer", partitions=["Microsoft.Default", "ward"])).secret)
    assert await search_studies(channel, credentials, "Microsoft.Default") == "OK"
    assert await search_studies(channel, credentials, "other") == "NOT_FOUND"


async def test_the_partitions_of_a_token_must_exist_unless_they_are_to_be_created(tmp_path: Path) -> None:
    roles = {"clerk": {"actions": ["administer", "read"]}}
    async with a_core(tmp_path, partitions=True, roles=roles) as core:
        clerk = bearer((await create_token(core.channel, "clerk")).secret)
        operator = bearer(operator_token(tmp_path))

        async def created(by: Metadata, **fields: Any) -> str:
            valid = {"name": "n", "roles": ["globalReader"], "expire_time": in_future(days=1), "partitions": ["ward"]}
            request = pb.CreateTokenRequest(**valid, **fields)
            return await outcome(
                token_service_pb2_grpc.TokenServiceStub(core.channel).CreateToken(request, metadata=by)
            )

        assert await created(operator) == "NOT_FOUND"
        assert await created(clerk, create_partitions=True) == "PERMISSION_DENIED"
        assert await created(operator, create_partitions=True) == "OK"
        assert await created(clerk) == "OK"


@pytest.mark.parametrize(
    "values",
    [
        ("", "Basic dXNlcjpwYXNz"),
        ("Basic dXNlcjpwYXNz",),
        ("Token dcmt_x",),
    ],
)
async def test_other_schemes_are_no_credential(tmp_path: Path, values: tuple[str, ...]) -> None:
    async with a_core(tmp_path, auth_required=True) as core:
        metadata = tuple(("authorization", value) for value in values)
        assert await search_studies(core.channel, metadata) == (MISSING if len(values) == 1 else INVALID)


async def test_the_scheme_may_have_any_case_and_a_malformed_token_is_invalid(tmp_path: Path) -> None:
    async with a_core(tmp_path, auth_required=True) as core:
        token = operator_token(core.data)
        assert await search_studies(core.channel, (("authorization", f"bEARER  {token} "),)) == "OK"
        for malformed in ("", "x", "dcmt_", "dcmo_", f"{token}x", token[:-1], "dcmt_" + "x" * 5000, f"{token},{token}"):
            assert await search_studies(core.channel, bearer(malformed)) == INVALID
        assert await search_studies(core.channel, (*bearer(token), *bearer(token))) == INVALID


async def test_the_operator_token_is_private_and_remains(tmp_path: Path) -> None:
    async with a_core(tmp_path, auth_required=True) as core:
        token = operator_token(core.data)
        assert stat.S_IMODE((tmp_path / "operator.token").stat().st_mode) == 0o600
        assert await search_studies(core.channel) == MISSING
        await create_token(core.channel, "globalAdmin", by=bearer(token))
    async with a_core(tmp_path, auth_required=True) as core:
        assert operator_token(core.data) == token
        assert await search_studies(core.channel, bearer(token)) == "OK"


@pytest.mark.parametrize("mode", [0o640, 0o604])
async def test_an_operator_token_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    async with a_core(tmp_path, auth_required=True) as core:
        token = operator_token(core.data)
    (tmp_path / "operator.token").chmod(mode)
    async with a_core(tmp_path, auth_required=True) as core:
        assert await search_studies(core.channel, bearer(token)) == INVALID


async def test_authentication_can_be_disabled(tmp_path: Path) -> None:
    async with a_core(tmp_path) as core:
        await create_token(core.channel, "globalReader")
    async with a_core(tmp_path, auth_required=True, insecure_without_authentication=True) as core:
        assert await upload(core.channel) == "OK"


async def test_tokens_are_listed_with_creator_and_last_use(tmp_path: Path) -> None:
    async with a_core(tmp_path) as core:
        first = await create_token(core.channel, "globalAdmin")
        second = await create_token(core.channel, "writer", by=bearer(first.secret))
    async with a_core(tmp_path) as core:
        stub = token_service_pb2_grpc.TokenServiceStub(core.channel)
        page = await stub.ListTokens(pb.ListTokensRequest(page_size=1), metadata=bearer(first.secret))
        assert [(token.id, token.creator) for token in page.tokens] == [
            (second.token.id, f"token:{first.token.id}"),
        ]
        request = pb.ListTokensRequest(page_size=1, page_token=page.next_page_token)
        page = await stub.ListTokens(request, metadata=bearer(first.secret))
        assert [token.creator for token in page.tokens] == ["anonymous"]
        assert page.tokens[0].HasField("last_use_time")
        assert page.next_page_token == ""
        assert first.secret.encode() not in stored_bytes(tmp_path)


async def test_an_archive_whose_index_was_lost_is_not_open(tmp_path: Path) -> None:
    async with a_core(tmp_path) as core:
        await core.stored(part10())
        created = await create_token(core.channel, "globalReader")
    remove_index(tmp_path)
    await recover(settings_for(tmp_path))
    async with a_core(tmp_path) as core:
        assert await search_studies(core.channel) == MISSING
        assert await search_studies(core.channel, bearer(created.secret)) == INVALID
        assert await search_studies(core.channel, bearer(operator_token(tmp_path))) == "OK"


def stored_bytes(data: Path) -> bytes:
    """Return the files of the index."""
    return b"".join(path.read_bytes() for path in data.glob("index.db*"))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "a" * 129}, "name"),
        ({"roles": []}, "roles"),
        ({"roles": ["root"]}, "roles"),
        ({"expire_time": {"seconds": 1}}, "expire_time"),
        ({"expire_time": {"seconds": 2**62}}, "expire_time"),
        ({"expire_time": None}, "expire_time"),
        ({"partitions": ["a/b"]}, "partitions"),
    ],
)
async def test_an_invalid_token_is_not_created(core: CoreClient, changes: dict[str, object], field: str) -> None:
    valid = {"name": "n", "roles": ["writer"], "expire_time": {"seconds": 2**33}}
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await token_service_pb2_grpc.TokenServiceStub(core.channel).CreateToken(
            pb.CreateTokenRequest(**{**valid, **changes})  # type: ignore[arg-type]
        )
    assert error_info(caught.value).metadata["field"] == field
    assert await search_studies(core.channel) == "OK"


class Clock:
    """A clock that a test sets, as wall clock and as monotonic clock."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


async def unrecorded() -> None:
    """Record nothing beside the blobs."""


async def test_other_processes_learn_of_the_first_token_and_of_revocations_within_a_second(tmp_path: Path) -> None:
    url = migrated(tmp_path / "index.db")
    database = open_database(url)
    clock, record = Clock(), database.archive_tokens
    state = AuthenticationState(
        is_required=False, is_disabled=False, tokens_exist=record.exist, remember=unrecorded, clock=clock.monotonic
    )
    verifier = TokenVerifier(tokens=record, roles=Roles(), now=clock.now, clock=clock.monotonic)
    assert not await state.is_on()

    secret = new_secret()
    token = ArchiveToken(new_id(), "n", ("writer",), (), clock.now(), "someone", clock.now() + timedelta(hours=1))
    await record.add(token, digest(secret))
    assert not await state.is_on()
    clock.seconds += 1.01
    assert await state.is_on()

    assert (await verifier.verify(secret)).id == f"token:{token.id}"
    await record.revoke(token.id, clock.now())
    assert (await verifier.verify(secret)).id == f"token:{token.id}"
    clock.seconds += 1.01
    await is_refused(verifier, secret)
    await database.close()


async def test_an_answer_from_before_the_first_token_does_not_turn_authentication_off() -> None:
    answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def tokens_exist() -> bool:
        return await answer

    state = AuthenticationState(is_required=False, is_disabled=False, tokens_exist=tokens_exist, remember=unrecorded)
    early = asyncio.create_task(state.is_on())
    await asyncio.sleep(0)
    await state.token_created()
    answer.set_result(False)
    assert await early
    assert await state.is_on()


async def test_a_cached_token_expires_to_the_second(tmp_path: Path) -> None:
    url = migrated(tmp_path / "index.db")
    database = open_database(url)
    clock, secret = Clock(), new_secret()
    expires = clock.now() + timedelta(seconds=0.5)
    token = ArchiveToken(new_id(), "n", ("writer",), (), clock.now(), "someone", expires)
    await database.archive_tokens.add(token, digest(secret))
    verifier = TokenVerifier(tokens=database.archive_tokens, roles=Roles(), now=clock.now, clock=clock.monotonic)
    await verifier.verify(secret)
    clock.seconds += 0.5
    await is_refused(verifier, secret)
    await database.close()


async def is_refused(verifier: TokenVerifier, secret: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await verifier.verify(secret)
    assert secret not in str(caught.value)


def test_tokens_are_random_and_long() -> None:
    make: Callable[[], str] = new_secret
    secrets = {make() for _ in range(100)}
    assert len(secrets) == 100
    assert {len(secret) for secret in secrets} == {len("dcmt_") + 43}
