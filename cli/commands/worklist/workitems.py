"""`dicomstore workitems`: create, find, claim and finish workitems."""

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from dicomstore.v1 import workitem_service_pb2 as pb
from dicomstore.v1 import workitem_service_pb2_grpc

from cli.commands.worklist.matches import COLUMNS, FOLDS, State, WordsArgument, matches_of, row_of, terms_of
from cli.commands.worklist.rules import rules
from cli.commands.worklist.watch import watch
from cli.connection import CALL_TIMEOUT_S, CoreOption, JsonOption, PartitionOption, QuietOption, Target, target
from cli.errors import run
from cli.output import data, print_rows, problems
from cli.results.data_set import SetOption, data_set_of
from common.counting import counted

_MAY_BE_EMPTY = {
    "AdmissionID": "00380010",
    "AdmittingDiagnosesCodeSequence": "00081084",
    "AdmittingDiagnosesDescription": "00081080",
    "CommentsOnTheScheduledProcedureStep": "00400400",
    "InputInformationSequence": "00404021",
    "IssuerOfAdmissionIDSequence": "00380014",
    "IssuerOfPatientID": "00100021",
    "IssuerOfPatientIDQualifiersSequence": "00100024",
    "OtherPatientIDsSequence": "00101002",
    "PatientBirthDate": "00100030",
    "PatientName": "00100010",
    "PatientSex": "00100040",
    "ProcedureStepProgressInformationSequence": "00741002",
    "ReferencedRequestSequence": "0040A370",
    "ScheduledProcessingParametersSequence": "00741210",
    "ScheduledStationClassCodeSequence": "00404026",
    "ScheduledStationGeographicLocationCodeSequence": "00404027",
    "ScheduledStationNameCodeSequence": "00404025",
    "ScheduledWorkitemCodeSequence": "00404018",
    "TransactionUID": "00081195",
    "UnifiedProcedureStepPerformedProcedureSequence": "00741216",
}
"""Attributes that a new workitem must have and that may be empty (PS3.4 Table CC.2.5-3), with their tags."""

workitems = typer.Typer(help="Create, find, claim and finish workitems.", no_args_is_help=True)
workitems.add_typer(rules, name="rules")


UidArgument = Annotated[str, typer.Argument(metavar="UID", help="UID of the workitem.", show_default=False)]
_TRANSACTION = typer.Option("--transaction", metavar="UID", help="Transaction UID, which `claim` printed.")
TransactionOption = Annotated[str, _TRANSACTION]
FileArgument = Annotated[
    Path | None,
    typer.Argument(metavar="[FILE]", help="File with a DICOM JSON data set.", exists=True, dir_okay=False),
]
StateOption = Annotated[
    list[State] | None, typer.Option("--state", help="Only workitems in this state; may be repeated.")
]


@workitems.command()
def create(
    ctx: typer.Context,
    file: FileArgument = None,
    changes: SetOption = None,
    uid: Annotated[
        str, typer.Option("--uid", metavar="UID", help="UID of the workitem. Default: that of the file, or a new one.")
    ] = "",
    create_partition: Annotated[
        bool, typer.Option("--create-partition", help="Create the partition if it does not exist.")
    ] = False,
    core: CoreOption = None,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
) -> None:
    """Create a workitem from a file, `--set`, or both, and print its UID.

    ProcedureStepLabel is required. Priority is MEDIUM, the start is now and the input is ready, unless they are given.
    """
    chosen = target(ctx, core, partition, quiet)
    data_set = new_data_set(data_set_of(changes or [], file), uid)
    run(_create(chosen, data_set, uid, create_partition), core=chosen.core)


@workitems.command("list")
def list_(
    ctx: typer.Context,
    words: WordsArgument = None,
    state: StateOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of workitems.")] = 100,
    fuzzy: Annotated[bool, typer.Option("--fuzzy", help="Match person names by prefixes of their words.")] = False,
    as_json: JsonOption = False,
    core: CoreOption = None,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
) -> None:
    """List workitems, newest first. With --json, print one DICOM JSON object per line."""
    chosen = target(ctx, core, partition, quiet)
    request = pb.SearchWorkitemsRequest(
        partition=chosen.partition, terms=terms_of(words or [], state or []), fuzzy_matching=fuzzy, strict=True
    )
    run(_list(chosen, request, limit, as_json), core=chosen.core)


