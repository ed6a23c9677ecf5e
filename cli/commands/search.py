"""`dicomstore search`: find studies, series and instances."""

import json
from collections.abc import AsyncIterator, Iterable
from enum import StrEnum
from typing import Annotated, Any

import typer
from dicomstore.v1 import resources_pb2, search_service_pb2_grpc
from dicomstore.v1 import search_service_pb2 as pb
from rich.markup import escape
from rich.table import Table

from cli.connection import CALL_TIMEOUT_S, CoreOption, JsonOption, PartitionOption, QuietOption, Target, target
from cli.dicom_json import KEYWORDS, TAGS, cell, tag_of
from cli.errors import run
from cli.output import counted, data, problems, table

PAGE_SIZE = 100


class Level(StrEnum):
    """What a match is."""

    STUDIES = "studies"
    SERIES = "series"
    INSTANCES = "instances"


_WIRE_LEVELS = {
    Level.STUDIES: pb.QUERY_LEVEL_STUDY,
    Level.SERIES: pb.QUERY_LEVEL_SERIES,
    Level.INSTANCES: pb.QUERY_LEVEL_INSTANCE,
}
COLUMNS = {
    Level.STUDIES: (
        "PatientID",
        "PatientName",
        "StudyDate",
        "ModalitiesInStudy",
        "StudyDescription",
        "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
        "StudyInstanceUID",
    ),
    Level.SERIES: (
        "Modality",
        "SeriesNumber",
        "SeriesDescription",
        "NumberOfSeriesRelatedInstances",
        "StudyInstanceUID",
        "SeriesInstanceUID",
    ),
    Level.INSTANCES: (
        "InstanceNumber",
        "NumberOfFrames",
        "SOPClassUID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "SOPInstanceUID",
    ),
}
_SHORT = {
    "ModalitiesInStudy": "Modalities",
    "NumberOfStudyRelatedSeries": "Series",
    "NumberOfStudyRelatedInstances": "Instances",
    "NumberOfSeriesRelatedInstances": "Instances",
}


def search(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[studies|series|instances] KEY=VALUE...",
            help="What to find (studies if left out), and what it must match. KEY is a keyword or tag. VALUE may have "
            "the wildcards * and ?, or be a range like 20240101-20241231; a key given twice matches either value.",
        ),
    ] = None,
    study: Annotated[str, typer.Option(metavar="UID", help="Only in this study.")] = "",
    series: Annotated[str, typer.Option(metavar="UID", help="Only in this series; needs --study.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Most matches to return.")] = 100,
    fuzzy: Annotated[bool, typer.Option("--fuzzy", help="Match person names by the beginnings of words.")] = False,
    include: Annotated[
        list[str] | None, typer.Option(metavar="FIELD", help="Return this attribute too; may be repeated.")
    ] = None,
    as_json: JsonOption = False,
    core: CoreOption = None,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
) -> None:
    """Search the archive, newest first. With --json, one DICOM JSON object a line."""
    level, terms = parse_words(words or [])
    if series and not study:
        raise typer.BadParameter("needs --study", param_hint="--series")
    chosen = target(ctx, core, partition, quiet)
    request = pb.SearchRequest(
        level=_WIRE_LEVELS[level],
        scope=resources_pb2.ResourceRef(
            partition=chosen.partition, study_instance_uid=study, series_instance_uid=series
        ),
        terms=terms,
        fuzzy_matching=fuzzy,
        include_attributes=[*COLUMNS[level], *(include or [])],
    )
    run(_search(chosen, level, request, limit, include or [], as_json), core=chosen.core)


def parse_words(words: Iterable[str]) -> tuple[Level, list[pb.Term]]:
    """Return what to find and the terms.

    Raises:
        typer.BadParameter: a word is neither a level in the first place nor KEY=VALUE.
    """
    level = Level.STUDIES
    values: dict[str, list[str]] = {}
    for position, word in enumerate(words):
        key, equals, value = word.partition("=")
        if equals and key:
            values.setdefault(key, []).append(value)
        elif position == 0 and word in set(Level):
            level = Level(word)
        else:
            raise typer.BadParameter(f"{word!r} is not KEY=VALUE", param_hint="KEY=VALUE")
    return level, [pb.Term(attribute=key, values=alternatives) for key, alternatives in values.items()]


async def _search(
    chosen: Target, level: Level, request: pb.SearchRequest, limit: int, include: list[str], as_json: bool
) -> int:
    found: list[dict[str, Any]] = []
    more = False
    async for response, more in _pages(chosen, request, limit):  # noqa: B007 - of the last page
        for ignored in response.ignored_attributes:
            if ignored not in COLUMNS[level] and not request.page_token:
                problems.print(
                    f"ignored, because it can't be searched or returned here: {escape(ignored)}", style="yellow"
                )
        for match in response.matches:
            if as_json:
                typer.echo(match.dicom_json.decode())
            else:
                found.append(json.loads(match.dicom_json) | _identity(match.resource))
    if not as_json and found:
        data.print(match_table(level, found, include))
    if not chosen.quiet and not as_json:
        note = "; there are more, see --limit" if more else ""
        problems.print(f"{counted(len(found), 'match').replace('matchs', 'matches')}{note}")
    return 0


async def _pages(
    chosen: Target, request: pb.SearchRequest, limit: int
) -> AsyncIterator[tuple[pb.SearchResponse, bool]]:
    """Yield pages until the limit, each with whether there is more after it."""
    async with chosen.channel() as channel:
        stub = search_service_pb2_grpc.SearchServiceStub(channel)
        left = limit
        while True:
            request.page_size = min(left, PAGE_SIZE)
            response = await stub.Search(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
            left -= len(response.matches)
            yield response, bool(response.next_page_token)
            if not response.next_page_token or left <= 0:
                return
            request.page_token = response.next_page_token


def _identity(resource: resources_pb2.ResourceRef) -> dict[str, Any]:
    """Return the UIDs of a match as DICOM JSON, whether or not the attributes have them."""
    uids = {
        "StudyInstanceUID": resource.study_instance_uid,
        "SeriesInstanceUID": resource.series_instance_uid,
        "SOPInstanceUID": resource.sop_instance_uid,
    }
    return {TAGS[keyword]: {"vr": "UI", "Value": [uid]} for keyword, uid in uids.items() if uid}


def match_table(level: Level, found: list[dict[str, Any]], include: Iterable[str]) -> Table:
    """Return matches as a table: the level's columns, then the attributes that were asked for besides.

    Of an attribute that was asked for by a keyword we don't know, the column is named by its tag.
    """
    standard = [TAGS[keyword] for keyword in COLUMNS[level]]
    asked = [tag_of(attribute) for attribute in include]
    extra = [tag for tag in asked if tag is not None and tag not in standard]
    if None in asked:
        unknown = {tag for match in found for tag in match if tag not in KEYWORDS and tag not in extra}
        extra += sorted(unknown)
    columns = [*extra, *standard] if extra else standard
    headings = [_SHORT.get(keyword, keyword) for keyword in (KEYWORDS.get(tag, tag) for tag in columns)]
    rows = table("", *headings, folds={heading for heading in headings if heading.endswith(("UID", "Description"))})
    for match in found:
        rows.add_row(*(escape(cell(match.get(tag))) for tag in columns))
    return rows
