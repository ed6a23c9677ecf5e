"""Data sets of the command line, in DICOM JSON."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEYWORD=VALUE", help="Value of an attribute; several values are separated by \\."),
]


def data_set_of(changes: Iterable[str], file: Path | None) -> dict[str, Any]:
    """Return the attributes of a file and, with keywords instead of tags, those of `KEYWORD=VALUE`.

    Raises:
        typer.BadParameter: one of them is malformed.
    """
    wanted: dict[str, Any] = {}
    if file is not None:
        try:
            wanted = json.loads(file.read_bytes())
        except ValueError:
            raise typer.BadParameter(f"{file} is not JSON.") from None
        if isinstance(wanted, list) and len(wanted) == 1:
            wanted = wanted[0]
        if not isinstance(wanted, dict):
            raise typer.BadParameter(f"{file} is not a DICOM JSON data set.")
    for change in changes:
        keyword, separator, value = change.partition("=")
        if not separator:
            raise typer.BadParameter(f"'{keyword}' has no value: use KEYWORD=VALUE.")
        wanted[keyword] = {"Value": value.split("\\")}
    return wanted
