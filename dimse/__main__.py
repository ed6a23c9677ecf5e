"""Entry point: `python -m dimse` serves associations until a signal, `python -m dimse config` prints the settings.

It is one process; `dicomstore dimse` and `dicomstore up --dimse` run several, which share a listening socket.
"""

from common import collector

# isort: split

import json
import logging
import os
import signal
import socket
import warnings
from contextlib import ExitStack, closing
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError
from pydicom.datadict import keyword_for_tag

from common.addresses import is_loopback
from common.process.malloc import tune_malloc
from common.process.notify import notify
from common.process.socket_calls import ADDRESS
from common.settings import problem_of
from common.tls import TlsError
from dimse.associations.acceptor import listen
from dimse.associations.errors import AssociationLost, CannotConnect, ProtocolError
from dimse.associations.requestor import Requestor
from dimse.config import RemoteSettings, Settings, dimse_tls_files
from dimse.data_sets.writing import TRANSFER_SYNTAXES
from dimse.gateway import Gateway, limits_of
from dimse.monitoring import log_to_stderr, monitored
from dimse.queries.identifiers import UNIQUE_KEYS, Level
from dimse.services.echo import verify
from dimse.transfers.forwarding import InvalidRule
from dimse.transfers.queries import STUDY_ROOT_FIND, tags_of, value_of
from dimse.transfers.queries import find as matches_of
from dimse.transfers.work import AttemptFailed

collector.enable()

_LEVELS_OF_FIND = (Level.STUDY, Level.SERIES, Level.IMAGE)

DIMSE_SOCKET = "DICOMSTORE_DIMSE_SOCKET"
"""Variable with the descriptor of a listening socket that several processes share; not a setting."""

_log = logging.getLogger("dimse")

app = typer.Typer(add_completion=False, help="DIMSE in front of a dicomstore core.", pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def serve(context: typer.Context) -> None:
    """Serve associations until SIGTERM or SIGINT. Settings come from DICOMSTORE_* variables and dicomstore.toml."""
    if context.invoked_subcommand is not None:
        return
    settings = _settings()
    quiet_libraries()
    # Threads with heaps of their own would each keep the memory of a few messages.
    tune_malloc(mmap_threshold_bytes=1 << 20, trim_threshold_bytes=4 << 20, arenas=2)
    log_to_stderr(settings)
    inherited = os.environ.get(DIMSE_SOCKET)
    try:
        listener = socket.socket(fileno=int(inherited)) if inherited else listen(settings.dimse)
    except OSError as error:
        _give_up(f"cannot listen on {settings.dimse}: {error.strerror}")
    try:
        gateway = Gateway(settings, listener, is_shared=bool(inherited), local=os.environ.get(ADDRESS, ""))
    except TlsError as error:
        _give_up(f"TLS: {error}")
    try:
        gateway.check_rules()
    except InvalidRule as error:
        _give_up(str(error))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: gateway.stop())
    host, port = listener.getsockname()[:2]
    _log.info("the gateway %s listens on %s:%s, the core is %s", settings.ae_title, host, port, settings.core)
    if not (is_loopback(settings.dimse) or settings.dimse_tls_certificate):
        _log.warning("%s is not encrypted (dimse_tls_certificate): images can be read on the network", settings.dimse)
    with ExitStack() as stack:
        try:
            stack.enter_context(monitored(settings, is_shared=bool(inherited)))
        except ValueError as error:
            _give_up(str(error))
        notify("READY=1")
        gateway.run()
    _log.info("the gateway has stopped")


@app.command()
def config() -> None:
    """Print the effective settings as JSON."""
    typer.echo(json.dumps(_settings().shown(), indent=2))


