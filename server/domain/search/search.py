"""Search for studies, series and instances (PS3.18 section 10.6)."""

import asyncio
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import NamedTuple

from server.dicom.matching.query_tags import PrivateTag, key_of, tag_of_path
from server.domain.access import Access, denied
from server.domain.labelled import Additions, with_additions
from server.domain.limits import MAX_TAGS
from server.domain.search import page_token
from server.domain.search.answer import MatchComposer, Selection
from server.domain.search.label_terms import with_label_conditions
from server.domain.search.narrowing import counted_in, is_part, of_own_series, of_whole_match
from server.domain.search.request import (
    ParsedRequest,
    SearchRequest,
    parse,
    private_attributes,
    searchable_levels,
    unknown_attributes,
)
from server.model.access import Action
from server.model.call import Call
from server.model.errors import Reason, WrongState
from server.model.ids import Address, Uid
from server.model.search.query import Level, Match, Query, SortValue
from server.model.search.query_tag import QueryStatus, Tag, TagStatus
from server.ports.index import InstanceIndex
from server.ports.lifecycle.labels import LabelRecord
from server.ports.tags import Tags

_SMALL = 64 << 10
"""Bytes of metadata parsed in one run; more would block the event loop for too long."""


class SearchMatch(NamedTuple):
    """A study, series or instance, with the requested attributes."""

    resource: Address
    dicom_json: bytes


class _Found(NamedTuple):
    """A match and its position."""

    key: int
    sort_values: tuple[SortValue, ...]
    match: SearchMatch


@dataclass(frozen=True, slots=True)
class SearchResult:
    """One page. The token of the last page is empty.

    erroneous_attributes: extended query tags in the terms, as received, with indexing errors; matches may be missing.
    total_count: matches on all pages; None if it was not requested and the index does not have it.
    """

    matches: tuple[SearchMatch, ...]
    next_page_token: str
    ignored_attributes: tuple[str, ...]
    erroneous_attributes: tuple[str, ...] = ()
    total_count: int | None = None


