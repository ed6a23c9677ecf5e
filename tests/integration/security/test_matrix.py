"""Every rpc and every HTTP route with every kind of credential.

The rows are those of the contract's descriptors and the facade's route table, so a new rpc or route is covered without
a change here. The expected outcome follows from the action that the contract declares and from the grants of the
credential.
"""

import asyncio
import logging
import re
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import grpc
import httpx
import pytest
import pytest_asyncio
from dicomstore.v1 import access_options_pb2, share_service_pb2, share_service_pb2_grpc
from dicomstore.v1.access_options_pb2 import ACTION_ANONYMOUS, ACTION_AUTHENTICATED, ACTION_OF_OPERATION_TYPE
from dicomstore.v1.resources_pb2 import Address as AddressMessage
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from sqlalchemy import create_engine

from facade import actions
from facade.actions import OPERATIONS, RPCS, action_of
from facade.endpoints import stow
from facade.routes import BARE, DICOM, routes
from facade.routes import Path as Route
from server.adapters.sql.engine import open_database
from server.bootstrap.serving import running
from server.model.access import Action, Grant
from server.model.ids import ARCHIVE, Address, PartitionName, parse_address
from server.model.security.archive_token import ArchiveToken, digest, new_id, new_secret
from server.model.security.roles import Roles
from server.rpc.interceptors.declared_actions import ACTIONS
from tests.contract.recorded_schemas import record
from tests.core import CoreClient, settings_for
from tests.data import part10
from tests.http_connection import Answer, HttpConnection
from tests.identity_provider import AUDIENCE, IdentityProvider, running_identity_provider
from tests.integration.facade.serving import serving
from tests.integration.security.callers import bearer, create_token, operator_token, revoke
from tests.integration.test_access import DECLARED, EXPECTED, METHODS, STUDY, WARD

