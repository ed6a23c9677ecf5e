"""`dicomstore audit`: search, follow and verify the audit trail."""

import json
import os
import re
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from dicomstore.v1 import audit_service_pb2 as pb
from dicomstore.v1 import audit_service_pb2_grpc
from google.protobuf.timestamp_pb2 import Timestamp

from cli.connection import CoreOption, JsonOption, QuietOption, Target, messages_of, target
from cli.errors import INTERRUPTED, run
from cli.output import HELD_ROWS, data, print_rows, problems
from cli.processes.environment import DataOption, environment_of
from cli.processes.programs import Module, command
from common.peers import ip_address_of

_LIMIT = 1000
_SILENT_S = 65.0
"""Idle timeout of a followed trail; the core sends a message at least every 30 s."""

_VERIFY_S = 24 * 3600
_PERIOD = re.compile(r"([0-9]{1,6})([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_HEADINGS = ("Time (UTC)", "Kind", "Principal", "Client", "Action", "Outcome", "Resource", "Request")

audit = typer.Typer(help="Search, follow and verify the audit trail.", invoke_without_command=True)


class Form(StrEnum):
    """The forms in which records are printed."""

    table = "table"
    json = "json"
    azure = "azure"
    dicom = "dicom"


_FORMS = {Form.azure: pb.AUDIT_FORM_AZURE, Form.dicom: pb.AUDIT_FORM_DICOM}


@audit.callback()
def search(
    ctx: typer.Context,
    since: Annotated[
        str, typer.Option(metavar="TIME", help="From this time on: a period before now (30m, 12h, 7d), or ISO 8601.")
    ] = "",
    until: Annotated[str, typer.Option(metavar="TIME", help="Before this time.")] = "",
    principal: Annotated[str, typer.Option(metavar="ID", help="Of this principal.")] = "",
    study: Annotated[str, typer.Option(metavar="UID", help="With access to this study.")] = "",
    series: Annotated[str, typer.Option(metavar="UID", help="With access to this series.")] = "",
    instance: Annotated[str, typer.Option(metavar="UID", help="With access to this instance.")] = "",
    action: Annotated[str, typer.Option(metavar="NAME", help="Of this action or sub-type: write, retrieve …")] = "",
    outcome: Annotated[
        str, typer.Option(metavar="NAME", help="success, failure, a status code or an error reason.")
    ] = "",
    request: Annotated[str, typer.Option(metavar="ID", help="With this request id.")] = "",
    client: Annotated[str, typer.Option(metavar="ADDRESS", help="From this address.")] = "",
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help=f"Maximum number of records. [{_LIMIT} in a table; otherwise no limit]"),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print new records until Ctrl-C.")] = False,
    form: Annotated[Form, typer.Option(help="json, azure and dicom print one record per line.")] = Form.table,
    core: CoreOption = None,
    quiet: QuietOption = False,
) -> None:
    """Search the audit trail, oldest first. This requires the action `audit`, and is itself recorded."""
    if ctx.invoked_subcommand is not None:
        return
    chosen = target(ctx, core, None, quiet)
    wanted = pb.AuditFilter(
        principal=principal,
        partition=chosen.partition,
        study_instance_uid=study,
        series_instance_uid=series,
        sop_instance_uid=instance,
        action=action,
        outcome=outcome,
        request_id=request,
        client=client,
    )
    if follow:
        if since or until:
            raise typer.BadParameter("--follow prints new records; it cannot be combined with --since or --until.")
        run(_follow(chosen, wanted, form, limit), core=chosen.core, interrupted=0)
    if since:
        wanted.start_time.CopyFrom(_timestamp(time_of(since)))
    if until:
        wanted.end_time.CopyFrom(_timestamp(time_of(until)))
    run(_search(chosen, wanted, form, limit or default_limit(form)), core=chosen.core, interrupted=INTERRUPTED)


@audit.command()
def verify(
    ctx: typer.Context,
    key: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Public key that must have signed, in PEM format.")
    ] = None,
    checkpoint: Annotated[
        str, typer.Option(metavar="N:DIGEST", help="Checkpoint of an earlier verification, kept elsewhere.")
    ] = "",
    offline: Annotated[bool, typer.Option("--offline", help="Read the files directly, without a core.")] = False,
    data_directory: DataOption = None,
    as_json: JsonOption = False,
    core: CoreOption = None,
    quiet: QuietOption = False,
) -> None:
    """Check that no record was changed or removed. The exit code is 1 if one was.

    It prints the last checkpoint and the key: note both on another machine for the next verification.
    """
    if offline:
        arguments = ["verify-audit", *(["--key", str(key)] if key else []), "--checkpoint", checkpoint]
        _become(arguments, data_directory)
    chosen = target(ctx, core, None, quiet)
    request = pb.VerifyAuditTrailRequest(trusted_key=key.read_text() if key else "", checkpoint=checkpoint)
    run(_verify(chosen, request, as_json), core=chosen.core)


@audit.command("replace-key")
def replace_key(
    old: Annotated[
        Path, typer.Option("--old", metavar="FILE", help="The key until now, which signs the new one.")
    ] = Path("/nonexistent"),
    data_directory: DataOption = None,
) -> None:
    """Sign with the key of the settings from now on. Stop the archive first.

    Without the old key, verifications report the replacement.
    """
    _become(["replace-audit-key", "--old", str(old)], data_directory)