@workitems.command()
def show(
    ctx: typer.Context,
    workitem: UidArgument,
    core: CoreOption = None,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
) -> None:
    """Print a workitem as DICOM JSON."""
    chosen = target(ctx, core, partition, quiet)
    run(_show(chosen, workitem), core=chosen.core)


@workitems.command()
def claim(
    ctx: typer.Context,
    workitem: UidArgument,
    transaction: Annotated[
        str, typer.Option("--transaction", metavar="UID", help="Transaction UID to use. Default: a new one.")
    ] = "",
    core: CoreOption = None,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
) -> None:
    """Change a workitem to IN PROGRESS and print the Transaction UID, with which only its owner can finish it."""
    chosen = target(ctx, core, partition, quiet)
    run(_claim(chosen, workitem, transaction or new_uid()), core=chosen.core)


@workitems.command()
def update(
    ctx: typer.Context,
    workitem: UidArgument,
    file: FileArgument = None,
    changes: SetOption = None,
    transaction: TransactionOption = "",
    core: CoreOption = None,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
) -> None:
    """Replace attributes of a workitem. One that is IN PROGRESS needs --transaction."""
    chosen = target(ctx, core, partition, quiet)
    run(_update(chosen, workitem, transaction, data_set_of(changes or [], file)), core=chosen.core)


@workitems.command()
def complete(
    ctx: typer.Context,
    workitem: UidArgument,
    transaction: TransactionOption,
    file: FileArgument = None,
    core: CoreOption = None,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
) -> None:
    """Change a workitem to COMPLETED, after an update with the results in a file."""
    chosen = target(ctx, core, partition, quiet)
    results = data_set_of([], file)
    run(_finish(chosen, workitem, transaction, pb.WORKITEM_STATE_COMPLETED, results), core=chosen.core)


@workitems.command()
def cancel(
    ctx: typer.Context,
    workitem: UidArgument,
    transaction: TransactionOption = "",
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Reason, which the workitem records.")] = "",
    core: CoreOption = None,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
) -> None:
    """Cancel a workitem that is SCHEDULED, or with --transaction one that is IN PROGRESS."""
    chosen = target(ctx, core, partition, quiet)
    reasons = {"ReasonForCancellation": {"Value": [reason]}} if reason else {}
    if transaction:
        progress = {"ProcedureStepDiscontinuationReasonCodeSequence": {"Value": [_DISCONTINUED]}, **reasons}
        results = {"ProcedureStepProgressInformationSequence": {"Value": [progress]}}
        run(_finish(chosen, workitem, transaction, pb.WORKITEM_STATE_CANCELED, results), core=chosen.core)
    run(_request_cancellation(chosen, workitem, reasons), core=chosen.core)


workitems.command()(watch)

_DISCONTINUED = {
    "CodeValue": {"Value": ["110513"]},
    "CodingSchemeDesignator": {"Value": ["DCM"]},
    "CodeMeaning": {"Value": ["Discontinued for unspecified reason"]},
}
"""Procedure Step Discontinuation Reason (PS3.16 CID 9300)."""


def new_uid() -> str:
    """Return a new, random UID (PS3.5 section B.2)."""
    return f"2.25.{uuid.uuid4().int}"


def new_data_set(given: Mapping[str, Any], uid: str) -> dict[str, Any]:
    """Return the data set of a new workitem: the given attributes, and those that it must have as well."""
    defaults: dict[tuple[str, str], Any] = {
        ("SOPInstanceUID", "00080018"): {"Value": [uid or new_uid()]},
        ("ScheduledProcedureStepPriority", "00741200"): {"Value": ["MEDIUM"]},
        ("ScheduledProcedureStepStartDateTime", "00404005"): {"Value": [f"{datetime.now(UTC):%Y%m%d%H%M%S}+0000"]},
        ("InputReadinessState", "00404041"): {"Value": ["READY"]},
        **{name: {} for name in _MAY_BE_EMPTY.items()},
    }
    return {**given, **{tag: value for (name, tag), value in defaults.items() if not given.keys() & {name, tag}}}