OTHER = PartitionName("other")
NOT_PERMITTED = "The specified partition does not exist."
IMAGE = {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.3", "SOPInstanceUID": "1.2.3.4"}
UPLOAD = part10(**(IMAGE | {"SOPInstanceUID": "1.2.3.5"}))
PIXELS = {"frames": [b"ab" * 8, b"cd" * 8], "Rows": 4, "Columns": 4}
LISTED_BY_PARTITION = {
    "ShareService.ListShareLinks",
    "ShareService.RevokeShareLink",
    "AuditService.SearchAuditEvents",
    "AuditService.WatchAuditEvents",
    "TransferService.CancelTransfer",
    "TransferService.RetryTransfer",
}
"""Of the archive as a whole, but permitted with access to a partition, as reading is."""


NOT_BY_LINK = {
    "LabelService.ChangeLabels",
    "UpdateRequest",
    "ExportRequest",
    "PUT StoreService.StoreInstances",
    "VersionService.ListVersions",
    "VersionService.CompareVersions",
    "VersionService.RevertInstance",
    "WorkitemService.CreateWorkitem",
    "WorkitemService.GetWorkitem",
    "WorkitemService.UpdateWorkitem",
    "WorkitemService.ChangeWorkitemState",
    "WorkitemService.RequestWorkitemCancellation",
    "WorkitemService.SearchWorkitems",
    "WorkitemEventService.SubscribeToWorkitems",
    "WorkitemEventService.UnsubscribeFromWorkitems",
    "WorkitemEventService.SuspendWorklistSubscription",
    "WorkitemEventService.ListWorkitemSubscribers",
    "WorkitemEventService.ReceiveWorkitemEvents",
    "WorkitemEventService.AcknowledgeWorkitemEvents",
    "WorkitemEventService.WatchWorkitems",
    "TransferService.ListTransfers",
}
"""What no share link permits, although it may grant the action: changes of what is stored, workitems, and transfers."""


class Outcome(Enum):
    """What the credential permits. The numbers are HTTP statuses."""

    PERMITTED = 200
    UNAUTHENTICATED = 401
    FORBIDDEN = 403
    NOT_FOUND = 404


@dataclass(frozen=True)
class Column:
    """A kind of credential: the value of its header, and what it grants; None if it is invalid.

    prefix: of the paths of HTTP requests, in place of the header.
    is_link: it is that of a share link, which permits nothing of `NOT_BY_LINK`.
    """

    name: str
    header: str | None
    grants: tuple[Grant, ...] | None
    prefix: str = ""
    is_link: bool = False

    @property
    def metadata(self) -> list[tuple[str, str]]:
        return [("authorization", self.header)] if self.header is not None else []

    def may_somewhere(self, declared: int, rpc: str | None) -> bool:
        """Return whether the credential grants the action of an rpc at all."""
        if self.is_link and rpc in NOT_BY_LINK:
            return False
        action = ACTIONS.get(declared)
        return action is None or any(action in grant.actions for grant in self.grants or ())

    def outcome(self, declared: int, address: Address, *, narrows: bool, rpc: str | None) -> Outcome:
        """Return what is expected of a call.

        Args:
            rpc: its name.
            declared: the action that the contract declares.
            narrows: a list, which contains what the principal may see.
        """
        if declared == ACTION_ANONYMOUS:
            return Outcome.PERMITTED
        if self.grants is None:
            return Outcome.UNAUTHENTICATED
        action = ACTIONS.get(declared)
        if action is None:  # any principal
            return Outcome.PERMITTED
        grants = [grant for grant in self.grants if action in grant.actions]
        if not grants or (self.is_link and rpc in NOT_BY_LINK):
            return Outcome.FORBIDDEN
        if any(grant.covers(address) for grant in grants):
            return Outcome.PERMITTED
        if address == ARCHIVE:
            is_whole = any(grant.scope.study is None for grant in grants)
            return Outcome.PERMITTED if narrows and is_whole else Outcome.FORBIDDEN
        within = [grant.scope for grant in grants if Grant(frozenset(), address).covers(grant.scope)]
        return Outcome.PERMITTED if narrows and within else Outcome.NOT_FOUND


IN_BACKGROUND = {"audit_outbox", "leases", "study_event_progress", "study_states", "study_events"}
"""Tables that the archive changes by itself after the uploads of the fixture."""


@dataclass(frozen=True)
class Archive:
    """A core with a facade, both with authentication, and the credentials."""

    core: CoreClient
    web: httpx.AsyncClient
    columns: Sequence[Column]

    @property
    def share_token(self) -> str:
        """The token of a valid share link."""
        return next(column.prefix for column in self.columns if column.prefix).removeprefix("/share/")

    def state(self) -> object:
        """Return everything that a denied call must not change: the rows of the index, and the stored bytes."""
        engine = create_engine(f"sqlite:///{self.core.data / 'index.db'}")
        with engine.connect() as connection:
            rows = record(connection)
        engine.dispose()
        for table in IN_BACKGROUND:
            del rows[table]
        for row in rows["archive_tokens"]["rows"]:
            row.pop("last_used")
        blobs = self.core.data / "blobs"
        return rows, {
            path: path.stat().st_size for folder in (blobs, self.core.data / "segments") for path in files(folder)
        }


def files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


@asynccontextmanager
async def an_archive(data: Path, provider: IdentityProvider) -> AsyncIterator[Archive]:
    settings = settings_for(data, partitions=True, auth_issuer=provider.url, auth_audience=AUDIENCE)
    async with (
        running(settings) as core,
        serving(core.address) as web,
        grpc.aio.insecure_channel(core.address) as channel,
    ):
        client = CoreClient(channel, data, core.address)
        admin = bearer(operator_token(data))
        for partition in (WARD, OTHER):
            web_path = f"/v2/partitions/{partition}/studies"
            headers = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"} | dict(admin)
            answer = await web.post(web_path, content=part10(**IMAGE, **PIXELS), headers=headers)
            assert answer.status_code == 200
        yield Archive(client, web, await credentials(channel, data, provider))


async def credentials(channel: grpc.aio.Channel, data: Path, provider: IdentityProvider) -> list[Column]:
    admin = bearer(operator_token(data))
    roles = Roles()

    async def token(*names: str, partitions: Sequence[str] = ()) -> str:
        return (await create_token(channel, *names, partitions=partitions, by=admin)).secret

    async def column(name: str, *names: str, partitions: Sequence[str] = ()) -> Column:
        grants = roles.grants(names, [PartitionName(each) for each in partitions])
        return Column(name, f"Bearer {await token(*names, partitions=partitions)}", grants)

    def jwt(name: str, grants: tuple[Grant, ...] | None, **claims: Any) -> Column:
        return Column(name, f"Bearer {provider.token(**({'roles': ['globalAdmin']} | claims))}", grants)

    revoked = await create_token(channel, "globalAdmin", by=admin)
    await revoke(channel, revoked.token, admin)
    secret = new_secret()
    database = open_database(f"sqlite:///{data / 'index.db'}")
    past = datetime.now(UTC) - timedelta(days=1)
    expired = ArchiveToken(new_id(), "expired", ("globalAdmin",), (), past - timedelta(days=1), "test", past)
    await database.archive_tokens.add(expired, digest(secret))
    await database.close()
    link = await share_service_pb2_grpc.ShareServiceStub(channel).CreateShareLink(
        share_service_pb2.CreateShareLinkRequest(purpose=share_service_pb2.SHARE_PURPOSE_READ, scope=STUDY),
        metadata=admin,
    )
    upload = await share_service_pb2_grpc.ShareServiceStub(channel).CreateShareLink(
        share_service_pb2.CreateShareLinkRequest(
            purpose=share_service_pb2.SHARE_PURPOSE_UPLOAD, scope=AddressMessage(partition=WARD)
        ),
        metadata=admin,
    )
    of_partition = (Grant(frozenset({Action.WRITE}), parse_address(WARD)),)
    of_study = (Grant(frozenset({Action.READ}), parse_address(WARD, "1.2")),)
    forged = f"{link.token[:-3]}AAA"
    return [
        Column("no token", None, None),
        Column("another scheme", "Basic dXNlcjpwYXNz", None),
        Column("no token after the scheme", "Bearer", None),
        Column("a malformed token", "Bearer !?", None),
        Column("a malformed JWT", "Bearer e30.e30.AAAA", None),
        Column("an unknown token", f"Bearer dcmt_{secrets.token_urlsafe(32)}", None),
        Column("a forged share link", f"Bearer {forged}", None),
        Column("an expired token", f"Bearer {secret}", None),
        Column("a revoked token", f"Bearer {revoked.secret}", None),
        jwt("an expired JWT", None, exp=int(time.time()) - 1000),
        jwt("a JWT for another audience", None, aud="https://elsewhere.example"),
        jwt("a JWT of another issuer", None, iss="https://elsewhere.example"),
        jwt("a JWT of a reader", roles.grants(["globalReader"]), roles=["globalReader", "unknown"]),
        jwt("a JWT without a role", (), roles=["unknown"]),
        await column("a reader", "globalReader"),
        await column("a writer", "writer"),
        await column("an auditor", "auditor"),
        await column("an administrator", "globalAdmin"),
        await column("a reader of this partition", "globalReader", partitions=[WARD]),
        await column("an administrator of another partition", "globalAdmin", partitions=[OTHER]),
        Column("a share link", f"Bearer {link.token}", of_study, is_link=True),
        Column("an upload link", f"Bearer {upload.token}", of_partition, is_link=True),
        Column("a share link in the path", f"Bearer {link.token}", of_study, f"/share/{link.token}", is_link=True),
        Column("a forged share link in the path", f"Bearer {forged}", None, f"/share/{forged}"),
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def archive(module_path: Path) -> AsyncIterator[Archive]:
    with running_identity_provider() as provider, pytest.MonkeyPatch.context() as patch:
        # All credentials are checked at once, and later a malformed request is refused without the answer of the core.
        patch.setattr(actions, "_CHECK_SECONDS", 60.0)
        async with an_archive(module_path, provider) as started:
            yield started


# ---------------------------------------------------------------------------------------------------------------------
# gRPC


def address_of(method: MethodDescriptor) -> Address:
    """Return the address that the request of an rpc in `EXPECTED` has."""
    stated, _ = EXPECTED.get(
        method.full_name.removeprefix("dicomstore.v1."), ("partition=* study=- series=- instance=-", None)
    )
    uids = {key: "" if value == "-" else value for key, _, value in (part.partition("=") for part in stated.split())}
    return ARCHIVE if uids["partition"] == "*" else parse_address(*uids.values())


def expected_of(method: MethodDescriptor, column: Column) -> Outcome:
    name = method.full_name.removeprefix("dicomstore.v1.")
    declared = DECLARED[method.full_name]
    if name == "AccessService.CheckAccess" and column.grants is not None:
        declared = access_options_pb2.ACTION_DELETE  # the action in the request
        may = any(Action.DELETE in grant.actions for grant in column.grants)
        return Outcome.PERMITTED if may else Outcome.FORBIDDEN
    if declared == ACTION_OF_OPERATION_TYPE and column.grants is not None:
        # of an unknown type; an unknown operation can be cancelled by nobody, but only a reader learns that
        declared = (
            access_options_pb2.ACTION_ADMINISTER if name.endswith("StartOperation") else access_options_pb2.ACTION_READ
        )
    is_reading = declared == access_options_pb2.ACTION_READ
    narrows = (is_reading and address_of(method) == ARCHIVE) or name == "SearchService.Search"
    return column.outcome(declared, address_of(method), narrows=narrows or name in LISTED_BY_PARTITION, rpc=name)


async def rpc_outcome(channel: grpc.aio.Channel, method: MethodDescriptor, column: Column) -> tuple[str, str]:
    """Call an rpc; return the code and the message of its failure."""
    _, request = EXPECTED.get(method.full_name.removeprefix("dicomstore.v1."), ("", None))
    path = f"/{method.containing_service.full_name}/{method.name}"
    request = request or message_factory.GetMessageClass(method.input_type)()
    codec: tuple[Any, Any] = (
        type(request).SerializeToString,
        message_factory.GetMessageClass(method.output_type).FromString,
    )
    try:
        if not method.server_streaming:
            await channel.unary_unary(path, *codec)(request, metadata=column.metadata)
        else:
            if method.client_streaming:
                stream: Any = channel.stream_stream(path, *codec)([request], metadata=column.metadata)
            else:
                stream = channel.unary_stream(path, *codec)(request, metadata=column.metadata)
            while await stream.read() is not grpc.aio.EOF and not method.name.startswith(("Watch", "Receive")):
                pass
            stream.cancel()
    except grpc.aio.AioRpcError as error:
        return error.code().name, error.details() or ""
    return "OK", ""


def check_rpc(expected: Outcome, code: str, message: str, label: str) -> None:
    if expected is Outcome.PERMITTED:
        assert code not in ("UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED"), label
        assert message != NOT_PERMITTED, label
    else:
        denied = {Outcome.UNAUTHENTICATED: "UNAUTHENTICATED", Outcome.FORBIDDEN: "PERMISSION_DENIED"}
        assert code == denied.get(expected, "NOT_FOUND"), label


async def check_rpcs(archive: Archive, *, permitted: bool) -> int:
    """Call every rpc that is permitted, or that is not, with every credential; return the number of calls."""
    return sum(await asyncio.gather(*(check_rpcs_of(archive, column, permitted) for column in archive.columns)))


async def check_rpcs_of(archive: Archive, column: Column, permitted: bool) -> int:
    count = 0
    for method in METHODS.values():
        expected = expected_of(method, column)
        if (expected is Outcome.PERMITTED) == permitted:
            code, message = await rpc_outcome(archive.core.channel, method, column)
            check_rpc(expected, code, message, f"{method.full_name} with {column.name}: {code} {message}")
            count += 1
    return count


# ---------------------------------------------------------------------------------------------------------------------
# HTTP

VALUES = {
    "number": "1",
    "version": "v2",
    "partition": WARD,
    "study": "1.2",
    "series": "1.2.3",
    "instance": "1.2.3.4",
    "frames": "1",
    "path": "7FE00010",
    "tag": "StationName",
    "operation": "0" * 32,
    "transaction": "1.9",
    "workitem": "1.8",
    "requester": "READER",
    "aetitle": "VIEWER",
    "link": "0" * 32,
    "code": "dcml_0",
    "webhook": "0" * 16,
    "rule": "0" * 16,
    "transfer": "0" * 32,
    "name": "router",
    "token": "0" * 16,
}
MALFORMED = {
    "number": "x",
    "study": "abc",
    "frames": "0",
    "path": "zz",
    "tag": "!",
    "operation": "zz",
    "transaction": "zz",
    "workitem": "zz",
    "aetitle": "x" * 17,
}
WORKLIST = "1.2.840.10008.5.1.4.34.5"
WEBSOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
WADO_URI = {"requestType": "WADO", "studyUID": "1.2", "seriesUID": "1.2.3", "objectUID": "1.2.3.4"}
STATE = b'{"00081195": {"vr": "UI", "Value": ["1.9"]}, "00741000": {"vr": "CS", "Value": ["IN PROGRESS"]}}'
BODIES = {
    **dict.fromkeys(("/state", "/state/{requester}"), STATE),
    "/partitions/{partition}": b'{"duplicates": "default"}',
    "/extendedquerytags": b'[{"path": "StationName", "level": "Series"}]',
    "/changefeed/consumers/{name}": b'{"sequence": 1}',
    "/$revert": b'{"time": "2026-01-01T00:00:00Z"}',
    "/studies/$bulkUpdate": (
        b'{"studyInstanceUids": ["1.2"], "changeDataset": {"00100020": {"vr": "LO", "Value": ["P-1"]}}}'
    ),
    "/export": b'{"source": {"type": "partition"}, "destination": {"type": "folder", "settings": {"path": "/x"}}}',
    "/transfers": b'{"type": "send", "remote": "PACS", "resources": ["1.2"]}',
    "/import": b'{"source": {"type": "folder", "settings": {"path": "/incoming"}}}',
    "/tokens": b'{"name": "gateway", "roles": ["writer"], "expiresInSeconds": 60}',
    "/hold": b'{"name": "trial", "reason": "study"}',
    "/expiry": b'{"expires": "2099-01-01T00:00:00Z"}',
    "/extendedquerytags/{tag}": b'{"queryStatus": "Disabled"}',
    "/commitment-requests/{transaction}": (
        b'{"00081199": {"vr": "SQ", "Value": [{"00081150": {"vr": "UI", "Value": ["1.2"]}, '
        b'"00081155": {"vr": "UI", "Value": ["1.2.3.4"]}}]}}'
    ),
}
"""Valid bodies by the end of the path; others are an empty object."""
WRITES = ("POST", "PUT", "PATCH")


def requests_of(archive: Archive, route: Route, method: str, *, is_malformed: bool) -> dict[str, Any]:
    """Return the arguments of an HTTP request for a route."""
    values = VALUES | {"token": archive.share_token} | (MALFORMED if is_malformed else {})
    names = re.findall(r"{(\w+)", route.path_format)
    if route.path_format.endswith("/suspend") and not is_malformed:
        values["workitem"] = WORKLIST
    assert set(names) <= values.keys(), f"{route.path_format}: a value for each parameter"
    arguments: dict[str, Any] = {"method": method, "path": route.path_format.format(**values), "headers": {}}
    if is_malformed:
        arguments["headers"] = {"Accept": "nothing", "Content-Type": "nothing/at-all"}
        arguments["path"] += "?limit=x&offset=-1&includeMetadata=maybe&requestType=none"
        arguments["content"] = b"{" if method in WRITES else None
    elif method in WRITES:
        is_store = route.path_format.endswith(("/studies", "/studies/{study}"))
        media_type = "application/dicom" if is_store else "application/json"
        arguments["headers"] = {"Content-Type": media_type, "Accept": "application/dicom+json"}
        if is_store:
            arguments["content"] = UPLOAD
        else:
            arguments["content"] = next(
                (body for end, body in BODIES.items() if route.path_format.endswith(end)), b"{}"
            )
    elif route.path_format.endswith("/subscribers/{aetitle}") and method == "GET":
        arguments["headers"] = dict(WEBSOCKET)
    elif "/wado" in route.path_format:
        arguments["path"] += "?" + urlencode(WADO_URI)
    return arguments


def http_rows() -> Iterator[tuple[Route, str, int, Address, bool, str | None]]:
    """Yield each route and method, with its action, address, whether it returns a list, and its rpc."""
    for route in routes():
        for method, endpoint in route.row.methods.items():
            declared = action_of(endpoint)
            if declared == ACTION_OF_OPERATION_TYPE:  # of an unknown operation, as for reading it
                declared = access_options_pb2.ACTION_READ
            is_reading = declared == access_options_pb2.ACTION_READ
            names = re.findall(r"{(\w+)", route.path_format)
            if "/partitions/{partition}" in route.path_format:
                levels = [VALUES[name] for name in ("study", "series", "instance") if name in names]
                if route.row.path == "/wado":
                    levels = [WADO_URI[name] for name in ("studyUID", "seriesUID", "objectUID")]
                address = parse_address(WARD, *levels)
            else:
                address = ARCHIVE
            is_list = is_reading and (
                address == ARCHIVE or route.row.path.endswith(("/studies", "/series", "/instances"))
            )
            is_list |= RPCS.get(endpoint) in LISTED_BY_PARTITION
            rpc = RPCS.get(endpoint) or OPERATIONS.get(endpoint)
            yield (
                route,
                method,
                declared,
                address,
                is_list,
                f"PUT {rpc}" if endpoint is stow.store and method == "PUT" else rpc,
            )


def needs_partition(route: Route) -> bool:
    """Return whether a route is that of a partition without naming one, which is an error after the permission."""
    return route.row in DICOM and "{partition}" not in route.path_format


def check_http(expected: Outcome, answer: Answer, column: Column, label: str) -> None:
    if expected is Outcome.PERMITTED:
        assert answer.status_code not in (401, 403), label
        assert answer.status_code < 500, label
        assert answer.status_code != 404 or answer.text != NOT_PERMITTED, label
        return
    assert answer.status_code == expected.value, label
    challenge = answer.headers.get("www-authenticate", "")
    if expected is Outcome.FORBIDDEN:
        assert 'error="insufficient_scope"' in challenge, label
    elif expected is Outcome.UNAUTHENTICATED:
        assert challenge.startswith("Bearer"), label
        has_token = (column.header or "").lower().startswith("bearer ")
        assert ('error="invalid_token"' in challenge) == has_token, label
    assert "1.2.3" not in answer.text, label


async def check_routes(archive: Archive, *, permitted: bool) -> int:
    """Request every route that is permitted, or that is not, with every credential; return the number of requests."""
    return sum(await asyncio.gather(*(check_routes_of(archive, column, permitted) for column in archive.columns)))


async def check_routes_of(archive: Archive, column: Column, permitted: bool) -> int:
    async with HttpConnection(archive.web.base_url) as connection:
        return await check_routes_with(connection, archive, column, permitted)


async def check_routes_with(connection: HttpConnection, archive: Archive, column: Column, permitted: bool) -> int:
    count = 0
    for route, method, declared, address, is_list, rpc in http_rows():
        expected = column.outcome(declared, address, narrows=is_list, rpc=rpc)
        if needs_partition(route) and expected is not Outcome.UNAUTHENTICATED:
            expected = Outcome.PERMITTED if column.may_somewhere(declared, rpc) else Outcome.FORBIDDEN
        if (expected is Outcome.PERMITTED) != permitted or (column.prefix and route.row in BARE):
            continue
        # Errors of the request come before those of the address.
        for is_malformed in (False,) if column.may_somewhere(declared, None) else (False, True):
            arguments = requests_of(archive, route, method, is_malformed=is_malformed)
            arguments["path"] = column.prefix + arguments["path"]
            if column.header is not None and not column.prefix:
                arguments["headers"]["Authorization"] = column.header
            answer = await connection.request(**arguments)
            label = f"{method} {arguments['path']} with {column.name}: {answer.status_code} {answer.text[:200]}"
            check_http(expected, answer, column, label)
            count += 1
    return count


@pytest.mark.asyncio(loop_scope="module")
async def test_what_a_credential_does_not_permit_is_denied_and_changes_nothing(archive: Archive) -> None:
    before = archive.state()
    assert await check_rpcs(archive, permitted=False) > 9 * 30
    assert await check_routes(archive, permitted=False) > 9 * 100
    assert archive.state() == before


@pytest.mark.asyncio(loop_scope="module")
async def test_what_a_credential_permits_is_not_denied(archive: Archive) -> None:
    assert await check_rpcs(archive, permitted=True) > 50
    assert await check_routes(archive, permitted=True) > 100


@pytest.mark.asyncio(loop_scope="module")
async def test_an_endpoint_calls_the_rpc_whose_action_it_requires(
    archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    [admin] = [column for column in archive.columns if column.name == "an administrator"]
    caplog.set_level(logging.DEBUG, "dicomstore.access")  # reading of metrics is not logged with INFO
    rows = [row for row in http_rows() if row[2] != ACTION_ANONYMOUS]
    for number, (route, method, *_) in enumerate(rows):
        arguments = requests_of(archive, route, method, is_malformed=False)
        arguments["headers"] |= {"Authorization": admin.header, "X-Request-Id": f"row-{number}"}
        async with HttpConnection(archive.web.base_url) as connection:
            await connection.request(**arguments)
    called: dict[str, set[str]] = {}
    for line in (each.getMessage() for each in caplog.records if each.name == "dicomstore.access"):
        if found := re.search(r"method=/dicomstore\.v1\.(\S+) .* request_id=(row-\d+)", line):
            called.setdefault(found[2], set()).add(found[1].replace("/", "."))
    for number, (route, method, *_) in enumerate(rows):
        rpcs = called[f"row-{number}"]
        endpoint = route.row.methods[method]
        expected = "OperationService.StartOperation" if endpoint in OPERATIONS else RPCS[endpoint]
        assert expected in rpcs, f"{method} {route.path_format}: {rpcs}"
        actions = {DECLARED[f"dicomstore.v1.{rpc}"] for rpc in rpcs}
        of_any_principal = {ACTION_ANONYMOUS, ACTION_AUTHENTICATED}  # the facade asks CheckAccess after a refusal
        of_endpoint = ACTION_OF_OPERATION_TYPE if endpoint in OPERATIONS else action_of(endpoint)
        assert actions <= {of_endpoint} | of_any_principal
