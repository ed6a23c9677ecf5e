"""The arguments STUDY [SERIES [INSTANCE]]."""

import re
from typing import Annotated

import typer
from dicomstore.v1 import resources_pb2

_UID = re.compile(r"[0-9.]{0,63}[0-9]")

StudyArgument = Annotated[str, typer.Argument(metavar="STUDY", help="Study Instance UID.")]
SeriesArgument = Annotated[
    str | None, typer.Argument(metavar="SERIES", help="Series Instance UID.", show_default=False)
]
InstanceArgument = Annotated[
    str | None, typer.Argument(metavar="INSTANCE", help="SOP Instance UID.", show_default=False)
]


def is_uid(text: str) -> bool:
    """Return whether the text has the form of a UID, which is also safe as a file name."""
    return _UID.fullmatch(text) is not None


def reference(
    partition: str, study: str, series: str | None = None, instance: str | None = None
) -> resources_pb2.Address:
    """Return the address of a study, series or instance.

    Raises:
        typer.BadParameter: an argument is not a UID. An empty one, as from an unset variable of a script, must not
            extend the reference from a series to its study.
    """
    for uid, name in ((study, "STUDY"), (series, "SERIES"), (instance, "INSTANCE")):
        if uid is not None and not is_uid(uid):
            raise typer.BadParameter(f"{uid!r} is not a UID", param_hint=name)
    if instance and not series:
        raise typer.BadParameter("needs the series", param_hint="INSTANCE")
    return resources_pb2.Address(
        partition=partition, study_instance_uid=study, series_instance_uid=series, sop_instance_uid=instance
    )


def described(resource: resources_pb2.Address) -> str:
    """Return `study 1.2`, `series 1.2.3` or `instance 1.2.3.4`."""
    if resource.sop_instance_uid:
        return f"instance {resource.sop_instance_uid}"
    if resource.series_instance_uid:
        return f"series {resource.series_instance_uid}"
    return f"study {resource.study_instance_uid}"
