"""`dicomstore webhooks`: manage webhooks and their dead letters."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from dicomstore.v1 import webhook_service_pb2 as pb
from dicomstore.v1 import webhook_service_pb2_grpc
from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from cli.connection import CALL_TIMEOUT_S, CoreOption, JsonOption, QuietOption, Target, target
from cli.errors import NOT_EXECUTED, Failure, fail, run
from cli.output import data, print_rows, problems
from cli.resources import described
from common.counting import counted

_PAGE_SIZE = 200
_HEADINGS = ("ID", "URL", "Label", "Types", "Partitions", "State", "Last success (UTC)", "Waiting", "Dead letters")
_DEAD_HEADINGS = ("ID", "Event", "Type", "Resource", "Attempts", "Given up (UTC)", "Problem")
_TYPES = {
    name.lower(): f"{prefix}.{name}"
    for prefix, names in {
        "Microsoft.HealthcareApis": ("DicomImageCreated", "DicomImageUpdated", "DicomImageDeleted"),
        "dicomstore": ("StudyStable", "StudyUpdated", "StudyDeleted", "StudyRestored"),
    }.items()
    for name in names
}

webhooks = typer.Typer(help="Create, list and change webhooks, and retry their dead letters.", no_args_is_help=True)

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of the webhook, see `dicomstore webhooks list`.")]
TypeOption = Annotated[
    list[str] | None,
    typer.Option("--type", metavar="TYPE", help="Send only events of this type, such as StudyStable; may be repeated."),
]
PartitionsOption = Annotated[
    list[str] | None,
    typer.Option("--partition", metavar="NAME", help="Send only events of this data partition; may be repeated."),
]
LabelOption = Annotated[str | None, typer.Option("--label", metavar="TEXT", help="What the webhook is for.")]
SecretFileOption = Annotated[
    Path | None,
    typer.Option("--secret-file", metavar="FILE", help="File with the secret, `whsec_…`, instead of a generated one."),
]
DeadLetterArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[DEAD_LETTER]...", help="Ids of dead letters.", show_default=False),
]
AllOption = Annotated[bool, typer.Option("--all", help="All dead letters of the webhook.")]


@webhooks.command()
def create(
    ctx: typer.Context,
    url: Annotated[str, typer.Argument(metavar="URL", help="Where to send events.")],
    label: LabelOption = None,
    type_: TypeOption = None,
    partition: PartitionsOption = None,
    secret_file: SecretFileOption = None,
    as_json: JsonOption = False,
    core: CoreOption = None,
    quiet: QuietOption = False,
) -> None:
    """Create a webhook and print the secret with which its events are signed. It is printed only once."""
    request = pb.CreateWebhookRequest(
        url=url, label=label or "", types=_types(type_), partitions=partition or [], secret=_secret(secret_file)
    )
    chosen = target(ctx, core, None, quiet)
    run(_create(chosen, request, as_json), core=chosen.core)


@webhooks.command("list")
def list_(ctx: typer.Context, as_json: JsonOption = False, core: CoreOption = None, quiet: QuietOption = False) -> None:
    """List webhooks and their state."""
    chosen = target(ctx, core, None, quiet)
    run(_list(chosen, as_json), core=chosen.core)


@webhooks.command()
def update(
    ctx: typer.Context,
    webhook: IdArgument,
    url: Annotated[str | None, typer.Option("--url", metavar="URL", help="Where to send events.")] = None,
    label: LabelOption = None,
    type_: TypeOption = None,
    partition: PartitionsOption = None,
    every_type: Annotated[bool, typer.Option("--all-types", help="Send events of all types.")] = False,
    every_partition: Annotated[bool, typer.Option("--all-partitions", help="Send events of all partitions.")] = False,
    enable: Annotated[bool, typer.Option("--enable", help="Send events again.")] = False,
    disable: Annotated[bool, typer.Option("--disable", help="Send no events until it is enabled.")] = False,
    rotate_secret: Annotated[
        bool,
        typer.Option("--rotate-secret", help="Print a new secret. Until the next change, events are signed with both."),
    ] = False,
    secret_file: SecretFileOption = None,
    core: CoreOption = None,
    quiet: QuietOption = False,
) -> None:
    """Change a webhook. Events of the time in which it is disabled are sent when it is enabled again."""
    if enable and disable:
        fail(Failure("--enable and --disable exclude each other", exit_code=NOT_EXECUTED))
    enabled = enable if enable or disable else None
    request = pb.UpdateWebhookRequest(id=webhook, url=url, label=label, enabled=enabled, rotate_secret=rotate_secret)
    request.secret = _secret(secret_file)
    if type_ or every_type:
        request.types.CopyFrom(pb.TextList(values=_types(type_)))
    if partition or every_partition:
        request.partitions.CopyFrom(pb.TextList(values=partition or []))
    chosen = target(ctx, core, None, quiet)
    run(_update(chosen, request), core=chosen.core)


@webhooks.command()
def delete(ctx: typer.Context, webhook: IdArgument, core: CoreOption = None, quiet: QuietOption = False) -> None:
    """Remove a webhook with its undelivered events and dead letters."""
    chosen = target(ctx, core, None, quiet)
    run(_delete(chosen, webhook), core=chosen.core)


@webhooks.command()
def dead(
    ctx: typer.Context,
    webhook: IdArgument,
    as_json: JsonOption = False,
    core: CoreOption = None,
    quiet: QuietOption = False,
) -> None:
    """List dead letters: events that could not be delivered within `webhook_retry_hours`."""
    chosen = target(ctx, core, None, quiet)
    run(_dead(chosen, webhook, as_json), core=chosen.core)


@webhooks.command()
def retry(
    ctx: typer.Context,
    webhook: IdArgument,
    dead_letter: DeadLetterArgument = None,
    every: AllOption = False,
    core: CoreOption = None,
    quiet: QuietOption = False,
) -> None:
    """Send dead letters again, as if they had not been tried."""
    chosen = target(ctx, core, None, quiet)
    run(_retry(chosen, webhook, _chosen(dead_letter, every)), core=chosen.core)


@webhooks.command()
def discard(
    ctx: typer.Context,
    webhook: IdArgument,
    dead_letter: DeadLetterArgument = None,
    every: AllOption = False,
    core: CoreOption = None,
    quiet: QuietOption = False,
) -> None:
    """Remove dead letters without sending them."""
    chosen = target(ctx, core, None, quiet)
    run(_discard(chosen, webhook, _chosen(dead_letter, every)), core=chosen.core)


async def _create(chosen: Target, request: pb.CreateWebhookRequest, as_json: bool) -> int:
    async with chosen.channel() as channel:
        stub = webhook_service_pb2_grpc.WebhookServiceStub(channel)
        created = await stub.CreateWebhook(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
    if as_json:
        typer.echo(json.dumps({**_to_json(created.webhook), "secret": created.secret}, indent=2))
        return 0
    if not chosen.quiet:
        problems.print(f"webhook {created.webhook.id}. Its secret will not be shown again:")
    typer.echo(created.secret)
    return 0


async def _list(chosen: Target, as_json: bool) -> int:
    async with chosen.channel() as channel:
        stub = webhook_service_pb2_grpc.WebhookServiceStub(channel)
        answer = await stub.ListWebhooks(pb.ListWebhooksRequest(), metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
    if as_json:
        typer.echo(json.dumps({"webhooks": [_to_json(one) for one in answer.webhooks]}, indent=2))
    elif answer.webhooks:
        print_rows(data, _HEADINGS, [_row(one) for one in answer.webhooks], {"URL", "Label", "Types", "Partitions"})
    elif not chosen.quiet:
        problems.print("no webhooks")
    return 0


async def _update(chosen: Target, request: pb.UpdateWebhookRequest) -> int:
    async with chosen.channel() as channel:
        stub = webhook_service_pb2_grpc.WebhookServiceStub(channel)
        updated = await stub.UpdateWebhook(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
    if not chosen.quiet:
        problems.print(f"webhook {request.id} changed")
    if updated.secret:
        typer.echo(updated.secret)
    return 0


async def _delete(chosen: Target, webhook: str) -> int:
    async with chosen.channel() as channel:
        stub = webhook_service_pb2_grpc.WebhookServiceStub(channel)
        request = pb.DeleteWebhookRequest(id=webhook)
        await stub.DeleteWebhook(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
    if not chosen.quiet:
        problems.print(f"webhook {webhook} removed")
    return 0


async def _dead(chosen: Target, webhook: str, as_json: bool) -> int:
    found: list[pb.DeadLetter] = []
    async with chosen.channel() as channel:
        stub = webhook_service_pb2_grpc.WebhookServiceStub(channel)
        request = pb.ListDeadLettersRequest(webhook_id=webhook, page_size=_PAGE_SIZE)
        while True:
            page = await stub.ListDeadLetters(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
            found += page.dead_letters
            if len(page.dead_letters) < _PAGE_SIZE:
                break
            request.after_id = found[-1].id
    if as_json:
        typer.echo(json.dumps({"dead_letters": [_to_json(one) for one in found]}, indent=2))
    elif found:
        print_rows(data, _DEAD_HEADINGS, [_dead_row(one) for one in found], {"Resource"})
    elif not chosen.quiet:
        problems.print("no dead letters")
    return 0


async def _retry(chosen: Target, webhook: str, ids: Sequence[str]) -> int:
    async with chosen.channel() as channel:
        stub = webhook_service_pb2_grpc.WebhookServiceStub(channel)
        request = pb.RetryDeadLettersRequest(webhook_id=webhook, ids=ids)
        answer = await stub.RetryDeadLetters(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
    if not chosen.quiet:
        problems.print(f"{counted(answer.retried, 'dead letter')} will be sent again")
    return 0


async def _discard(chosen: Target, webhook: str, ids: Sequence[str]) -> int:
    async with chosen.channel() as channel:
        stub = webhook_service_pb2_grpc.WebhookServiceStub(channel)
        request = pb.DeleteDeadLettersRequest(webhook_id=webhook, ids=ids)
        answer = await stub.DeleteDeadLetters(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
    if not chosen.quiet:
        problems.print(f"{counted(answer.deleted, 'dead letter')} removed")
    return 0


def _types(names: Sequence[str] | None) -> list[str]:
    """Return full types; the part after the last dot is enough."""
    return [_TYPES.get(name.lower(), name) for name in names or ()]


def _secret(file: Path | None) -> str:
    try:
        return file.read_text().strip() if file else ""
    except (OSError, UnicodeDecodeError) as error:
        fail(Failure(f"the file with the secret cannot be read: {error}", exit_code=NOT_EXECUTED))


def _chosen(ids: Sequence[str] | None, every: bool) -> Sequence[str]:
    if bool(ids) == every:
        fail(Failure("name dead letters, or use --all", exit_code=NOT_EXECUTED))
    return ids or []


def _row(one: pb.Webhook) -> Sequence[str]:
    return (
        one.id,
        one.url,
        one.label,
        ", ".join(name.rpartition(".")[2] for name in one.types) or "all",
        ", ".join(one.partitions) or "all",
        _state(one),
        _text(one.last_success_time) if one.HasField("last_success_time") else "never",
        f"{one.waiting:,}",
        f"{one.dead_letters:,}",
    )


def _state(one: pb.Webhook) -> str:
    if not one.enabled:
        return "disabled"
    return f"{one.problem}, {counted(one.failures, 'failure')}" if one.problem else "ok"


def _dead_row(one: pb.DeadLetter) -> Sequence[str]:
    return (
        one.id,
        one.event_id,
        one.type.rpartition(".")[2],
        described(one.resource),
        f"{one.attempts:,}",
        _text(one.dead_time),
        one.problem,
    )


def _to_json(one: Message) -> dict[str, object]:
    return json_format.MessageToDict(one, preserving_proto_field_name=True)


def _text(timestamp: Timestamp) -> str:
    return f"{timestamp.ToDatetime():%Y-%m-%d %H:%M}"
