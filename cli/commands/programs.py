"""`dicomstore server`, `facade`, `migrate` and others: replace this process by one program in the foreground."""

import os
from typing import Annotated, NoReturn

import typer

from cli.processes.environment import (
    DatabaseOption,
    DataOption,
    GrpcOption,
    HttpOption,
    MigrateOption,
    PartitionsOption,
    UpstreamOption,
    WorkersOption,
    environment_of,
)
from cli.processes.programs import Module, command
from common.addresses import InsecureOption, accept_insecure


def server(
    data_directory: DataOption = None,
    grpc_address: GrpcOption = None,
    database: DatabaseOption = None,
    partitions: PartitionsOption = None,
    migrate_first: MigrateOption = None,
    insecure: InsecureOption = False,
) -> None:
    """Run only the core. It refuses to start on an old database schema, unless --migrate is given."""
    accept_insecure(insecure)
    environment = environment_of(
        data=data_directory, grpc=grpc_address, database=database, partitions=partitions, migrate=migrate_first
    )
    _become(command(Module.CORE, "serve"), environment)


def facade(
    http: HttpOption = None,
    core: UpstreamOption = None,
    workers: WorkersOption = None,
    insecure: InsecureOption = False,
) -> None:
    """Run only the DICOMweb facade; its core may run on another machine."""
    accept_insecure(insecure)
    _become(command(Module.FACADE), environment_of(http=http, core=core, workers=workers))


def migrate(data_directory: DataOption = None, database: DatabaseOption = None) -> None:
    """Migrate the core's database to the current schema. Running it again changes nothing."""
    _become(command(Module.CORE, "migrate"), environment_of(data=data_directory, database=database))


def accept_clock(data_directory: DataOption = None, database: DatabaseOption = None) -> None:
    """Confirm that the system clock is right although it is far ahead of the last recorded time."""
    _become(command(Module.CORE, "accept-clock"), environment_of(data=data_directory, database=database))


def recover(
    data_directory: DataOption = None,
    database: DatabaseOption = None,
    with_quarantined: Annotated[
        bool, typer.Option("--with-quarantined", help="Also index quarantined blobs, which no index referenced.")
    ] = False,
) -> None:
    """Rebuild a lost index from the stored blobs, or complete an old copy of it. Stop the archive first."""
    arguments = ("recover", "--with-quarantined") if with_quarantined else ("recover",)
    _become(command(Module.CORE, *arguments), environment_of(data=data_directory, database=database))


def _become(program: list[str], environment: dict[str, str]) -> NoReturn:
    os.execve(program[0], program, environment)  # noqa: S606 - the command is built here, not input
