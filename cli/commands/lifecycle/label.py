"""`dicomstore label`: show and change the labels of a study, series or instance."""

import json
from collections.abc import Mapping
from typing import Annotated

import typer
from dicomstore.v1 import label_service_pb2 as pb
from dicomstore.v1 import label_service_pb2_grpc
from dicomstore.v1.resources_pb2 import Address

from cli.connection import CALL_TIMEOUT_S, CoreOption, JsonOption, PartitionOption, QuietOption, Target, target
from cli.errors import run
from cli.output import data, print_rows, problems
from cli.resources import InstanceArgument, SeriesArgument, StudyArgument, reference

_SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Set a label; repeatable.", show_default=False)
]
_RemoveOption = Annotated[
    list[str] | None, typer.Option("--remove", metavar="NAME", help="Remove a label; repeatable.", show_default=False)
]
_ReplaceOption = Annotated[bool, typer.Option("--replace", help="Remove all labels that are not set.")]


def label(
    ctx: typer.Context,
    study: StudyArgument,
    series: SeriesArgument = None,
    instance: InstanceArgument = None,
    new: _SetOption = None,
    remove: _RemoveOption = None,
    replace: _ReplaceOption = False,
    as_json: JsonOption = False,
    core: CoreOption = None,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
) -> None:
    """Show the labels of a study, a series or an instance, after changing them.

    Labels are pairs of a name and a value that are not part of the object. `dicomstore search label.NAME=VALUE` finds
    objects by labels.
    """
    chosen = target(ctx, core, partition, quiet)
    resource = reference(chosen.partition, study, series, instance)
    change = None
    if new or remove or replace:
        change = pb.ChangeLabelsRequest(
            resource=resource, labels=_labels(new or []), removed_names=remove or [], replace=replace
        )
    run(_show(chosen, resource, change, as_json), core=chosen.core)


def _labels(texts: list[str]) -> dict[str, str]:
    """Return the labels in arguments. Raises: typer.BadParameter."""
    labels: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--set")
        labels[name] = value
    return labels


async def _show(chosen: Target, resource: Address, change: pb.ChangeLabelsRequest | None, as_json: bool) -> int:
    async with chosen.channel() as channel:
        stub = label_service_pb2_grpc.LabelServiceStub(channel)
        options = {"metadata": chosen.metadata(), "timeout": CALL_TIMEOUT_S}
        if change is None:
            answer = await stub.GetLabels(pb.GetLabelsRequest(resource=resource), **options)
        else:
            answer = await stub.ChangeLabels(change, **options)
    labels: Mapping[str, str] = dict(sorted(answer.labels.items()))
    if as_json:
        typer.echo(json.dumps(labels, ensure_ascii=False))
    elif labels:
        print_rows(data, ("Name", "Value"), list(labels.items()), {"Value"})
    elif not chosen.quiet:
        problems.print("no labels")
    return 0
