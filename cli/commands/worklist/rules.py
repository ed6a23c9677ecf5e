"""`dicomstore workitems rules`: manage the rules that create workitems."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from dicomstore.v1 import webhook_service_pb2, workitem_rule_service_pb2_grpc
from dicomstore.v1 import workitem_rule_service_pb2 as pb
from google.protobuf import json_format

from cli.commands.search import parse_terms
from cli.connection import CALL_TIMEOUT_S, CoreOption, JsonOption, QuietOption, Target, target
from cli.errors import NOT_EXECUTED, Failure, fail, run
from cli.output import data, print_rows, problems
from cli.results.data_set import SetOption, data_set_of
from common.counting import counted

_HEADINGS = ("ID", "Label", "Query", "Partitions", "State", "Workitems", "Waiting")

rules = typer.Typer(
    help="Manage rules that create a workitem for each stable study that matches.", no_args_is_help=True
)

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of the rule, see `dicomstore workitems rules list`.")]
WordsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Attributes of studies to match, as for `dicomstore search`."),
]
LabelOption = Annotated[str | None, typer.Option("--label", metavar="TEXT", help="What the rule is for.")]
FuzzyOption = Annotated[bool, typer.Option("--fuzzy", help="Match person names by prefixes of their words.")]
EmptyOption = Annotated[
    list[str] | None, typer.Option("--empty", metavar="KEY", help="Match studies without a value for KEY.")
]
PartitionsOption = Annotated[
    list[str] | None,
    typer.Option("--partition", metavar="NAME", help="Only studies of this data partition; may be repeated."),
]
TemplateOption = Annotated[
    Path | None,
    typer.Option(
        "--template",
        metavar="FILE",
        help="File with the data set of the workitems in DICOM JSON.",
        exists=True,
        dir_okay=False,
    ),
]


@rules.command()
def create(
    ctx: typer.Context,
    words: WordsArgument = None,
    template: TemplateOption = None,
    changes: SetOption = None,
    label: LabelOption = None,
    fuzzy: FuzzyOption = False,
    empty: EmptyOption = None,
    partition: PartitionsOption = None,
    as_json: JsonOption = False,
    core: CoreOption = None,
    quiet: QuietOption = False,
) -> None:
    """Create a rule from a query and a template, and print its id. The template needs ProcedureStepLabel."""
    request = pb.CreateWorkitemRuleRequest(
        label=label or "",
        query=_query(words or [], fuzzy, empty or []),
        partitions=partition or [],
        template=json.dumps(data_set_of(changes or [], template)).encode(),
    )
    chosen = target(ctx, core, None, quiet)
    run(_create(chosen, request, as_json), core=chosen.core)


@rules.command("list")
def list_(ctx: typer.Context, as_json: JsonOption = False, core: CoreOption = None, quiet: QuietOption = False) -> None:
    """List rules and their state."""
    chosen = target(ctx, core, None, quiet)
    run(_list(chosen, as_json), core=chosen.core)


@rules.command()
def show(ctx: typer.Context, rule: IdArgument, core: CoreOption = None, quiet: QuietOption = False) -> None:
    """Print a rule with its template, as JSON."""
    chosen = target(ctx, core, None, quiet)
    run(_show(chosen, rule), core=chosen.core)


@rules.command()
def update(
    ctx: typer.Context,
    rule: IdArgument,
    words: WordsArgument = None,
    template: TemplateOption = None,
    changes: SetOption = None,
    label: LabelOption = None,
    fuzzy: FuzzyOption = False,
    empty: EmptyOption = None,
    every_study: Annotated[bool, typer.Option("--all-studies", help="Match every study.")] = False,
    partition: PartitionsOption = None,
    every_partition: Annotated[bool, typer.Option("--all-partitions", help="Studies of all partitions.")] = False,
    enable: Annotated[bool, typer.Option("--enable", help="Create workitems again.")] = False,
    disable: Annotated[bool, typer.Option("--disable", help="Create no workitems until it is enabled.")] = False,
    core: CoreOption = None,
    quiet: QuietOption = False,
) -> None:
    """Change a rule: a new query or template replaces the whole previous one. Failed events are tried again at once."""
    if enable and disable:
        fail(Failure("--enable and --disable exclude each other", exit_code=NOT_EXECUTED))
    enabled = enable if enable or disable else None
    request = pb.UpdateWorkitemRuleRequest(id=rule, label=label, enabled=enabled)
    if words or empty or every_study:
        request.query.CopyFrom(_query(words or [], fuzzy, empty or []))
    if partition or every_partition:
        request.partitions.CopyFrom(webhook_service_pb2.TextList(values=partition or []))
    if template or changes:
        request.template = json.dumps(data_set_of(changes or [], template)).encode()
    chosen = target(ctx, core, None, quiet)
    run(_update(chosen, request), core=chosen.core)


@rules.command()
def delete(ctx: typer.Context, rule: IdArgument, core: CoreOption = None, quiet: QuietOption = False) -> None:
    """Remove a rule. Its workitems remain."""
    chosen = target(ctx, core, None, quiet)
    run(_delete(chosen, rule), core=chosen.core)


async def _create(chosen: Target, request: pb.CreateWorkitemRuleRequest, as_json: bool) -> int:
    async with chosen.channel() as channel:
        stub = workitem_rule_service_pb2_grpc.WorkitemRuleServiceStub(channel)
        created = await stub.CreateWorkitemRule(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
    typer.echo(json.dumps(_to_json(created.rule), indent=2) if as_json else created.rule.id)
    return 0


async def _list(chosen: Target, as_json: bool) -> int:
    async with chosen.channel() as channel:
        stub = workitem_rule_service_pb2_grpc.WorkitemRuleServiceStub(channel)
        request = pb.ListWorkitemRulesRequest()
        answer = await stub.ListWorkitemRules(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
    if as_json:
        typer.echo(json.dumps({"rules": [_to_json(one) for one in answer.rules]}, indent=2))
    elif answer.rules:
        print_rows(data, _HEADINGS, [_row(one) for one in answer.rules], {"Label", "Query", "Partitions", "State"})
    elif not chosen.quiet:
        problems.print("no rules")
    return 0


async def _show(chosen: Target, rule: str) -> int:
    async with chosen.channel() as channel:
        stub = workitem_rule_service_pb2_grpc.WorkitemRuleServiceStub(channel)
        request = pb.GetWorkitemRuleRequest(id=rule)
        answer = await stub.GetWorkitemRule(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
    typer.echo(json.dumps(_to_json(answer.rule), indent=2))
    return 0


async def _update(chosen: Target, request: pb.UpdateWorkitemRuleRequest) -> int:
    async with chosen.channel() as channel:
        stub = workitem_rule_service_pb2_grpc.WorkitemRuleServiceStub(channel)
        await stub.UpdateWorkitemRule(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
    if not chosen.quiet:
        problems.print(f"rule {request.id} changed")
    return 0


async def _delete(chosen: Target, rule: str) -> int:
    async with chosen.channel() as channel:
        stub = workitem_rule_service_pb2_grpc.WorkitemRuleServiceStub(channel)
        request = pb.DeleteWorkitemRuleRequest(id=rule)
        await stub.DeleteWorkitemRule(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
    if not chosen.quiet:
        problems.print(f"rule {rule} removed")
    return 0


def _query(words: Sequence[str], fuzzy: bool, empty: Sequence[str]) -> pb.StudyQuery:
    return pb.StudyQuery(terms=parse_terms(words, empty), fuzzy_matching=fuzzy, empty_value_matching=bool(empty))


def _row(one: pb.WorkitemRule) -> Sequence[str]:
    query = " ".join(f"{term.attribute}={value}" for term in one.query.terms for value in term.values)
    return (
        one.id,
        one.label,
        query or "every study",
        ", ".join(one.partitions) or "all",
        _state(one),
        f"{one.workitems:,}",
        f"{one.waiting:,}",
    )


def _state(one: pb.WorkitemRule) -> str:
    if one.waiting:
        return f"{one.problem}, {counted(one.waiting, 'event')} waiting"
    return "ok" if one.enabled else "disabled"


def _to_json(one: pb.WorkitemRule) -> dict[str, Any]:
    fields = json_format.MessageToDict(one, preserving_proto_field_name=True)
    return {**fields, "template": json.loads(one.template)}
