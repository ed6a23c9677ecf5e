"""Extended query tags: attributes that an administrator makes searchable.

A query tag is ADDING until its re-index operation has indexed the instances stored before, then READY. New instances
are indexed by it as soon as it is added. A deleted query tag is DELETING, which hides it at once, until its values have
been removed.
"""

import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from common.telemetry.tracing import current
from server.dicom.matching.query_tags import new_tag, registered_tag
from server.domain.access import Access
from server.domain.limits import MAX_TAGS
from server.domain.limits import page_size as size_of
from server.domain.operations import reindex as reindexing
from server.domain.operations.service import checked_request_id
from server.domain.operations.types import OperationType
from server.domain.search import page_token
from server.model.access import Action
from server.model.call import Call
from server.model.errors import AlreadyExists, Exhausted, InvalidRequest, NotFound, Reason
from server.model.ids import PartitionName
from server.model.operation import Operation
from server.model.search.query import Level
from server.model.search.query_tag import NewTag, QueryStatus, Tag, TagError, TagStatus
from server.ports.tags import TagAddition, Tags, TagsState

_ALL_TAGS = b"extended query tags"


@dataclass(frozen=True, slots=True)
class RequestedTag:
    """A requested query tag; fields as in `NewExtendedQueryTag`; `level` is None for an invalid level."""

    path: str
    vr: str
    private_creator: str
    level: Level | None


class ExtendedQueryTags:
    """Adds, lists, changes and deletes query tags.

    Args:
        reindex: the type of the operation that `add` starts.
        on_start: called after an operation has been created, to start a worker.
    """

    def __init__(
        self,
        *,
        access: Access,
        tags: Tags,
        reindex: OperationType,
        now: Callable[[], datetime],
        on_start: Callable[[], None] = lambda: None,
    ) -> None:
        self._access = access
        self._tags = tags
        self._reindex = reindex
        self._now = now
        self._on_start = on_start

    async def add(self, call: Call, requested: Sequence[RequestedTag], request_id: str = "") -> Operation:
        """Add query tags, all or none, and create the operation that indexes stored instances by them.

        Raises:
            InvalidRequest: INVALID_TAG, INVALID_FIELD.
            AlreadyExists: TAG_ALREADY_EXISTS.
            WrongState: OPERATION_RUNNING.
            Exhausted: TOO_MANY_TAGS.
        """
        call.audit.note(tags=[tag.path for tag in requested[:MAX_TAGS]])
        await self._access.permit_archive(call, Action.MANAGE_EXTENDED_QUERY_TAGS)
        checked_request_id(request_id)
        new, operation_id, now, span = _validated(requested), uuid.uuid4().hex, self._now(), current()
        trace = span.traceparent if span else ""
        operation = await self._tags.add(
            request_id, lambda state: addition(self._reindex, new, state, operation_id, now, trace)
        )
        call.audit.note(operation=operation.id)
        self._on_start()
        return operation

    async def list(self, call: Call, *, page_size: int, page_token: str, skip: int) -> tuple[Sequence[Tag], str]:
        """Return a page of query tags in the order of addition, and the token of the next page, empty for the last one.

        The number of errors is that of the permitted partitions.

        Raises:
            InvalidRequest: INVALID_FIELD, INVALID_PAGE_TOKEN.
        """
        permitted = self._access.permit_partitions(call, Action.READ)
        size, after = _page(page_size, page_token, skip, _ALL_TAGS)
        found = await self._tags.list(after=after, skip=0 if page_token else skip, limit=size + 1)
        return await self._shown(found[:size], permitted), _next(
            found[size - 1].key if len(found) > size else None, _ALL_TAGS
        )

    async def get(self, call: Call, path: str) -> Tag:
        """Return one query tag. Raises InvalidRequest (INVALID_TAG), NotFound (TAG_NOT_FOUND)."""
        call.audit.note(tags=[path])
        permitted = self._access.permit_partitions(call, Action.READ)
        [shown] = await self._shown([await self._get(path)], permitted)
        return shown

    async def _shown(self, tags: Sequence[Tag], permitted: Collection[PartitionName] | None) -> Sequence[Tag]:
        """Return query tags with what a principal may know about the instances in some partitions; None is all.

        The definition is known to everybody who may read; the operation that indexes them concerns all partitions.
        """
        if permitted is None:
            return tags
        with_errors = [tag.key for tag in tags if tag.error_count]
        counts = await self._tags.count_errors(with_errors, permitted) if with_errors else {}
        return [replace(tag, error_count=counts.get(tag.key, 0), operation_id="") for tag in tags]

    async def _get(self, path: str) -> Tag:
        tag = registered_tag(path)
        return _found(await self._tags.get(tag), tag)

    async def set_query_status(self, call: Call, path: str, status: QueryStatus) -> Tag:
        """Set whether searches may use a query tag. Raises: as `get`."""
        call.audit.note(tags=[path])
        await self._access.permit_archive(call, Action.MANAGE_EXTENDED_QUERY_TAGS)
        tag = registered_tag(path)
        return _found(await self._tags.set_query_status(tag, status), tag)

    async def delete(self, call: Call, path: str) -> None:
        """Delete a query tag and its indexed values. Raises: as `get`."""
        call.audit.note(tags=[path])
        await self._access.permit_archive(call, Action.MANAGE_EXTENDED_QUERY_TAGS)
        tag = registered_tag(path)
        marked = _found(await self._tags.set_status(tag, TagStatus.DELETING), tag)
        await self._purge(marked.key)

    async def errors(
        self, call: Call, path: str, *, page_size: int, page_token: str, skip: int
    ) -> tuple[Sequence[TagError], str]:
        """Return a page of the indexing errors of a query tag, oldest first, and the token of the next page.

        They are those of instances in the permitted partitions.

        Raises:
            InvalidRequest: INVALID_TAG, INVALID_FIELD, INVALID_PAGE_TOKEN.
            NotFound: TAG_NOT_FOUND.
        """
        call.audit.note(tags=[path])
        permitted = self._access.permit_partitions(call, Action.READ)
        tag = await self._get(path)
        identity = b"errors of " + tag.new.tag.encode()
        size, after = _page(page_size, page_token, skip, identity)
        found = await self._tags.errors(tag.key, after, 0 if page_token else skip, size + 1, permitted)
        last = found[size - 1][0] if len(found) > size else None
        return [error for _, error in found[:size]], _next(last, identity)

    async def finish_deletions(self) -> None:
        """Complete deletions that an ended process left unfinished."""
        for tag in await self._tags.list(after=0, skip=0, limit=MAX_TAGS):
            if tag.status is TagStatus.DELETING:
                await self._purge(tag.key)

    async def _purge(self, key: int) -> None:
        while await self._tags.purge(key):
            pass


