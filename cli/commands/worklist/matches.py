"""Workitems that match a query, on the command line."""

from collections.abc import AsyncIterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
from dicomstore.v1 import workitem_service_pb2 as pb

from cli.commands.search import parse_terms
from cli.connection import CALL_TIMEOUT_S, Target
from cli.results.dicom_json import cell

_PAGE_SIZE = 200
COLUMNS: Mapping[str, str] = {
    "Workitem UID": "00080018",
    "State": "00741000",
    "Priority": "00741200",
    "Start": "00404005",
    "Label": "00741204",
    "Worklist": "00741202",
    "Patient ID": "00100020",
    "Patient's Name": "00100010",
}
"""Columns of a list, with the tags of their attributes."""

FOLDS = frozenset({"Label", "Worklist", "Patient's Name"})

WordsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Attributes to match, as for `dicomstore search`."),
]


class State(StrEnum):
    """State of a workitem, as written on the command line."""

    SCHEDULED = "scheduled"
    IN_PROGRESS = "in-progress"
    COMPLETED = "completed"
    CANCELED = "canceled"


def terms_of(words: Sequence[str], states: Sequence[State]) -> list[pb.WorkitemTerm]:
    """Return the search keys of a command line. Raises: typer.BadParameter, as `parse_terms`."""
    found = [pb.WorkitemTerm(attribute=term.attribute, values=term.values) for term in parse_terms(words)]
    if states:
        values = [state.value.upper().replace("-", " ") for state in states]
        found.append(pb.WorkitemTerm(attribute="ProcedureStepState", values=values))
    return found


def row_of(data_set: Mapping[str, Any]) -> list[str]:
    """Return the cells of `COLUMNS`."""
    return [cell(data_set.get(tag)) for tag in COLUMNS.values()]


async def matches_of(
    chosen: Target, stub: Any, request: pb.SearchWorkitemsRequest, limit: int
) -> AsyncIterator[pb.WorkitemMatch]:
    """Yield at most `limit` matches, newest first."""
    while limit:
        request.page_size = min(limit, _PAGE_SIZE)
        page = await stub.SearchWorkitems(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
        for match in page.matches:
            yield match
        limit -= len(page.matches)
        request.page_token = page.next_page_token
        if not request.page_token:
            return
