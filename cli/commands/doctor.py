"""`dicomstore doctor`: is everything well, and what to do if not."""

import json
import os
import shutil
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import grpc
import typer
from dicomstore.v1 import capabilities_service_pb2, capabilities_service_pb2_grpc
from rich.markup import escape

from cli.addresses import claim, parse_address
from cli.commands.config import Setting, effective
from cli.connection import JsonOption
from cli.errors import FAILED, Failure, run
from cli.output import data, in_bytes, table
from cli.processes.environment import DatabaseOption, DataOption, GrpcOption, HttpOption, environment_of
from cli.processes.health import PROBE_S, core_status, facade_status
from cli.processes.programs import Module, answer, last_lines

PACKAGES = ("dicomstore", "grpcio", "protobuf", "pydicom", "sqlalchemy", "starlette", "uvicorn")


class Status(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


_STYLES = {Status.OK: "green", Status.WARNING: "yellow", Status.FAILED: "bold red"}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

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
    """Check settings, versions, disk, database, both programs, and that index, files and change feed agree.

    Works with the archive running or not; run it where the core runs, with the same settings. While instances are being
    stored or deleted the counts may differ for a moment: repeat it before believing that.

    Exit code: 0 all is well or nearly, 1 something failed.
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
    """Yield the checks, one after the other; later ones are left out when the settings are not even readable."""
    yield _versions()
    try:
        settings = effective(environment)
    except Failure as failure:
        yield Check("settings", Status.FAILED, failure.message, "correct the variable or the line that is named")
        return
    yield _settings(settings)
    values = {(setting.program, setting.name): str(setting.value) for setting in settings}
    yield _disk(Path(values["server", "data"]), int(values["server", "warn_free_bytes"]))
    yield await _core(values["server", "grpc"])
    yield await _facade(values["facade", "http"])
    if told := core_of_facade(settings):
        yield told
    has_worker = await _has_worker(values["server", "grpc"])
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


def _disk(directory: Path, warn_free_bytes: int) -> Check:
    existing = next(path for path in (directory.absolute(), *directory.absolute().parents) if path.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        hint = "give the user that runs the core the right to write there, or choose another with DICOMSTORE_DATA"
        return Check("disk", Status.FAILED, f"{existing} can't be written to", hint)
    free_bytes = shutil.disk_usage(existing).free
    detail = f"{in_bytes(free_bytes)} free at {directory.absolute()}"
    hint = "make room, or move the data directory with DICOMSTORE_DATA"
    if free_bytes < warn_free_bytes:
        return Check("disk", Status.WARNING, detail, hint)
    return Check("disk", Status.OK, detail)


async def _core(listens_on: str) -> Check:
    address = str(parse_address(listens_on).to_connect())
    async with grpc.aio.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            status, writes = await core_status(channel), await core_status(channel, "writes")
            running = (
                await capabilities_service_pb2_grpc.CapabilitiesServiceStub(channel).GetCapabilities(
                    capabilities_service_pb2.GetCapabilitiesRequest(), timeout=PROBE_S
                )
            ).server_version
        except grpc.aio.AioRpcError:
            return _silent("core", listens_on, "DICOMSTORE_GRPC")
    if status != "SERVING":
        hint = "look at its log; most often database or disk can't be reached"
        return Check("core", Status.FAILED, f"answers {status} at {address}", hint)
    if writes != "SERVING":
        hint = "make room on the disks of data directory and database; the core's log has the reason"
        return Check("core", Status.FAILED, f"serves what is stored at {address}, but nothing can be stored", hint)
    detail = f"serves at {address}, version {running}"
    try:
        if running != version("dicomstore"):
            return Check("core", Status.WARNING, f"{detail}; here it is {version('dicomstore')}", "restart the core")
    except PackageNotFoundError:
        pass  # the check of versions has said so
    return Check("core", Status.OK, detail)


async def _has_worker(listens_on: str) -> bool:
    """Say whether the core, if it runs, finds that operations are worked on; what else may be wrong the index says."""
    address = str(parse_address(listens_on).to_connect())
    async with grpc.aio.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            return await core_status(channel, "operations") == "SERVING"
        except grpc.aio.AioRpcError:
            return True


async def _facade(listens_on: str) -> Check:
    url = f"http://{parse_address(listens_on).to_connect()}"
    status = await facade_status(url)
    if status is None:
        return _silent("facade", listens_on, "DICOMSTORE_HTTP")
    if status != 200:
        hint = "see the core's state above, then the facade's log"
        return Check("facade", Status.FAILED, f"answers {status} to {url}/health/check", hint)
    return Check("facade", Status.OK, f"serves at {url}")


def core_of_facade(settings: Iterable[Setting]) -> Check | None:
    """Return a warning if the facade was told to use another core than the one here.

    One that was told nothing is connected by `dicomstore up`; started alone, it can't serve, which its own check finds.
    """
    by_name = {(setting.program, setting.name): setting for setting in settings}
    core, listens_on = by_name["facade", "core"], str(by_name["server", "grpc"].value)
    if not core.origin or parse_address(str(core.value)).to_connect() == parse_address(listens_on).to_connect():
        return None
    return Check(
        "facade's core",
        Status.WARNING,
        f"the facade asks {core.value}, from {core.origin}; the core here listens on {listens_on}",
        "fine if the facade uses a core elsewhere; `dicomstore up` connects both by itself",
    )


def _silent(name: str, listens_on: str, variable: str) -> Check:
    """Tell a program that is not running from a stranger on its port."""
    try:
        claim(parse_address(listens_on))
    except OSError as error:
        hint = f"stop what uses it (`ss -ltnp` shows it), or choose another with {variable}"
        return Check(name, Status.FAILED, f"not running, and {listens_on} can't be used: {error.strerror}", hint)
    return Check(name, Status.WARNING, f"not running; {listens_on} is free", "start it with `dicomstore up`")


_HINTS = {
    "archive": "see the message and docs/operations.md, When something fails; nothing is erased meanwhile",
    "disk": "make room, or correct DICOMSTORE_DATA",
    "database": "if it is behind, run `dicomstore migrate` (`dicomstore up` does so for the embedded one); "
    "if it can't be reached, start it or correct DICOMSTORE_DATABASE",
    "operations": "see that a worker runs (`dicomstore up` has one, else `dicomstore-server work`), and what it logs; "
    "a tag whose operation was cancelled or failed is deleted and added again",
    "clock": "see docs/operations.md, Deleting and erasing",
    "agreement": "repeat it while nothing is stored or deleted; if it stays, restore the named instances from a backup",
    "scrub": "restore damaged instances from a backup; if the scrub is late, the core was not running, or the disk is "
    "too slow for `scrub_days`: see docs/operations.md, Scrub",
    "unused blobs": "a core that is storing has some for a moment; what a crash left is quarantined at the next start",
    "quarantine": "after a crash this is what was not acknowledged; if it is more than that, the index is not the one "
    "that belongs to this data directory, or an older copy of it: see docs/operations.md, restore",
}


async def _stored(environment: Mapping[str, str], *, deep: bool) -> list[Check]:
    """Have the core's own audit look at database, blobs and change feed; it takes as long as it takes."""
    arguments = ("check", "--deep") if deep else ("check",)
    _, output, errors = await answer(Module.CORE, *arguments, environment=environment)
    try:
        entries = json.loads(output)["checks"]
    except (ValueError, KeyError):
        return [Check("stored data", Status.FAILED, f"can't be checked: {last_lines(errors)}", "see the message")]
    return [_stored_check(entry) for entry in entries if entry["name"] != "disk"]


def _stored_check(entry: dict[str, object]) -> Check:
    name, status = str(entry["name"]), Status(str(entry["status"]))
    examples = entry.get("examples")
    detail = "\n".join([str(entry["detail"]), *(examples if isinstance(examples, list) else [])])
    return Check(name, status, detail, "" if status is Status.OK else _HINTS.get(name, "see the core's log"))
