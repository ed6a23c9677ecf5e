"""`dicomstore share`: create, list and revoke share links."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import quote, urlsplit

import typer
from dicomstore.v1 import share_service_pb2 as pb
from dicomstore.v1 import share_service_pb2_grpc
from dicomstore.v1.resources_pb2 import Address
from google.protobuf import json_format

from cli.commands.token import time_of
from cli.connection import CALL_TIMEOUT_S, CoreOption, JsonOption, PartitionOption, QuietOption, Target, target
from cli.errors import Failure, fail, run
from cli.output import data, print_rows, problems
from cli.processes.facade_url import UrlOption, facade_url
from cli.resources import InstanceArgument, SeriesArgument, described, reference
from common.addresses import is_loopback

_PAGE_SIZE = 200
_HEADINGS = ("ID", "Purpose", "Partition", "Shared", "Label", "Created (UTC)", "By", "Expires (UTC)")

share = typer.Typer(
    help="Create, list and revoke links for reading a study, series or instance, or for uploads, without an account.",
    no_args_is_help=True,
)


@share.command()
def create(
    ctx: typer.Context,
    study: Annotated[
        str | None, typer.Argument(metavar="[STUDY]", help="Study Instance UID.", show_default=False)
    ] = None,
    series: SeriesArgument = None,
    instance: InstanceArgument = None,
    upload: Annotated[bool, typer.Option("--upload", help="A link for storing instances into the partition.")] = False,
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="WHEN", help="A period (30m, 12h, 30d) or a date (2027-12-31). \\[7d]"),
    ] = None,
    label: Annotated[str, typer.Option("--label", metavar="TEXT", help="Recipient or reason, for the list.")] = "",
    url: UrlOption = None,
    as_json: JsonOption = False,
    core: CoreOption = None,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
) -> None:
    """Create a link for reading a study, series or instance, or with --upload one for uploads, and print its URL.

    Everybody who has the URL can use the link until it expires or is revoked. It is printed only once.
    """
    chosen = target(ctx, core, partition, quiet)
    if (study is None) != upload:
        raise typer.BadParameter("give either STUDY or --upload", param_hint="STUDY")
    request = pb.CreateShareLinkRequest(label=label)
    if study is None:
        request.purpose = pb.SHARE_PURPOSE_UPLOAD
        request.scope.CopyFrom(Address(partition=chosen.partition))
    else:
        request.purpose = pb.SHARE_PURPOSE_READ
        request.scope.CopyFrom(reference(chosen.partition, study, series, instance))
    if expires is not None:
        request.lifetime.FromTimedelta(time_of(expires) - datetime.now(UTC))
    try:
        base = facade_url(url)
    except Failure as failure:
        fail(failure)
    run(_create(chosen, request, base, as_json), core=chosen.core)


@share.command("list")
def list_(
    ctx: typer.Context,
    as_json: JsonOption = False,
    core: CoreOption = None,
    quiet: QuietOption = False,
) -> None:
    """List the valid links, newest first. Their URLs are not shown."""
    chosen = target(ctx, core, None, quiet)
    run(_list(chosen, as_json), core=chosen.core)


@share.command()
def revoke(
    ctx: typer.Context,
    link_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the link, see `dicomstore share list`.")],
    core: CoreOption = None,
    quiet: QuietOption = False,
) -> None:
    """Revoke a link. All processes of the archive refuse it within two seconds."""
    chosen = target(ctx, core, None, quiet)
    run(_revoke(chosen, link_id), core=chosen.core)


async def _create(chosen: Target, request: pb.CreateShareLinkRequest, base: str, as_json: bool) -> int:
    async with chosen.channel() as channel:
        stub = share_service_pb2_grpc.ShareServiceStub(channel)
        created = await stub.CreateShareLink(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
    url = f"{base}/share/{created.token}"
    if as_json:
        partition = f"/partitions/{quote(chosen.partition, safe='')}" if chosen.partition else ""
        urls = {"url": url, "dicomweb_url": f"{url}/v2{partition}"}
        typer.echo(json.dumps({**_to_json(created.link), **urls}, indent=2))
        return 0
    if not chosen.quiet:
        expires = f"{created.link.expire_time.ToDatetime():%Y-%m-%d %H:%M}"
        problems.print(f"link {created.link.id}, valid until {expires} UTC. Its URL will not be shown again:")
        if is_loopback(f"{urlsplit(base).hostname}:0"):
            problems.print("It works on this machine only: for other recipients, set public_url or give --url.")
    typer.echo(url)
    return 0


async def _list(chosen: Target, as_json: bool) -> int:
    found: list[pb.ShareLink] = []
    async with chosen.channel() as channel:
        stub = share_service_pb2_grpc.ShareServiceStub(channel)
        request = pb.ListShareLinksRequest(page_size=_PAGE_SIZE)
        while True:
            page = await stub.ListShareLinks(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
            found += page.links
            request.page_token = page.next_page_token
            if not request.page_token:
                break
    if as_json:
        typer.echo(json.dumps({"links": [_to_json(link) for link in found]}, indent=2))
    elif found:
        print_rows(data, _HEADINGS, [_row(link) for link in found], {"Shared", "Label"})
    elif not chosen.quiet:
        problems.print("no valid share links")
    return 0


async def _revoke(chosen: Target, link_id: str) -> int:
    async with chosen.channel() as channel:
        stub = share_service_pb2_grpc.ShareServiceStub(channel)
        request = pb.RevokeShareLinkRequest(id=link_id)
        await stub.RevokeShareLink(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
    if not chosen.quiet:
        problems.print(f"link {link_id} revoked")
    return 0


def _row(link: pb.ShareLink) -> Sequence[str]:
    is_upload = link.purpose == pb.SHARE_PURPOSE_UPLOAD
    return (
        link.id,
        "upload" if is_upload else "read",
        link.scope.partition,
        "" if is_upload else described(link.scope),
        link.label,
        f"{link.create_time.ToDatetime():%Y-%m-%d %H:%M}",
        link.creator,
        f"{link.expire_time.ToDatetime():%Y-%m-%d %H:%M}",
    )


def _to_json(link: pb.ShareLink) -> dict[str, object]:
    return json_format.MessageToDict(link, preserving_proto_field_name=True)
