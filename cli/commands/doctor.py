"""`dicomstore doctor`: check the installation and the stored data, and suggest remedies."""

import json
import os
import shutil
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

import grpc
import typer
from dicomstore.v1 import capabilities_service_pb2, capabilities_service_pb2_grpc
from rich.markup import escape

from cli.addresses import claim, parse_address
from cli.commands.config import Setting, effective
from cli.config import Settings
from cli.connection import JsonOption
from cli.errors import FAILED, Failure, run
from cli.output import data, in_bytes, table
from cli.processes.environment import DatabaseOption, DataOption, GrpcOption, HttpOption, environment_of
from cli.processes.health import PROBE_S, channel_to_own_core, core_status, facade_status
from cli.processes.programs import Module, last_lines, run_program
from cli.tls import speaks_tls
from common.addresses import is_loopback
from common.core_channel import address_of
from common.tls import TlsError, TlsFiles, TlsPaths, end_of

PACKAGES = ("dicomstore", "grpcio", "protobuf", "pydicom", "sqlalchemy", "starlette", "uvicorn")


class Status(StrEnum):
    """Severity of a check's result."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


_STYLES = {Status.OK: "green", Status.WARNING: "yellow", Status.FAILED: "bold red"}


@dataclass(frozen=True, slots=True)
class Check:
    """Result of one check."""

    name: str
    status: Status
    detail: str
    hint: str = ""


def doctor(
    deep: Annotated[bool, typer.Option("--deep", help="Read every stored byte and compare checksums.")] = False,
    data_directory: DataOption = None,
    http: HttpOption = None,
    grpc_address: GrpcOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check settings, versions, disk, database and both programs, and compare index, files and change feed.

    Run it on the machine of the core, with the core's settings; the archive may be running or stopped. While instances
    are stored or deleted, counts may differ for a moment: repeat the command before acting on a difference.

    Exit code: 0 no check failed (there may be warnings), 1 a check failed.
    """
    environment = environment_of(data=data_directory, http=http, grpc=grpc_address, database=database)
    run(_doctor(environment, deep=deep, as_json=as_json))


async def _doctor(environment: Mapping[str, str], *, deep: bool, as_json: bool) -> int:
    checks = [check async for check in examine(environment, deep=deep)]
    if as_json:
        typer.echo(json.dumps({"checks": [_to_json(check) for check in checks]}, indent=2))
    else:
        rows = table("", "", "Check", "Found", folds={"Found"})
        for check in checks:
            hint = f"\n[dim]hint: {escape(check.hint)}[/]" if check.hint else ""
            status = f"[{_STYLES[check.status]}]{check.status}[/]"
            rows.add_row(status, escape(check.name), f"{escape(check.detail)}{hint}")
        data.print(rows)
    return FAILED if any(check.status is Status.FAILED for check in checks) else 0


def _to_json(check: Check) -> dict[str, str]:
    return {"name": check.name, "status": check.status.value, "detail": check.detail, "hint": check.hint}


async def examine(environment: Mapping[str, str], *, deep: bool) -> AsyncIterator[Check]:
    """Run the checks in order and yield their results; stops after the settings if they are not readable."""
    yield _versions()
    try:
        settings = effective(environment)
    except Failure as failure:
        yield Check("settings", Status.FAILED, failure.message, "correct the named variable or line")
        return
    yield _settings(settings)
    values = {(setting.program, setting.name): str(setting.value) for setting in settings}
    warn_free_bytes = int(values["server", "warn_free_bytes"])
    yield _disk("disk", Path(values["server", "data"]), warn_free_bytes, "DICOMSTORE_DATA")
    if (blobs := urlsplit(values["server", "blobs"])).scheme == "file":
        yield _disk("disk of blobs", Path(unquote(blobs.path)), warn_free_bytes, "DICOMSTORE_BLOBS")
    own = {program: _tls_paths(values, program) for program in ("server", "facade")}
    for_core = TlsPaths(*(values["facade", f"core_{name}"] for name in ("certificate", "key", "ca")))
    for paths in dict.fromkeys((*own.values(), for_core)):
        if paths.certificate:
            yield certificate_check(paths, "core" if paths is for_core else "tls")
    try:
        client = Settings()
        channel = channel_to_own_core(parse_address(values["server", "grpc"]).to_connect(), own["server"], client)
        async with channel:
            others = (values["facade", "http"], values["server", "grpc_client_certificates"])
            yield await _core(values["server", "grpc"], channel, others)
            has_worker = await _has_worker(channel)
        yield await _facade(values["facade", "http"], own["facade"], client)
    except (OSError, ValueError) as error:  # of the files
        has_worker = True
        yield Check("core and facade", Status.FAILED, f"cannot be called: {error}", "correct the files for TLS")
    if told := core_of_facade(settings):
        yield told
    for check in await _stored(environment, deep=deep):
        if check.name == "operations" and check.status is Status.OK and not has_worker:
            detail = f"{check.detail}, and the operations worker is not running"
            yield Check(check.name, Status.WARNING, detail, _HINTS[check.name])
        else:
            yield check


