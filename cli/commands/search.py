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
from cli.errors import NOT_EXECUTED, Failure, run
from cli.output import data, problems
from cli.results.dicom_json import TAGS
from cli.results.matches import COLUMNS, CsvOutput, JsonOutput, MatchOutput, TableOutput, UidOutput
from cli.results.search_keys import Level, similar, suggestion

PAGE_SIZE = 200
"""Matches per call; the maximum that the contract allows."""

_NO_VALUE = '""'
"""Key value of empty value matching (PS3.4 section C.2.2.2.7)."""


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
            help="What to find (default: studies) and the attributes to match. KEY is a keyword, a tag, or a path of "
            "these to an attribute in a sequence. VALUE may contain the wildcards * and ?, or be a range such as "
            "20240101-20241231; a key given twice matches either value.",
        ),
    ] = None,
    study: Annotated[str, typer.Option(metavar="UID", help="Search only in this study.")] = "",
    series: Annotated[str, typer.Option(metavar="UID", help="Search only in this series; needs --study.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of matches.")] = 100,
    fuzzy: Annotated[bool, typer.Option("--fuzzy", help="Match person names by prefixes of their words.")] = False,
    empty: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="Match resources without a value for KEY; may be repeated.")
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD", help="Also return this attribute, or 'all' indexed ones; may be repeated."),
    ] = None,
    total: Annotated[bool, typer.Option("--total", help="Print the total number of matches.")] = False,
    page_token: Annotated[
        str, typer.Option(metavar="TOKEN", help="Continue at the token that the same search printed before.")
    ] = "",
    lenient: Annotated[
        bool, typer.Option("--lenient", help="Ignore keys that can't be searched and fields that can't be returned.")
    ] = False,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values with a header line.")] = False,
    as_uids: Annotated[
        bool, typer.Option("--uids", help="Print only UIDs, as a list for `dicomstore delete --from`.")
    ] = False,
    core: CoreOption = None,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
) -> None:
    """Search the archive, newest first.

    Prints a table if the terminal is wide enough, otherwise a block for each match; in a pipe, a line for each match.
    With --json, prints one DICOM JSON object per line.

    Exit code: 0 success, with or without matches; 2 unsupported search key, malformed value, or no core.
    """
    level, terms = parse_words(words or [], empty or [])
    if series and not study:
        raise typer.BadParameter("needs --study", param_hint="--series")
    if as_json + as_csv + as_uids > 1:
        raise typer.BadParameter("give only one of --json, --csv and --uids", param_hint="--csv")
    output = _output(level, include or [], as_json=as_json, as_csv=as_csv, as_uids=as_uids)
    chosen = target(ctx, core, partition, quiet)
    named = [field for field in include or [] if field.lower() != "all"]
    request = pb.SearchRequest(
        level=_WIRE_LEVELS[level],
        scope=resources_pb2.Address(partition=chosen.partition, study_instance_uid=study, series_instance_uid=series),
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
    """Return the level and the terms. An attribute in `empty` matches if it has no value, or one of its other terms.

    Raises:
        typer.BadParameter: a word is neither a level in the first place nor KEY=VALUE.
    """
    rest = list(words)
    level = Level(rest.pop(0)) if rest and rest[0] in set(Level) else Level.STUDIES
    return level, parse_terms(rest, empty)


def parse_terms(words: Iterable[str], empty: Iterable[str] = ()) -> list[pb.Term]:
    """Return the terms; `empty` as in `parse_words`. Raises: typer.BadParameter, a word is not KEY=VALUE."""
    values: dict[str, list[str]] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (equals and key):
            raise typer.BadParameter(f"{word!r} is not KEY=VALUE", param_hint="KEY=VALUE")
        values.setdefault(key, []).append(value)
    for key in empty:
        values.setdefault(key, []).append(_NO_VALUE)
    return [pb.Term(attribute=key, values=alternatives) for key, alternatives in values.items()]


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
    """Return the number of matches shown, the total if it was requested, and how to get more if there are more."""
    of_all = count if total is None else total
    shown = f"{count:,} of {total:,}" if total is not None else f"{count:,}"
    note = f"; there are more: raise --limit, or continue with --page-token {token}" if token else ""
    return f"{shown} match{'' if of_all == 1 else 'es'}{note}"


@contextmanager
def _progress(chosen: Target, limit: int, output: MatchOutput) -> Iterator[Callable[[int, int], None]]:
    """Show the number of matches so far, unless the output itself appears on the terminal; yields the callback."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    is_shown = limit > PAGE_SIZE and not chosen.quiet and (output.is_for_people or not data.is_terminal)
    with Progress(*columns, console=problems, disable=not is_shown, transient=True) as progress:
        task = progress.add_task("matches", total=None)

        def advance(count: int, known_total: int) -> None:
            progress.update(task, completed=count, total=min(limit, known_total) if known_total else None)

        yield advance


def _report_ignored(response: pb.SearchResponse, request: pb.SearchRequest, level: Level, *, lenient: bool) -> None:
    """Report the attributes of a request that the core ignored.

    Raises:
        Failure: unless `lenient`. A search without one of its conditions finds more than intended.
    """
    unused = [name for name in response.ignored_attributes if name not in COLUMNS[level]]
    if unused and not lenient:
        raise not_usable(unused, {term.attribute for term in request.terms}, level, _fixed(request))
    for name in unused:
        text = f"ignored, because it cannot be searched or returned at this level: {escape(name)}"
        problems.print(text, style="yellow", soft_wrap=True)
    for attribute in response.erroneous_attributes:
        text = f"some instances have an invalid value and cannot be found by this attribute: {escape(attribute)}"
        problems.print(text, style="yellow", soft_wrap=True)


def _fixed(request: pb.SearchRequest) -> frozenset[str]:
    scope = request.scope
    uids = {"StudyInstanceUID": scope.study_instance_uid, "SeriesInstanceUID": scope.series_instance_uid}
    return frozenset(keyword for keyword, uid in uids.items() if uid)


def not_usable(names: Collection[str], keys: Collection[str], level: Level, fixed: frozenset[str]) -> Failure:
    """Return the failure of a search with unsupported keys or fields."""
    faults, hints = [], []
    for name in names:
        if name in keys:
            faults.append(f"{name} is not a search key for {level}" if name not in fixed else f"{name} is given twice")
            hints.append(
                f"{name}: {suggestion(name, level, fixed)}" if len(names) > 1 else suggestion(name, level, fixed)
            )
        else:
            faults.append(f"{name} cannot be returned")
            if meant := similar(name, TAGS):
                hints.append(f"did you mean {meant}?")
    sentences = [hint if hint.endswith("?") else f"{hint};" for hint in hints]
    hint = " ".join([*sentences, "--lenient ignores it and may find more than intended"])
    return Failure("; ".join(faults), hint=hint, exit_code=NOT_EXECUTED)


async def _pages(chosen: Target, request: pb.SearchRequest, limit: int) -> AsyncIterator[pb.SearchResponse]:
    """Yield pages up to the limit; only the first has a total."""
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