def default_limit(form: Form) -> int:
    """Return the maximum number of records of a search; 0 is no limit, because an export must be complete."""
    return _LIMIT if form is Form.table else 0


def time_of(text: str, now: datetime | None = None) -> datetime:
    """Return the time that a text states: a period before now, or ISO 8601, in UTC unless it has an offset.

    Raises:
        typer.BadParameter: it is neither.
    """
    if period := _PERIOD.fullmatch(text):
        return (now or datetime.now(UTC)) - timedelta(seconds=int(period[1]) * _UNITS[period[2]])
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("A time is a period such as 12h, or a time such as 2026-01-31T08:00.") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


async def _search(chosen: Target, wanted: pb.AuditFilter, form: Form, limit: int) -> int:
    request = pb.SearchAuditEventsRequest(filter=wanted, form=_FORMS.get(form, pb.AUDIT_FORM_UNSPECIFIED), limit=limit)
    rows: list[Sequence[str]] = []
    count = 0
    async with chosen.channel() as channel:
        stub = audit_service_pb2_grpc.AuditServiceStub(channel)
        async for event in _events(stub.SearchAuditEvents(request, metadata=chosen.metadata()), chosen):
            count += 1
            if form is not Form.table:
                typer.echo(event.data.decode())
                continue
            rows.append(_row(json.loads(event.data)))
            if len(rows) == HELD_ROWS:
                print_rows(data, _HEADINGS, rows, {"Resource"}, with_headings=count == HELD_ROWS)
                rows.clear()
    if rows:
        print_rows(data, _HEADINGS, rows, {"Resource"}, with_headings=count == len(rows))
    if form is Form.table and not chosen.quiet and count >= limit:
        problems.print("there may be more, see --limit and --since")
    return 0


async def _follow(chosen: Target, wanted: pb.AuditFilter, form: Form, limit: int | None) -> int:
    request = pb.WatchAuditEventsRequest(filter=wanted, form=_FORMS.get(form, pb.AUDIT_FORM_UNSPECIFIED))
    count, last = 0, None
    async with chosen.channel() as channel:
        stub = audit_service_pb2_grpc.AuditServiceStub(channel)
        async for response in messages_of(stub.WatchAuditEvents(request, metadata=chosen.metadata()), _SILENT_S):
            for event in response.events:
                if (event.writer, event.number) != last:  # a record may have several events, all in one message
                    if count == limit:
                        return 0
                    count, last = count + 1, (event.writer, event.number)
                text = event.data.decode()
                typer.echo("  ".join(_row(json.loads(text))) if form is Form.table else text)
            if count == limit:
                return 0
    return 0


async def _events(call: Any, chosen: Target) -> AsyncIterator[pb.AuditEvent]:
    async for response in messages_of(call, _SILENT_S):
        for event in response.events:
            yield event


async def _verify(chosen: Target, request: pb.VerifyAuditTrailRequest, as_json: bool) -> int:
    async with chosen.channel() as channel:
        stub = audit_service_pb2_grpc.AuditServiceStub(channel)
        found = await stub.VerifyAuditTrail(request, metadata=chosen.metadata(), timeout=_VERIFY_S)
    if as_json:
        findings = [
            {"kind": one.kind, "place": one.place, "message": one.message, "is_tampering": one.is_tampering}
            for one in found.findings
        ]
        facts = {"is_intact": found.is_intact, "writers": found.writers, "records": found.records}
        typer.echo(
            json.dumps(
                {**facts, "checkpoint": found.checkpoint, "key": found.key_fingerprint, "findings": findings}, indent=2
            )
        )
        return 0 if found.is_intact else 1
    for one in found.findings:
        typer.echo(f"{'TAMPERED' if one.is_tampering else 'note'}  {one.kind}  {one.place}: {one.message}")
    typer.echo(
        f"{found.records} records of {found.writers} processes are {'intact' if found.is_intact else 'NOT intact'}"
    )
    typer.echo(f"checkpoint {found.checkpoint}")
    typer.echo(f"key {found.key_fingerprint}")
    return 0 if found.is_intact else 1


def _row(record: dict[str, Any]) -> Sequence[str]:
    reasons = {instance[4] for instance in record.get("instances", ())}
    outcome = record.get("reason") or record.get("code") or ", ".join(sorted(reasons)) or ""
    return (
        record["time"][:23].replace("T", " "),
        record["kind"],
        record.get("principal", ""),
        ip_address_of(record.get("client") or record.get("peer", "")),
        record.get("subtype", ""),
        outcome,
        _resource(record),
        record.get("request", ""),
    )


def _resource(record: dict[str, Any]) -> str:
    if instances := record.get("instances") or record.get("erased"):
        first = "/".join(instances[0][:3])
        return first if len(instances) == 1 else f"{first} and {len(instances) - 1} more"
    address = "/".join(record[name] for name in ("study", "series", "instance") if name in record)
    keys = " ".join(f"{key[0]}={','.join(key[1:])}" for key in record.get("search", {}).get("keys", ()))
    return f"{address} {keys}".strip() or record.get("partition", "")


def _timestamp(time: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(time)
    return timestamp


def _become(arguments: list[str], data_directory: Path | None) -> NoReturn:
    program = command(Module.CORE, *arguments)
    os.execve(program[0], program, environment_of(data=data_directory))  # noqa: S606 - the command is built here
