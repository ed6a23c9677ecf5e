"""The URL of the facade, for links that commands print."""

import os
from typing import Annotated

import typer

from cli.addresses import parse_address
from cli.errors import NOT_EXECUTED, Failure
from cli.processes.programs import facade_settings

UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="Base URL of the facade for recipients. \\[public_url, or the address of the facade]",
    ),
]


def facade_url(given: str | None, environment: dict[str, str] | None = None) -> str:
    """Return the base URL of the facade without a trailing slash: the given one, or that of the facade's settings.

    Raises:
        Failure: a setting is invalid.
    """
    if given is not None:
        if not given.startswith(("https://", "http://")):
            raise Failure(f"{given!r} is not a URL", exit_code=NOT_EXECUTED)
        return given.rstrip("/")
    settings = facade_settings(dict(os.environ) if environment is None else environment)
    if public := str(settings["public_url"]).rstrip("/"):
        return public
    scheme = "https" if settings["tls_certificate"] else "http"
    return f"{scheme}://{parse_address(str(settings['http'])).to_connect()}"
