"""`dicomstore search`: find studies, series and instances."""

import json
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any

import typer
from dicomstore.v1 import resources_pb2, search_service_pb2_grpc
from dicomstore.v1 import search_service_pb2 as pb
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from cli.connection import CALL_TIMEOUT_S, CoreOption, JsonOption, PartitionOption, QuietOption, Target, target
from cli.dicom_json import KEYWORDS, TAGS, cell, tag_of
from cli.errors import run
from cli.output import data, problems, table

PAGE_SIZE = 200
"""Matches of one call, the most there may be."""

_NO_VALUE = '""'
"""What empty value matching takes for no value (PS3.4 section C.2.2.2.7)."""


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
            help="What to find (studies if left out), and what it must match. KEY is a keyword, a tag, or a path of "
            "them to a member of a sequence. VALUE may have the wildcards * and ?, or be a range like "
            "20240101-20241231; a key given twice matches either value.",
        ),
    ] = None,
    study: Annotated[str, typer.Option(metavar="UID", help="Only in this study.")] = "",
    series: Annotated[str, typer.Option(metavar="UID", help="Only in this series; needs --study.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Most matches to return.")] = 100,
    fuzzy: Annotated[bool, typer.Option("--fuzzy", help="Match person names by the beginnings of words.")] = False,
    empty: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="Match what has no value of this; may be repeated.")
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD", help="Return this attribute too, or 'all' that are kept; may be repeated."),
    ] = None,
    total: Annotated[bool, typer.Option("--total", help="Say how many matches there are in all.")] = False,
    page_token: Annotated[
        str, typer.Option(metavar="TOKEN", help="Go on where a search like this one said that there are more.")
    ] = "",
    as_json: JsonOption = False,
    core: CoreOption = None,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
) -> None:
    """Search the archive, newest first. With --json, one DICOM JSON object a line."""
    level, terms = parse_words(words or [], empty or [])
    if series and not study:
        raise typer.BadParameter("needs --study", param_hint="--series")
    chosen = target(ctx, core, partition, quiet)
    named = [field for field in include or [] if field.lower() != "all"]
    request = pb.SearchRequest(
        level=_WIRE_LEVELS[level],
        scope=resources_pb2.ResourceRef(
            partition=chosen.partition, study_instance_uid=study, series_instance_uid=series
        ),
        terms=terms,
        fuzzy_matching=fuzzy,
        empty_value_matching=bool(empty),
        include_attributes=[*COLUMNS[level], *named],
        include_all=len(named) < len(include or []),
        total_count=total,
        page_token=page_token,
    )
    run(_search(chosen, level, request, limit, include or [], as_json), core=chosen.core)


def parse_words(words: Iterable[str], empty: Iterable[str] = ()) -> tuple[Level, list[pb.Term]]:
    """Return what to find and the terms; the attributes in `empty` may or must have no value.

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
    for key in empty:
        values.setdefault(key, []).append(_NO_VALUE)
    return level, [pb.Term(attribute=key, values=alternatives) for key, alternatives in values.items()]


async def _search(
    chosen: Target, level: Level, request: pb.SearchRequest, limit: int, include: list[str], as_json: bool
) -> int:
    kept: list[dict[str, Any]] = []
    count, total, token = 0, None, ""
    with _progress(chosen, limit, as_json) as advance:
        async for response in _pages(chosen, request, limit):
            if not count:
                _report_ignored(response, level)
                total = response.total_count if request.total_count else None
            for match in response.matches:
                if as_json:
                    typer.echo(match.dicom_json.decode())
                else:
                    kept.append(json.loads(match.dicom_json) | _identity(match.resource))
            count += len(response.matches)
            token = response.next_page_token
            advance(count, response.total_count)
    if kept:
        data.print(match_table(level, kept, include))
    if not chosen.quiet and (token or total is not None or not as_json):
        problems.print(summary(count, total, token), soft_wrap=True)
    return 0


def summary(count: int, total: int | None, token: str) -> str:
    """Return how many matches were shown, of how many if it was asked, and how to get more if there are."""
    of_all = count if total is None else total
    shown = f"{count:,} of {total:,}" if total is not None else f"{count:,}"
    note = f"; there are more, see --limit, or go on with --page-token {token}" if token else ""
    return f"{shown} match{'' if of_all == 1 else 'es'}{note}"


@contextmanager
def _progress(chosen: Target, limit: int, as_json: bool) -> Iterator[Callable[[int, int], None]]:
    """Show how many matches there are so far, where the answer itself does not; yields what to tell it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    is_shown = limit > PAGE_SIZE and not chosen.quiet and not (as_json and data.is_terminal)
    with Progress(*columns, console=problems, disable=not is_shown, transient=True) as progress:
        task = progress.add_task("matches", total=None)

        def advance(count: int, known_total: int) -> None:
            progress.update(task, completed=count, total=min(limit, known_total) if known_total else None)

        yield advance


def _report_ignored(response: pb.SearchResponse, level: Level) -> None:
    for ignored in response.ignored_attributes:
        if ignored not in COLUMNS[level]:
            text = f"ignored, because it can't be searched or returned here: {escape(ignored)}"
            problems.print(text, style="yellow")
    for attribute in response.erroneous_attributes:
        text = f"some instances could not be indexed by this and are not found: {escape(attribute)}"
        problems.print(text, style="yellow")


async def _pages(chosen: Target, request: pb.SearchRequest, limit: int) -> AsyncIterator[pb.SearchResponse]:
    """Yield pages until the limit; only the first has a total."""
    async with chosen.channel() as channel:
        stub = search_service_pb2_grpc.SearchServiceStub(channel)
        asked = pb.SearchRequest()
        asked.CopyFrom(request)
        left = limit
        while True:
            asked.page_size = min(left, PAGE_SIZE)
            response = await stub.Search(asked, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
            left -= len(response.matches)
            yield response
            if not response.next_page_token or left <= 0:
                return
            asked.page_token, asked.total_count = response.next_page_token, False


def _identity(resource: resources_pb2.ResourceRef) -> dict[str, Any]:
    """Return the UIDs of a match as DICOM JSON, whether or not the attributes have them."""
    uids = {
        "StudyInstanceUID": resource.study_instance_uid,
        "SeriesInstanceUID": resource.series_instance_uid,
        "SOPInstanceUID": resource.sop_instance_uid,
    }
    return {TAGS[keyword]: {"vr": "UI", "Value": [uid]} for keyword, uid in uids.items() if uid}


def match_table(level: Level, found: list[dict[str, Any]], include: Collection[str]) -> Table:
    """Return matches as a table: the level's columns, then the attributes that were asked for besides.

    Of an attribute that was asked for by a keyword we don't know, or with 'all', the column is named by its tag.
    """
    standard = [TAGS[keyword] for keyword in COLUMNS[level]]
    asked = [tag_of(attribute) for attribute in include]
    extra = [tag for tag in asked if tag is not None and tag not in standard]
    if None in asked:
        wants_all = "all" in map(str.lower, include)
        others = {tag for match in found for tag in match if wants_all or tag not in KEYWORDS}
        extra += sorted(others.difference(extra, standard))
    columns = [*extra, *standard] if extra else standard
    headings = [_SHORT.get(keyword, keyword) for keyword in (KEYWORDS.get(tag, tag) for tag in columns)]
    rows = table("", *headings, folds={heading for heading in headings if heading.endswith(("UID", "Description"))})
    for match in found:
        rows.add_row(*(escape(cell(match.get(tag))) for tag in columns))
    return rows
