"""`dicomstore search`: find studies, series and instances."""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from dicomstore.v1 import resources_pb2, search_service_pb2_grpc
from dicomstore.v1 import search_service_pb2 as pb
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from cli.connection import CALL_TIMEOUT_S, CoreOption, JsonOption, PartitionOption, QuietOption, Target, target
from cli.errors import NOT_ASKED, Failure, run
from cli.output import data, problems
from cli.results.dicom_json import TAGS
from cli.results.matches import COLUMNS, CsvOutput, JsonOutput, MatchOutput, TableOutput, UidOutput
from cli.results.search_keys import Level, similar, suggestion

PAGE_SIZE = 200
"""Matches of one call, the most there may be."""

_NO_VALUE = '""'
"""What empty value matching takes for no value (PS3.4 section C.2.2.2.7)."""


_WIRE_LEVELS = {
    Level.STUDIES: pb.QUERY_LEVEL_STUDY,
    Level.SERIES: pb.QUERY_LEVEL_SERIES,
    Level.INSTANCES: pb.QUERY_LEVEL_INSTANCE,
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
    lenient: Annotated[
        bool, typer.Option("--lenient", help="Ignore keys that can't be searched and fields that can't be returned.")
    ] = False,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values with a heading.")] = False,
    as_uids: Annotated[
        bool, typer.Option("--uids", help="Print only UIDs, as a list that `dicomstore delete --from` takes.")
    ] = False,
    core: CoreOption = None,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
) -> None:
    """Search the archive, newest first.

    A table on a terminal that is wide enough, else a block for each match; in a pipe, a line for each match.
    With --json, one DICOM JSON object a line.

    Exit code: 0 also if nothing matches, 2 a key can't be searched, a value is malformed, or no core.
    """
    level, terms = parse_words(words or [], empty or [])
    if series and not study:
        raise typer.BadParameter("needs --study", param_hint="--series")
    if as_json + as_csv + as_uids > 1:
        raise typer.BadParameter("say only one of --json, --csv and --uids", param_hint="--csv")
    output = _output(level, include or [], as_json=as_json, as_csv=as_csv, as_uids=as_uids)
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
    run(_search(chosen, level, request, limit, output, lenient=lenient), core=chosen.core)


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


def _output(level: Level, include: list[str], *, as_json: bool, as_csv: bool, as_uids: bool) -> MatchOutput:
    if as_json:
        return JsonOutput()
    if as_uids:
        return UidOutput()
    if as_csv:
        return CsvOutput(level, include)
    return TableOutput(level, include)


async def _search(
    chosen: Target, level: Level, request: pb.SearchRequest, limit: int, output: MatchOutput, *, lenient: bool
) -> int:
    count, total, token, is_first = 0, None, "", True
    with _progress(chosen, limit, output) as advance:
        async for response in _pages(chosen, request, limit):
            if is_first:
                is_first = False
                _report_ignored(response, request, level, lenient=lenient)
                total = response.total_count if request.total_count else None
                output.begin()
            for match in response.matches:
                output.add(match)
            count += len(response.matches)
            token = response.next_page_token
            advance(count, response.total_count)
    output.end()
    if not chosen.quiet and (token or total is not None or output.is_for_people):
        problems.print(summary(count, total, token), soft_wrap=True)
    return 0


def summary(count: int, total: int | None, token: str) -> str:
    """Return how many matches were shown, of how many if it was asked, and how to get more if there are."""
    of_all = count if total is None else total
    shown = f"{count:,} of {total:,}" if total is not None else f"{count:,}"
    note = f"; there are more, see --limit, or go on with --page-token {token}" if token else ""
    return f"{shown} match{'' if of_all == 1 else 'es'}{note}"


@contextmanager
def _progress(chosen: Target, limit: int, output: MatchOutput) -> Iterator[Callable[[int, int], None]]:
    """Show how many matches there are so far, where the answer itself does not; yields what to tell it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    is_shown = limit > PAGE_SIZE and not chosen.quiet and (output.is_for_people or not data.is_terminal)
    with Progress(*columns, console=problems, disable=not is_shown, transient=True) as progress:
        task = progress.add_task("matches", total=None)

        def advance(count: int, known_total: int) -> None:
            progress.update(task, completed=count, total=min(limit, known_total) if known_total else None)

        yield advance


def _report_ignored(response: pb.SearchResponse, request: pb.SearchRequest, level: Level, *, lenient: bool) -> None:
    """Tell what the core did not use of a request.

    Raises:
        Failure: unless `lenient`. A search without one of its conditions finds more than was meant.
    """
    unused = [name for name in response.ignored_attributes if name not in COLUMNS[level]]
    if unused and not lenient:
        raise not_usable(unused, {term.attribute for term in request.terms}, level, _fixed(request))
    for name in unused:
        text = f"ignored, because it can't be searched or returned here: {escape(name)}"
        problems.print(text, style="yellow", soft_wrap=True)
    for attribute in response.erroneous_attributes:
        text = f"some instances could not be indexed by this and are not found: {escape(attribute)}"
        problems.print(text, style="yellow", soft_wrap=True)


def _fixed(request: pb.SearchRequest) -> frozenset[str]:
    scope = request.scope
    uids = {"StudyInstanceUID": scope.study_instance_uid, "SeriesInstanceUID": scope.series_instance_uid}
    return frozenset(keyword for keyword, uid in uids.items() if uid)


def not_usable(names: Collection[str], keys: Collection[str], level: Level, fixed: frozenset[str]) -> Failure:
    """Return the failure of a search with keys that can't be searched, or fields that can't be returned."""
    faults, hints = [], []
    for name in names:
        if name in keys:
            faults.append(f"{name} can't be searched among {level}" if name not in fixed else f"{name} is given twice")
            hints.append(
                f"{name}: {suggestion(name, level, fixed)}" if len(names) > 1 else suggestion(name, level, fixed)
            )
        else:
            faults.append(f"{name} can't be returned")
            if meant := similar(name, TAGS):
                hints.append(f"did you mean {meant}?")
    sentences = [hint if hint.endswith("?") else f"{hint};" for hint in hints]
    hint = " ".join([*sentences, "--lenient ignores it, and may find more than you mean"])
    return Failure("; ".join(faults), hint=hint, exit_code=NOT_ASKED)


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
