"""Settings of the programs as options of commands; they are passed on as DICOMSTORE_* variables."""

import os
from pathlib import Path
from typing import Annotated

import typer

from common.settings import FILE, variable_of

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="DIR", help="Directory of the blobs and the embedded index. \\[DICOMSTORE_DATA; data]"
    ),
]
HttpOption = Annotated[
    str | None,
    typer.Option("--http", metavar="HOST:PORT", help="Address of DICOMweb. \\[DICOMSTORE_HTTP; 127.0.0.1:8080]"),
]
GrpcOption = Annotated[
    str | None,
    typer.Option("--grpc", metavar="HOST:PORT", help="Address of the core. \\[DICOMSTORE_GRPC; 127.0.0.1:50051]"),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers", min=1, metavar="N", help="Number of nodes. \\[DICOMSTORE_WORKERS; one for each CPU, at most 4]"
    ),
]
DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        help="SQLAlchemy URL of the index; default: SQLite in the data directory. \\[DICOMSTORE_DATABASE]",
    ),
]
PartitionsOption = Annotated[
    bool | None, typer.Option("--partitions", help="Enable data partitions. \\[DICOMSTORE_PARTITIONS]")
]
ViewerOption = Annotated[
    Path | None,
    typer.Option(
        "--viewer", metavar="DIR", help="Folder of a built web viewer to serve at /viewer/. \\[DICOMSTORE_VIEWER]"
    ),
]
DimseOption = Annotated[
    str | None,
    typer.Option("--dimse", metavar="HOST:PORT", help="Run the DIMSE gateway at this address, too."),
]
MigrateOption = Annotated[
    bool | None, typer.Option("--migrate", help="Migrate the database schema first. \\[DICOMSTORE_MIGRATE]")
]
UpstreamOption = Annotated[
    str | None,
    typer.Option("--core", metavar="HOST:PORT", help="Address of the core. \\[DICOMSTORE_CORE; 127.0.0.1:50051]"),
]


def environment_of(**given: Path | str | int | bool | None) -> dict[str, str]:
    """Return the environment with the given options as variables, so that they take precedence."""
    variables = {variable_of(name): value for name, value in given.items() if value is not None}
    replaced = {variable_of(name + FILE) for name, value in given.items() if value is not None}
    return {
        **{name: value for name, value in os.environ.items() if name.upper() not in replaced},
        **{name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in variables.items()},
    }