class Search:
    """Runs searches on the index."""

    def __init__(
        self, index: InstanceIndex, access: Access, tags: Tags, labels: LabelRecord, page_keys: Sequence[str] = ()
    ) -> None:
        """`page_keys` encrypt positions in an order of values, see `SortedPages`; without one, these end with the
        process."""
        self._pages = page_token.SortedPages(page_keys or [secrets.token_urlsafe()])
        self._index = index
        self._access = access
        self._tags = tags
        self._labels = labels

    async def search(self, call: Call, request: SearchRequest) -> SearchResult:
        """Return one page of matches, newest first unless the request has another order.

        Raises:
            InvalidRequest: as `parse`.
            DicomStoreError: as `Access.permit` and `InstanceIndex.search`.
        """
        call.audit.note(search=_search_keys(request))
        permitted = await self._access.permit(call, Action.READ, request.scope, narrow=True)
        # The terms keep their meaning if only a part of the scope is permitted.
        request = replace(request, scope=replace(request.scope, partition=permitted.partition))
        request, tags, wanted = await self._parsed(request)
        query, selection = replace(wanted.query, scope=permitted), wanted.selection
        is_limited = permitted.study is not None and permitted != request.scope
        if is_limited and (request.by_patient or request.relational):
            raise denied(Action.READ)  # counts and conditions would describe what is not permitted
        if _is_by_value(query) and request.page_token:
            key, values = self._pages.read(request.page_token, wanted.identity)
            query = replace(query, after=key, after_values=values)
        if is_part(permitted, query.level):
            query, selection = of_whole_match(query, selection)
        matching = await of_own_series(self._index, query) if permitted.series else query
        found = await self._find(matching, selection) if matching else []
        page = found[: wanted.page_size]
        has_more = len(found) > len(page)
        call.audit.items = len(page)
        is_counted = request.total_count or (has_more and _is_known(query))
        matches = [found.match for found in page]
        wanted_additions = Additions(request.include_labels, request.external_metadata)
        if any(wanted_additions) and matches:
            data_sets = await with_additions(self._labels, permitted.partition, matches, wanted_additions)
            matches = [SearchMatch(match.resource, added) for match, added in zip(matches, data_sets, strict=True)]
        return SearchResult(
            matches=tuple(matches),
            next_page_token=self._token_after(page[-1], wanted) if has_more else "",
            ignored_attributes=wanted.ignored,
            erroneous_attributes=await self._erroneous(tags, permitted) if permitted == request.scope else (),
            total_count=(await self._index.count(matching) if matching else 0) if is_counted else None,
        )

    async def query_of(self, request: SearchRequest) -> Query:
        """Return the query of a search, for operations. The partition of its scope must be resolved and permitted.

        Raises:
            InvalidRequest: as `parse`.
            WrongState: TAG_QUERY_DISABLED.
        """
        _, _, wanted = await self._parsed(request)
        return wanted.query

    async def study(self, request: SearchRequest, study: Uid) -> bytes | None:
        """Return the data set of a study with the requested attributes; None if it does not match, or does not exist.

        For work that no client has requested. The partition of the scope must be resolved.

        Raises:
            DicomStoreError: as `query_of` and `InstanceIndex.search`.
        """
        _, _, wanted = await self._parsed(request)
        query = replace(wanted.query, scope=replace(request.scope, study=study), limit=1)
        found = await self._find(query, wanted.selection)
        return found[0].match.dicom_json if found else None

    def _token_after(self, last: _Found, wanted: ParsedRequest) -> str:
        """Return the token for the page after a match."""
        if not _is_by_value(wanted.query):
            return page_token.make(last.key, wanted.identity)
        return self._pages.make(last.key, last.sort_values, wanted.identity)

    async def _parsed(self, request: SearchRequest) -> tuple[SearchRequest, dict[str, Tag], ParsedRequest]:
        """Return a request with its conditions on labels, the extended query tags in its terms, and its query."""
        if request.terms:
            request = await with_label_conditions(request, self._labels)
        tags = await self._tags_in(request)
        keys = {path: key_of(tag) for path, tag in tags.items()}
        owners = await self._owners(request, tags.values())
        return request, tags, parse(request, keys, owners)

    async def _tags_in(self, request: SearchRequest) -> dict[str, Tag]:
        """Return the extended query tags in the terms, by attribute as received.

        Query tags of a level outside of the search are not searchable attributes in it.

        Raises:
            WrongState: TAG_QUERY_DISABLED.
        """
        tags: dict[str, Tag] = {}
        levels = searchable_levels(request)
        for attribute in unknown_attributes(request):
            tag = await self._tags.get(tag_of_path(attribute))
            if tag is None or tag.new.level not in levels:
                continue
            if tag.status is not TagStatus.READY or tag.query_status is not QueryStatus.ENABLED:
                message = "The extended query tag is not ready, or searching by it is disabled."
                raise WrongState(Reason.TAG_QUERY_DISABLED, message, attribute=attribute)
            tags[attribute] = tag
        return tags

    async def _erroneous(self, tags: Mapping[str, Tag], scope: Address) -> tuple[str, ...]:
        """Return the attributes whose query tags have indexing errors in the partition of the search."""
        keys = [tag.key for tag in tags.values() if tag.error_count]
        counts = await self._tags.count_errors(keys, [scope.partition]) if keys else {}
        return tuple(attribute for attribute, tag in tags.items() if counts.get(tag.key))

    async def _owners(self, request: SearchRequest, searched: Iterable[Tag]) -> list[PrivateTag]:
        """Return the private extended query tags to return; each data set may have them in another block."""
        requested = set(private_attributes(request))
        known = (
            [tag for tag in await self._tags.list(after=0, skip=0, limit=MAX_TAGS) if tag.new.tag in requested]
            if requested
            else []
        )
        return sorted(
            {(tag.new.tag, tag.new.private_creator) for tag in (*searched, *known) if tag.new.private_creator}
        )

    async def _find(self, query: Query, selection: Selection) -> list[_Found]:
        """Return the matches of a query, with only a part of their metadata in memory."""
        if not query.metadata:
            matches: Sequence[Match] = await self._index.search(query)
            if matches and query.counts and is_part(query.scope, query.level):
                matches = await counted_in(self._index, query.scope, matches)
            return _render(matches, selection)
        found: list[_Found] = []
        while True:
            matches = await self._index.search(query)
            taken = list(takewhile(lambda match: match.metadata is not None, matches))
            if sum(len(match.metadata or b"") for match in taken) <= _SMALL:
                found += _render(taken, selection)
            else:
                found += await asyncio.to_thread(_render, taken, selection)
            if len(taken) == len(matches):
                return found
            last, left = taken[-1], query.limit - len(taken)
            query = replace(query, after=last.key, after_values=last.sort_values, skip=0, limit=left)


def _search_keys(request: SearchRequest) -> dict[str, object]:
    """Return the search keys for the audit trail."""
    keys: dict[str, object] = {
        "level": request.level.name.lower(),
        # A token that a client has put into the query string arrives as an unknown attribute.
        "keys": [[term.attribute, *term.values] for term in request.terms if "token" not in term.attribute.lower()],
    }
    if request.fuzzy_matching:
        keys["fuzzy"] = True
    return keys


def _is_by_value(query: Query) -> bool:
    """True if the position of a page contains values."""
    return query.order is not None or query.by_patient


def _is_known(query: Query) -> bool:
    """True if the index has the number of matches without counting."""
    return (
        not query.by_patient and not query.conditions and (query.level is Level.STUDY or query.scope.study is not None)
    )


def _render(matches: Iterable[Match], selection: Selection) -> list[_Found]:
    composer = MatchComposer(selection)
    return [_Found(match.key, match.sort_values, SearchMatch(match.resource, composer.of(match))) for match in matches]
