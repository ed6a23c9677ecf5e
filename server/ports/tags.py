"""Extended query tags, and what instances have for them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from server.model.operation import Operation
from server.model.search.query_tag import NewTag, QueryStatus, Tag, TagError, TagFault, TagValue

Extract = Callable[[bytes, Sequence[Tag], frozenset[str]], Mapping[int, TagValue | TagFault]]
"""From canonical DICOM JSON, tags and `NewInstance.invalid_tags`: what the data set has for the tags, by key.

Tags that it has nothing for, or something invalid, are left out.
"""


class Tags(Protocol):
    """The tags. Each call is one transaction.

    All calls raise Unavailable (DATABASE_UNAVAILABLE) when the database can't be reached.

    `InstanceIndex.add` indexes what is stored by all tags that there are in its own transaction (with the `Extract` it
    was made with), so that an instance is either among those that were stored before a tag was added, or is indexed by
    it. `InstanceIndex.delete` removes values and errors of what it deletes.
    """

    async def add(
        self, tags: Sequence[NewTag], operation_id: str, request_id: str, most: int, now: datetime
    ) -> Operation:
        """Add tags and the record of the operation that will index what is stored; return that record.

        Its total is the number of instances there are now. With a `request_id` that is known, nothing is added and
        the operation it started is returned.

        Raises:
            AlreadyExists: TAG_ALREADY_EXISTS, metadata `path`.
            Exhausted: TOO_MANY_TAGS, there would be more than `most`.
            WrongState: OPERATION_RUNNING, another reindexing is not finished; metadata `operation`.
        """
        ...

    async def list(self, after: int, skip: int, limit: int) -> Sequence[Tag]:
        """Return tags by key, ascending from above `after`."""
        ...

    async def get(self, tag: str) -> Tag | None:
        """Return one, by its eight hex digits."""
        ...

    async def set_query_status(self, tag: str, status: QueryStatus) -> Tag | None:
        """Set it and return the tag; None if there is none."""
        ...

    async def delete(self, tag: str) -> bool:
        """Delete a tag with its errors and everything indexed by it; say whether it was there.

        The tag is gone for searches at once; its rows go in transactions of bounded size.
        """
        ...

    async def finish_deletions(self) -> None:
        """Delete for good the tags that are DELETING, which somebody who was deleting them may have left behind."""
        ...

    async def abandoned(self) -> Sequence[str]:
        """Return the tags that stay ADDING, as nobody will index by them: their operation was cancelled or failed."""
        ...

    async def errors(self, key: int, after: int, skip: int, limit: int) -> Sequence[tuple[int, TagError]]:
        """Return the errors of a tag with the number that pages are counted by, ascending from above `after`."""
        ...

    async def index(self, operation_id: str, most: int, now: datetime) -> bool:
        """Index the next `most` instances of a reindexing operation, newest first; say whether that was not the last.

        Fewer if there are many tags or much metadata, so that others who write wait for a moment only.
        Values, errors and the operation's progress are one transaction, so doing it again goes on behind it. A value
        that is there stays: it is from a newer instance. A fault disables the tag for searches (`QueryStatus`).
        With the last instances the tags become READY and the operation SUCCEEDED.
        Tags that are deleted meanwhile are left out. False, and nothing is done, if the operation is final.
        """
        ...