async def _create(chosen: Target, data_set: dict[str, Any], uid: str, create_partition: bool) -> int:
    async with chosen.channel() as channel:
        stub = workitem_service_pb2_grpc.WorkitemServiceStub(channel)
        request = pb.CreateWorkitemRequest(
            partition=chosen.partition,
            workitem_uid=uid,
            dicom_json=json.dumps(data_set).encode(),
            create_partition=create_partition,
        )
        created = await stub.CreateWorkitem(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
    typer.echo(created.workitem_uid)
    return 0


async def _list(chosen: Target, request: pb.SearchWorkitemsRequest, limit: int, as_json: bool) -> int:
    rows: list[list[str]] = []
    async with chosen.channel() as channel:
        stub = workitem_service_pb2_grpc.WorkitemServiceStub(channel)
        async for match in matches_of(chosen, stub, request, limit):
            if as_json:
                typer.echo(match.dicom_json)
            else:
                rows.append(row_of(json.loads(match.dicom_json)))
    if rows:
        print_rows(data, list(COLUMNS), rows, FOLDS)
    if not as_json and not chosen.quiet:
        more = "; there are more, see --limit" if request.page_token else ""
        problems.print(f"{counted(len(rows), 'workitem')}{more}")
    return 0


async def _show(chosen: Target, workitem: str) -> int:
    async with chosen.channel() as channel:
        stub = workitem_service_pb2_grpc.WorkitemServiceStub(channel)
        request = pb.GetWorkitemRequest(partition=chosen.partition, workitem_uid=workitem)
        found = await stub.GetWorkitem(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
    typer.echo(json.dumps(json.loads(found.dicom_json), indent=2, ensure_ascii=False))
    return 0


async def _claim(chosen: Target, workitem: str, transaction: str) -> int:
    async with chosen.channel() as channel:
        stub = workitem_service_pb2_grpc.WorkitemServiceStub(channel)
        await _change_state(chosen, stub, workitem, transaction, pb.WORKITEM_STATE_IN_PROGRESS)
    typer.echo(transaction)
    return 0


async def _update(chosen: Target, workitem: str, transaction: str, data_set: dict[str, Any]) -> int:
    async with chosen.channel() as channel:
        stub = workitem_service_pb2_grpc.WorkitemServiceStub(channel)
        await _replace(chosen, stub, workitem, transaction, data_set)
    if not chosen.quiet:
        problems.print(f"workitem {workitem} updated")
    return 0


async def _finish(
    chosen: Target, workitem: str, transaction: str, state: pb.WorkitemState, results: dict[str, Any]
) -> int:
    async with chosen.channel() as channel:
        stub = workitem_service_pb2_grpc.WorkitemServiceStub(channel)
        if results:
            await _replace(chosen, stub, workitem, transaction, results)
        await _change_state(chosen, stub, workitem, transaction, state)
    if not chosen.quiet:
        name = "completed" if state == pb.WORKITEM_STATE_COMPLETED else "canceled"
        problems.print(f"workitem {workitem} {name}")
    return 0


async def _request_cancellation(chosen: Target, workitem: str, reasons: dict[str, Any]) -> int:
    async with chosen.channel() as channel:
        stub = workitem_service_pb2_grpc.WorkitemServiceStub(channel)
        request = pb.RequestWorkitemCancellationRequest(
            partition=chosen.partition, workitem_uid=workitem, dicom_json=json.dumps(reasons).encode()
        )
        await stub.RequestWorkitemCancellation(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
    if not chosen.quiet:
        problems.print(f"cancellation of workitem {workitem} requested")
    return 0


async def _replace(chosen: Target, stub: Any, workitem: str, transaction: str, data_set: dict[str, Any]) -> None:
    request = pb.UpdateWorkitemRequest(
        partition=chosen.partition,
        workitem_uid=workitem,
        transaction_uid=transaction,
        dicom_json=json.dumps(data_set).encode(),
    )
    await stub.UpdateWorkitem(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)


async def _change_state(chosen: Target, stub: Any, workitem: str, transaction: str, state: pb.WorkitemState) -> None:
    request = pb.ChangeWorkitemStateRequest(
        partition=chosen.partition, workitem_uid=workitem, transaction_uid=transaction, state=state
    )
    await stub.ChangeWorkitemState(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
