"""`dicomstore token`: create, list and revoke archive tokens."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from dicomstore.v1 import token_service_pb2 as pb
from dicomstore.v1 import token_service_pb2_grpc
from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp

from cli.connection import CALL_TIMEOUT_S, CoreOption, JsonOption, QuietOption, Target, target
from cli.errors import run
from cli.output import data, print_rows, problems

_PAGE_SIZE = 200
_PERIOD = re.compile(r"([0-9]{1,5})([mhdwy])")
_UNITS = {
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
    "y": timedelta(days=365),
}
_HEADINGS = ("ID", "Name", "Roles", "Partitions", "Created (UTC)", "By", "Expires (UTC)", "Last use (UTC)", "State")

token = typer.Typer(
    help="Create, list and revoke tokens for programs and people without an identity provider.", no_args_is_help=True
)

ExpiresOption = Annotated[
    str, typer.Option("--expires", metavar="WHEN", help="A period (30m, 12h, 30d, 8w, 1y) or a date (2027-12-31).")
]


@token.command()
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="What the token is for.")],
    role: Annotated[list[str], typer.Option("--role", metavar="ROLE", help="A role; may be repeated.")],
    expires: ExpiresOption,
    partition: Annotated[
        list[str] | None,
        typer.Option("--partition", metavar="NAME", help="Limit it to this data partition; may be repeated."),
    ] = None,
    create_partition: Annotated[
        bool, typer.Option("--create-partition", help="Create those partitions that do not exist.")
    ] = False,
    as_json: JsonOption = False,
    core: CoreOption = None,
    quiet: QuietOption = False,
) -> None:
    """Create a token and print it. It is printed only once; the archive does not store it.

    With the first token, authentication of every call becomes required, and remains so.
    """
    request = pb.CreateTokenRequest(
        name=name,
        roles=role,
        partitions=partition or [],
        create_partitions=create_partition,
        expire_time=_timestamp(time_of(expires)),
    )
    chosen = target(ctx, core, None, quiet)
    run(_create(chosen, request, as_json), core=chosen.core)


@token.command("list")
def list_(
    ctx: typer.Context,
    all_: Annotated[bool, typer.Option("--all", help="Also show tokens that were revoked or have expired.")] = False,
    as_json: JsonOption = False,
    core: CoreOption = None,
    quiet: QuietOption = False,
) -> None:
    """List tokens, newest first, with their last use. The tokens themselves are not shown."""
    chosen = target(ctx, core, None, quiet)
    run(_list(chosen, all_, as_json), core=chosen.core)


@token.command()
def revoke(
    ctx: typer.Context,
    token_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the token, see `dicomstore token list`.")],
    core: CoreOption = None,
    quiet: QuietOption = False,
) -> None:
    """Revoke a token. All processes of the archive refuse it within two seconds."""
    chosen = target(ctx, core, None, quiet)
    run(_revoke(chosen, token_id), core=chosen.core)


def time_of(text: str, now: datetime | None = None) -> datetime:
    """Return the end of a period from now on, or the end of a day (UTC).

    Raises:
        typer.BadParameter: it is neither.
    """
    try:
        if period := _PERIOD.fullmatch(text):
            return (now or datetime.now(UTC)) + int(period[1]) * _UNITS[period[2]]
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC) + timedelta(days=1)
    except (ValueError, OverflowError):
        raise typer.BadParameter("--expires must be a period such as 30d, or a date such as 2027-12-31.") from None


async def _create(chosen: Target, request: pb.CreateTokenRequest, as_json: bool) -> int:
    async with chosen.channel() as channel:
        stub = token_service_pb2_grpc.TokenServiceStub(channel)
        created = await stub.CreateToken(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
    if as_json:
        typer.echo(json.dumps({**_to_json(created.token), "secret": created.secret}, indent=2))
        return 0
    if not chosen.quiet:
        expires = _text(created.token.expire_time)
        problems.print(f"token {created.token.id}, valid until {expires} UTC. It will not be shown again:")
    typer.echo(created.secret)
    return 0


async def _list(chosen: Target, all_: bool, as_json: bool) -> int:
    found: list[pb.Token] = []
    async with chosen.channel() as channel:
        stub = token_service_pb2_grpc.TokenServiceStub(channel)
        request = pb.ListTokensRequest(page_size=_PAGE_SIZE, include_invalid=all_)
        while True:
            page = await stub.ListTokens(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
            found += page.tokens
            request.page_token = page.next_page_token
            if not request.page_token:
                break
    if as_json:
        typer.echo(json.dumps({"tokens": [_to_json(one) for one in found]}, indent=2))
    elif found:
        print_rows(data, _HEADINGS, [_row(one) for one in found], {"Name", "Roles", "Partitions"})
    elif not chosen.quiet:
        problems.print("no tokens")
    return 0


async def _revoke(chosen: Target, token_id: str) -> int:
    async with chosen.channel() as channel:
        stub = token_service_pb2_grpc.TokenServiceStub(channel)
        request = pb.RevokeTokenRequest(id=token_id)
        await stub.RevokeToken(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
    if not chosen.quiet:
        problems.print(f"token {token_id} revoked")
    return 0


def _row(one: pb.Token) -> Sequence[str]:
    return (
        one.id,
        one.name,
        ", ".join(one.roles),
        ", ".join(one.partitions) or "all",
        _text(one.create_time),
        one.creator,
        _text(one.expire_time),
        _text(one.last_use_time) if one.HasField("last_use_time") else "never",
        _state(one),
    )


def _state(one: pb.Token) -> str:
    if one.HasField("revoke_time"):
        return "revoked"
    return "expired" if one.expire_time.ToDatetime(tzinfo=UTC) <= datetime.now(UTC) else "valid"


def _to_json(one: pb.Token) -> dict[str, object]:
    return json_format.MessageToDict(one, preserving_proto_field_name=True)


def _timestamp(time: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(time)
    return timestamp


def _text(timestamp: Timestamp) -> str:
    return f"{timestamp.ToDatetime():%Y-%m-%d %H:%M}"
