"""`dicomstore login`: print a link that opens a session in a browser."""

from typing import Annotated

import typer
from dicomstore.v1 import login_service_pb2 as pb
from dicomstore.v1 import login_service_pb2_grpc

from cli.connection import CALL_TIMEOUT_S, CoreOption, QuietOption, Target, target
from cli.errors import Failure, fail, run
from cli.output import problems
from cli.processes.facade_url import UrlOption, facade_url


def login(
    ctx: typer.Context,
    role: Annotated[
        list[str] | None,
        typer.Option("--role", metavar="ROLE", help="A role of the session; may be repeated. \\[those of the caller]"),
    ] = None,
    url: UrlOption = None,
    core: CoreOption = None,
    quiet: QuietOption = False,
) -> None:
    """Print a URL that opens a session in a browser, for an archive without an identity provider.

    It is valid for five minutes and can be used once. The session ends after twelve hours, or when its user logs out.
    """
    chosen = target(ctx, core, None, quiet)
    try:
        base = facade_url(url)
    except Failure as failure:
        fail(failure)
    run(_login(chosen, pb.CreateLoginLinkRequest(roles=role or []), base), core=chosen.core)


async def _login(chosen: Target, request: pb.CreateLoginLinkRequest, base: str) -> int:
    async with chosen.channel() as channel:
        stub = login_service_pb2_grpc.LoginServiceStub(channel)
        created = await stub.CreateLoginLink(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
    if not chosen.quiet:
        problems.print("open this URL in a browser within five minutes; it can be used once:")
    typer.echo(f"{base}/login/link/{created.code}")
    return 0