def addition(
    reindex: OperationType,
    new: Sequence[NewTag],
    state: TagsState,
    operation_id: str,
    now: datetime,
    trace: str = "",
) -> TagAddition:
    """Decide whether query tags can be added to the current state.

    Args:
        trace: see `Operation`.

    Raises:
        AlreadyExists: TAG_ALREADY_EXISTS, metadata `path`.
        WrongState: OPERATION_RUNNING, metadata `operation`.
        Exhausted: TOO_MANY_TAGS.
    """
    names = {one.tag for one in new}
    if present := next((tag.new.tag for tag in state.tags if tag.new.tag in names), None):
        message = "The attribute is already an extended query tag."
        raise AlreadyExists(Reason.TAG_ALREADY_EXISTS, message, path=present)
    operation = reindexing.started(
        reindex,
        operation_id,
        [one.tag for one in new],
        state.unfinished,
        instances=state.instances,
        position=state.position,
        now=now,
        trace=trace,
    )
    if len(state.tags) + len(new) > MAX_TAGS:
        raise Exhausted(Reason.TOO_MANY_TAGS, f"The limit of {MAX_TAGS} extended query tags is reached.")
    return TagAddition(new, operation)


def _validated(requested: Sequence[RequestedTag]) -> list[NewTag]:
    if not requested:
        raise InvalidRequest(Reason.INVALID_TAG, "The list of tags to add is empty.", field="tags")
    new: list[NewTag] = []
    for number, one in enumerate(requested):
        try:
            if not one.path.strip():
                message = "The Dicom Tag Property Path must be specified and must not be null, empty or whitespace"
                raise InvalidRequest(Reason.INVALID_TAG, message, field="path")
            if one.level is None:
                message = "The Dicom Tag Property Level must be specified and must not be null, empty or whitespace"
                raise InvalidRequest(Reason.INVALID_TAG, message, field="level")
            tag = new_tag(one.path, one.vr, one.private_creator, one.level)
            if any(tag.tag == other.tag for other in new):
                raise InvalidRequest(Reason.INVALID_TAG, "The attribute is in the list twice.", field="path")
        except InvalidRequest as refused:
            field = f"[{number}].{_named(refused.metadata.get('field', ''))}"
            message = f"The field '{field}' in request body is invalid: {refused.message}"
            raise InvalidRequest(refused.reason, message, field=field) from refused
        new.append(tag)
    return new


def _named(field: str) -> str:
    """Return the name of a field as error messages write it."""
    return {"vr": "VR"}.get(field, "".join(part.capitalize() for part in field.split("_")))


def _page(page_size: int, token: str, skip: int, identity: bytes) -> tuple[int, int]:
    """Return the page size and the row key after which the page begins."""
    if skip < 0:
        raise InvalidRequest(Reason.INVALID_FIELD, "skip must not be negative.", field="skip")
    return size_of(page_size), page_token.read(token, identity) if token else 0


def _next(last: int | None, identity: bytes) -> str:
    return "" if last is None else page_token.make(last, identity)


def _found(tag: Tag | None, path: str) -> Tag:
    if tag is None:
        raise _not_found(path)
    return tag


def _not_found(path: str) -> NotFound:
    return NotFound(Reason.TAG_NOT_FOUND, "There is no such extended query tag.", path=path)
