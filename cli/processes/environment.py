"""Settings of the core and the facade as options of our commands; they travel as DICOMSTORE_* variables."""

import os
import re
from pathlib import Path
from typing import Annotated

import typer

DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Directory of blobs and embedded index. \\[DICOMSTORE_DATA; data]"),
]
HttpOption = Annotated[
    str | None,
    typer.Option("--http", metavar="HOST:PORT", help="Where DICOMweb listens. \\[DICOMSTORE_HTTP; 127.0.0.1:8080]"),
]
GrpcOption = Annotated[
    str | None,
    typer.Option("--grpc", metavar="HOST:PORT", help="Where the core listens. \\[DICOMSTORE_GRPC; 127.0.0.1:50051]"),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers", min=1, metavar="N", help="Processes. \\[DICOMSTORE_WORKERS; one for each CPU, at most 4]"
    ),
]
DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        help="SQLAlchemy URL of the index; SQLite in the data directory if left out. \\[DICOMSTORE_DATABASE]",
    ),
]
PartitionsOption = Annotated[
    bool | None, typer.Option("--partitions", help="Switch data partitions on. \\[DICOMSTORE_PARTITIONS]")
]
ViewerOption = Annotated[
    Path | None,
    typer.Option("--viewer", metavar="DIR", help="Folder of a built web viewer to serve at /. \\[DICOMSTORE_VIEWER]"),
]
MigrateOption = Annotated[
    bool | None, typer.Option("--migrate", help="Bring the database up to date first. \\[DICOMSTORE_MIGRATE]")
]
UpstreamOption = Annotated[
    str | None,
    typer.Option("--core", metavar="HOST:PORT", help="Core to ask. \\[DICOMSTORE_CORE; 127.0.0.1:50051]"),
]


def environment_of(**given: Path | str | int | bool | None) -> dict[str, str]:
    """Return our environment with the options that were given as variables, so that they beat everything else."""
    variables = {f"DICOMSTORE_{name.upper()}": value for name, value in given.items() if value is not None}
    return {
        **os.environ,
        **{name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in variables.items()},
    }


def without_password(text: str) -> str:
    """Return a URL, or any text, with passwords in it replaced by stars, also one whose @ or / is not escaped."""
    return re.sub(r"([?&]password=)[^&\s]*", r"\1***", re.sub(r"(://[^:/@\s]*:)\S*@", r"\1***@", text))
