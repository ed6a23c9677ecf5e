"""The command tree and the global options."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from cli.commands.audit import audit
from cli.commands.changes import changes
from cli.commands.config import config
from cli.commands.delete import delete
from cli.commands.dimse.gateway import app as dimse
from cli.commands.dimse.transfers import pull, send, transfers
from cli.commands.doctor import doctor
from cli.commands.events.events import events
from cli.commands.events.webhooks import webhooks
from cli.commands.get import get
from cli.commands.lifecycle.blobs import blobs
from cli.commands.lifecycle.export import export
from cli.commands.lifecycle.hold import hold
from cli.commands.lifecycle.imports import adopt, import_
from cli.commands.lifecycle.label import label
from cli.commands.lifecycle.partition import partition
from cli.commands.lifecycle.trash import trash, undelete
from cli.commands.lifecycle.update import update
from cli.commands.lifecycle.versions import versions
from cli.commands.login import login
from cli.commands.operations import operations
from cli.commands.programs import accept_clock, facade, migrate, recover, server
from cli.commands.search import search
from cli.commands.share import share
from cli.commands.store import store
from cli.commands.token import token
from cli.commands.top import top
from cli.commands.up import up
from cli.commands.worklist.workitems import workitems
from cli.connection import (
    CoreCaOption,
    CoreCertificateOption,
    CoreKeyOption,
    CoreOption,
    GlobalOptions,
    PartitionOption,
    QuietOption,
    TokenFileOption,
)

app = typer.Typer(
    name="dicomstore",
    help="A self-hosted archive for medical images.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def own_version() -> str:
    """Return the version of this installation."""
    try:
        return version("dicomstore")
    except PackageNotFoundError:
        return "(not installed)"


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dicomstore {own_version()}, Python {platform.python_version()}")
        raise typer.Exit


@app.callback()
def _before_any_command(
    ctx: typer.Context,
    core: CoreOption = None,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
    token_file: TokenFileOption = None,
    core_ca: CoreCaOption = None,
    core_certificate: CoreCertificateOption = None,
    core_key: CoreKeyOption = None,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    ctx.obj = GlobalOptions(core, partition, quiet, token_file, core_ca, core_certificate, core_key)


for _panel, _commands in (
    ("Run the archive", (up, server, facade, migrate)),
    ("Use the archive", (store, search, get, export, update, delete, trash, undelete, label, changes, events)),
    ("Administer the archive", (login, top, operations, doctor, config, recover, accept_clock)),
):
    for _command in _commands:
        app.command(rich_help_panel=_panel)(_command)
app.command("import", rich_help_panel="Use the archive")(import_)
app.command(rich_help_panel="Use the archive")(adopt)

dimse.command()(pull)
dimse.command()(send)
dimse.command()(transfers)
app.add_typer(dimse, name="dimse", rich_help_panel="Run the archive")
app.add_typer(versions, name="versions", rich_help_panel="Use the archive")
app.add_typer(workitems, name="workitems", rich_help_panel="Use the archive")
app.add_typer(hold, name="hold", rich_help_panel="Administer the archive")
app.add_typer(blobs, name="blobs", rich_help_panel="Administer the archive")
app.add_typer(partition, name="partition", rich_help_panel="Administer the archive")
app.add_typer(token, name="token", rich_help_panel="Administer the archive")
app.add_typer(share, name="share", rich_help_panel="Administer the archive")
app.add_typer(audit, name="audit", rich_help_panel="Administer the archive")
app.add_typer(webhooks, name="webhooks", rich_help_panel="Administer the archive")