def _versions() -> Check:
    found: dict[str, str] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    detail = ", ".join(f"{package} {number}" for package, number in found.items())
    if "missing" in found.values():
        return Check(
            "versions", Status.FAILED, detail, "install dicomstore into this environment, e.g. `pip install -e .`"
        )
    return Check("versions", Status.OK, detail)


def _settings(settings: list[Setting]) -> Check:
    changed = [f"{setting.program} {setting.name} from {setting.origin}" for setting in settings if setting.origin]
    return Check("settings", Status.OK, ", ".join(changed) or "all defaults")


def _disk(name: str, directory: Path, warn_free_bytes: int, variable: str) -> Check:
    existing = next(path for path in (directory.absolute(), *directory.absolute().parents) if path.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        hint = f"allow the user of the core to write there, or choose another directory with {variable}"
        return Check(name, Status.FAILED, f"{existing} is not writable", hint)
    free_bytes = shutil.disk_usage(existing).free
    detail = f"{in_bytes(free_bytes)} free at {directory.absolute()}"
    hint = f"free disk space, or move the directory with {variable}"
    if free_bytes < warn_free_bytes:
        return Check(name, Status.WARNING, detail, hint)
    return Check(name, Status.OK, detail)


def _tls_paths(values: Mapping[tuple[str, str], str], program: str) -> TlsPaths:
    return TlsPaths(*(values[program, f"tls_{name}"] for name in ("certificate", "key", "client_ca", "client_crl")))


def certificate_check(paths: TlsPaths, prefix: str = "tls") -> Check:
    """Check the files of settings such as `tls_certificate` and `tls_key`, whose names begin with `prefix`."""
    name, hint = "certificate", "replace the file: a running program loads it within seconds"
    try:
        files = TlsFiles(paths, prefix)
    except TlsError as error:
        return Check(name, Status.FAILED, str(error), hint)
    end = end_of(files.content.certificate)
    if end < datetime.now(UTC):
        return Check(name, Status.FAILED, f"{paths.certificate} expired at {end.isoformat()}", hint)
    if warnings := files.warnings():
        return Check(name, Status.WARNING, "; ".join(warnings), "see docs/operations.md, Certificates")
    return Check(name, Status.OK, f"{paths.certificate} is valid until {end.isoformat()}")


async def _core(listens_on: str, channel: grpc.aio.Channel, others: Sequence[str]) -> Check:
    """Check the core; `others` are the other addresses of the archive, empty for none."""
    address = str(parse_address(listens_on).to_connect())
    try:
        status, writes = await core_status(channel), await core_status(channel, "writes")
        capabilities = await capabilities_service_pb2_grpc.CapabilitiesServiceStub(channel).GetCapabilities(
            capabilities_service_pb2.GetCapabilitiesRequest(), timeout=PROBE_S
        )
    except grpc.aio.AioRpcError as error:
        if "HANDSHAKE" in (error.details() or "").upper() or speaks_tls(*parse_address(address).parts):
            return _refused("core", address)
        return _silent("core", listens_on, "DICOMSTORE_GRPC")
    if status != "SERVING":
        hint = "see the core's log; the usual cause is an unreachable database or disk"
        return Check("core", Status.FAILED, f"reports {status} at {address}", hint)
    if writes != "SERVING":
        hint = "free space on the disks of the data directory and the database; the core's log has the reason"
        return Check("core", Status.FAILED, f"serves reads at {address}, but cannot store", hint)
    running = capabilities.server_version
    detail = f"serves at {address}, version {running}"
    if not capabilities.features.authentication_required:
        detail += ", without authentication"
        if not all(map(is_loopback, filter(None, (listens_on, *others)))):
            return Check("core", Status.WARNING, detail, "see docs/security.md, Without authentication")
    try:
        if running != version("dicomstore"):
            return Check(
                "core", Status.WARNING, f"{detail}; installed here is {version('dicomstore')}", "restart the core"
            )
    except PackageNotFoundError:
        pass  # reported by the check of versions
    return Check("core", Status.OK, detail)


async def _has_worker(channel: grpc.aio.Channel) -> bool:
    """Return false if a running core reports that no worker for operations runs; true if no core answers."""
    try:
        return await core_status(channel, "operations") == "SERVING"
    except grpc.aio.AioRpcError:
        return True


async def _facade(listens_on: str, own: TlsPaths, client: Settings) -> Check:
    address = parse_address(listens_on).to_connect()
    url = f"{'https' if own.certificate else 'http'}://{address}"
    status = await facade_status(address, own, client)
    if status is None and speaks_tls(*address.parts):
        return _refused("facade", str(address))
    if status is None:
        return _silent("facade", listens_on, "DICOMSTORE_HTTP")
    if status != 200:
        hint = "see the core's status above, then the facade's log"
        return Check("facade", Status.FAILED, f"{url}/health/check returns {status}", hint)
    return Check("facade", Status.OK, f"serves at {url}")


def core_of_facade(settings: Iterable[Setting]) -> Check | None:
    """Return a warning if the facade's setting `core` is set and names another address than the core's `grpc`.

    If it is not set, `dicomstore up` connects the two; a facade started alone then fails its own check.
    """
    by_name = {(setting.program, setting.name): setting for setting in settings}
    core, listens_on = by_name["facade", "core"], str(by_name["server", "grpc"].value)
    called = parse_address(address_of(str(core.value)).replace("localhost", "127.0.0.1"))
    if not core.origin or called.to_connect() == parse_address(listens_on).to_connect():
        return None
    return Check(
        "facade's core",
        Status.WARNING,
        f"the facade calls {core.value} (set by {core.origin}); the core here listens on {listens_on}",
        "correct if the facade uses another core on purpose; `dicomstore up` connects the two by itself",
    )


def _refused(name: str, address: str) -> Check:
    """Return the check of a program that uses TLS, but refuses this client or has another certificate."""
    hint = (
        "the program was started with other files for TLS, or requires the certificate of a client: "
        "set DICOMSTORE_CORE_CERTIFICATE and DICOMSTORE_CORE_KEY for this command"
    )
    return Check(name, Status.WARNING, f"the program at {address} refuses the connection", hint)


def _silent(name: str, listens_on: str, variable: str) -> Check:
    """Return the check of a program that does not answer: not running, or its port is used by another program."""
    try:
        claim(parse_address(listens_on))
    except OSError as error:
        hint = f"stop the program that uses it (see `ss -ltnp`), or choose another address with {variable}"
        return Check(name, Status.FAILED, f"not running, and cannot listen on {listens_on}: {error.strerror}", hint)
    return Check(name, Status.WARNING, f"not running; {listens_on} is free", "start it with `dicomstore up`")


_HINTS = {
    "archive": "see docs/operations.md, When something fails; nothing is erased until this is resolved",
    "disk": "free disk space, or correct DICOMSTORE_DATA",
    "database": "if the schema is old, run `dicomstore migrate` (`dicomstore up` does so for the embedded database); "
    "if the database is unreachable, start it or correct DICOMSTORE_DATABASE",
    "identity provider": "correct DICOMSTORE_AUTH_ISSUER, or see whether this machine can reach the provider",
    "operations": "make sure that a worker runs (part of `dicomstore up`, otherwise `dicomstore-server work`) and see "
    "its log; delete and add again a query tag with a cancelled or failed operation",
    "clock": "see docs/operations.md, Deleting and erasing",
    "webhooks": "see `dicomstore webhooks list`; correct the receiver, then `dicomstore webhooks retry ID --all` sends "
    "dead letters again",
    "workitem rules": "see `dicomstore workitems rules list`; correct it with `dicomstore workitems rules update`",
    "transfers": "see `dicomstore dimse transfers`; correct the connection or the configuration of the gateway, then "
    "`dicomstore dimse transfers ID --retry` begins one again",
    "agreement": "repeat while nothing is stored or deleted; if it persists, restore the named instances from a backup",
    "history": "earlier versions and deleted instances can be restored from a backup only; until then the named ones "
    "can be neither reverted to nor restored",
    "adopted folders": "mount the named folders, or correct `adopted_folders`; their instances are unavailable",
    "scrub": "restore damaged instances from a backup; a late scrub means that the core was not running or that the "
    "disk is too slow for `scrub_days`: see docs/operations.md, Scrub",
    "unused blobs": "normal for a moment during uploads; blobs left by a crash are quarantined at the next start",
    "quarantine": "after a crash these are uploads that were not acknowledged; if there are more, the index does not "
    "belong to these bytes or is an older copy: see docs/operations.md, restore",
}


async def _stored(environment: Mapping[str, str], *, deep: bool) -> list[Check]:
    """Run the core's audit of database, blobs and change feed; there is no time limit."""
    arguments = ("check", "--deep") if deep else ("check",)
    _, output, errors = await run_program(Module.CORE, *arguments, environment=environment)
    try:
        entries = json.loads(output)["checks"]
    except (ValueError, KeyError):
        return [Check("stored data", Status.FAILED, f"cannot be checked: {last_lines(errors)}", "see the message")]
    return [_stored_check(entry) for entry in entries if entry["name"] != "disk"]


def _stored_check(entry: dict[str, object]) -> Check:
    name, status = str(entry["name"]), Status(str(entry["status"]))
    examples = entry.get("examples")
    detail = "\n".join([str(entry["detail"]), *(examples if isinstance(examples, list) else [])])
    return Check(name, status, detail, "" if status is Status.OK else _HINTS.get(name, "see the core's log"))
