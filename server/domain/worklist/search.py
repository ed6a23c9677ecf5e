"""Search for workitems (PS3.18 section 11.9)."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from server.dicom.elements.keywords import path_of
from server.dicom.worklist.search_keys import RETURN_KEY_TAGS, search_key
from server.domain.access import Access
from server.domain.search import page_token
from server.domain.search.request import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, Term
from server.domain.worklist.filters import WorkitemFilter, ignore
from server.model.access import Action
from server.model.call import Call
from server.model.errors import InvalidRequest, Reason
from server.model.ids import NO_PARTITION, Address, PartitionName, Uid
from server.model.worklist.workitem import MatchPage, WorkitemQuery
from server.ports.worklist.workitems import WorkitemRecord


@dataclass(frozen=True, slots=True)
class WorkitemSearch:
    """A search request as received; fields as in `SearchWorkitemsRequest` of workitem_service.proto."""

    partition: PartitionName = NO_PARTITION
    terms: tuple[Term, ...] = ()
    fuzzy_matching: bool = False
    empty_value_matching: bool = False
    include_attributes: tuple[str, ...] = ()
    include_all: bool = False
    page_size: int = 0
    page_token: str = ""
    skip: int = 0
    strict: bool = False
    total_count: bool = False

    @property
    def filter(self) -> WorkitemFilter:
        """The terms, and how they match."""
        return WorkitemFilter(self.terms, self.fuzzy_matching, self.empty_value_matching, self.strict)


class FoundWorkitem(NamedTuple):
    """A match, with the requested attributes in DICOM JSON."""

    uid: Uid
    dicom_json: bytes


@dataclass(frozen=True, slots=True)
class WorkitemsFound:
    """One page. The token of the last page is empty."""

    matches: tuple[FoundWorkitem, ...]
    next_page_token: str
    ignored_attributes: tuple[str, ...]
    total_count: int | None


class WorkitemSearches:
    """Runs searches for workitems."""

    def __init__(self, *, access: Access, record: WorkitemRecord) -> None:
        self._access = access
        self._record = record

    async def search(self, call: Call, request: WorkitemSearch) -> WorkitemsFound:
        """Return one page of matches, newest first.

        Raises:
            InvalidRequest: INVALID_FIELD, INVALID_QUERY, INVALID_PAGE_TOKEN, UNSUPPORTED_ATTRIBUTE (when strict).
            and as `Access.permit` and `WorkitemRecord.search`.
        """
        # A client may put a Transaction UID into an unknown term, which is a secret.
        known = [[term.attribute, *term.values] for term in request.terms if search_key(term.attribute)]
        call.audit.note(search={"level": "workitem", "keys": known})
        permitted = await self._access.permit(call, Action.READ, Address(request.partition), by_share_link=False)
        page_size = _page_size(request)
        ignored: dict[str, None] = {}
        terms = request.filter.usable(ignored)
        returned = RETURN_KEY_TAGS | {key.path[0] for key in terms} | _included(request, ignored)
        identity = orjson.dumps(
            [
                "workitems",
                permitted.partition,
                [[term.attribute, *term.values] for term in request.terms],
                request.fuzzy_matching,
                request.empty_value_matching,
            ]
        )
        query = WorkitemQuery(
            permitted.partition,
            request.filter.conditions(terms),
            page_size,
            0 if request.page_token else request.skip,
            page_token.read(request.page_token, identity) if request.page_token else None,
        )
        page = await self._record.search(query)
        matches = await asyncio.to_thread(_selected, page, None if request.include_all else returned)
        call.audit.items = len(matches)
        return WorkitemsFound(
            matches,
            page_token.make(page.matches[-1].key, identity) if page.has_more else "",
            tuple(ignored),
            await self._record.count(query) if request.total_count else None,
        )


def _selected(page: MatchPage, tags: Collection[str] | None) -> tuple[FoundWorkitem, ...]:
    """Return matches with some of their attributes; None: with all."""
    return tuple(
        FoundWorkitem(match.uid, match.data_set if tags is None else _with_only(match.data_set, tags))
        for match in page.matches
    )


def _with_only(data_set: bytes, tags: Collection[str]) -> bytes:
    elements: Mapping[str, Any] = orjson.loads(data_set)
    return orjson.dumps({tag: element for tag, element in elements.items() if tag in tags})


def _page_size(request: WorkitemSearch) -> int:
    if not 0 <= request.page_size <= MAX_PAGE_SIZE:
        message = f"page_size must be between 1 and {MAX_PAGE_SIZE}, or 0 for the default."
        raise InvalidRequest(Reason.INVALID_FIELD, message, field="page_size")
    if request.skip < 0:
        raise InvalidRequest(Reason.INVALID_FIELD, "skip must not be negative.", field="skip")
    return request.page_size or DEFAULT_PAGE_SIZE


def _included(request: WorkitemSearch, ignored: dict[str, None]) -> frozenset[str]:
    """Return the tags of return attributes; for a member of a sequence, that of the sequence."""
    paths = {attribute: path_of(attribute) for attribute in request.include_attributes}
    for attribute, path in paths.items():
        if path is None:
            ignore(attribute, ignored, strict=request.strict)
    return frozenset(path[0] for path in paths.values() if path is not None)