@app.command()
def echo(
    remote: Annotated[str, typer.Argument(metavar="REMOTE", help="Name in [dimse.remotes], or HOST:PORT.")],
    ae_title: Annotated[str, typer.Option("--ae-title", metavar="TITLE", help="AE title of HOST:PORT.")] = "ANY-SCP",
    tls: Annotated[bool, typer.Option("--tls", help="Connect to HOST:PORT with TLS.")] = False,
) -> None:
    """Test the connection to a remote with C-ECHO. Exit code: 0 if it responds, 1 if not."""
    settings = _settings()
    quiet_libraries()
    try:
        chosen = settings.remotes.get(remote) or _remote_at(remote, ae_title, tls)
        requestor = Requestor(settings, limits_of(settings), dimse_tls_files(settings))
        seconds = verify(requestor, chosen)
    except TlsError as error:
        _give_up(f"TLS: {error}")
    except CannotConnect as error:
        typer.echo(f"dimse: {chosen.ae_title} at {chosen.host}:{chosen.port}: {error} ({error.problem})", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{chosen.ae_title} at {chosen.host}:{chosen.port} responds in {seconds * 1000:.0f} ms")


@app.command()
def find(
    remote: Annotated[str, typer.Argument(metavar="REMOTE", help="Name in [dimse.remotes], or HOST:PORT.")],
    keys: Annotated[list[str], typer.Argument(metavar="KEY[=VALUE]...", help="Keywords; with a value, it must match.")],
    level: Annotated[str, typer.Option("--level", metavar="LEVEL", help="study, series or image.")] = "study",
    ae_title: Annotated[str, typer.Option("--ae-title", metavar="TITLE", help="AE title of HOST:PORT.")] = "ANY-SCP",
    tls: Annotated[bool, typer.Option("--tls", help="Connect to HOST:PORT with TLS.")] = False,
) -> None:
    """Query a remote with C-FIND (Study Root); print a JSON object for each match.

    Exit code: 0 also without matches, 1 if the query fails.
    """
    settings = _settings()
    quiet_libraries()
    chosen = settings.remotes.get(remote) or _remote_at(remote, ae_title, tls)
    if level.upper() not in _LEVELS_OF_FIND:
        _give_up("the level must be study, series or image")
    wanted = Level(level.upper())
    try:
        requested = {UNIQUE_KEYS[wanted]: "", **tags_of(dict(map(_key_and_value, keys)))}
        requestor = Requestor(settings, limits_of(settings), dimse_tls_files(settings))
        association = requestor.open(chosen, [(STUDY_ROOT_FIND, TRANSFER_SYNTAXES)])
        with closing(association):
            for match in matches_of(association, wanted, requested):
                shown = {keyword_for_tag(int(tag, 16)): value_of(match, tag) for tag in match if tag in requested}
                typer.echo(json.dumps(shown, ensure_ascii=False))
            association.release()
    except TlsError as error:
        _give_up(f"TLS: {error}")
    except CannotConnect as error:
        typer.echo(f"dimse: {chosen.ae_title} at {chosen.host}:{chosen.port}: {error} ({error.problem})", err=True)
        raise typer.Exit(1) from None
    except AttemptFailed as error:
        if error.problem == "INVALID_KEYS":
            _give_up(str(error))
        typer.echo(f"dimse: {error} ({error.problem})", err=True)
        raise typer.Exit(1) from None
    except (AssociationLost, ProtocolError) as error:
        typer.echo(f"dimse: {error}", err=True)
        raise typer.Exit(1) from None


def _key_and_value(key: str) -> tuple[str, str]:
    keyword, _, value = key.partition("=")
    return keyword, value


def _remote_at(address: str, ae_title: str, tls: bool) -> RemoteSettings:
    """Return the remote at HOST:PORT."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        _give_up(f"the settings have no remote {address}; write a name in [dimse.remotes], or HOST:PORT")
    try:
        return RemoteSettings(ae_title=ae_title, host=host.strip("[]"), port=int(port), tls=tls)
    except ValidationError as error:
        _give_up(problem_of(error))


def quiet_libraries() -> None:
    """Let pydicom and pynetdicom log nothing: their logs and warnings have values of data sets, also patient data."""
    for name in ("pydicom", "pynetdicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
        logging.getLogger(name).propagate = False
    warnings.simplefilter("ignore")


def main() -> None:
    """Run the program."""
    app()


def _settings() -> Settings:
    try:
        return Settings()
    except (ValidationError, ValueError, OSError) as error:
        _give_up(problem_of(error))


def _give_up(message: str) -> NoReturn:
    typer.echo(f"dimse: {message}", err=True)
    raise typer.Exit(2)


if __name__ == "__main__":
    main()
