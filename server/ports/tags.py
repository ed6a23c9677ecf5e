"""Extended query tags, and the values that instances have for them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from server.model.operation import Operation, Update
from server.model.search.query_tag import NewTag, QueryStatus, Tag, TagError, TagFault, TagStatus, TagValue

Extract = Callable[[bytes, Sequence[Tag], frozenset[str]], Mapping[int, TagValue | TagFault]]
"""From canonical DICOM JSON, tags and `NewInstance.invalid_tags`: the data set's values for the tags, by tag key.

Tags for which it has no value, or an invalid one, are left out.
"""


@dataclass(frozen=True, slots=True)
class TagsState:
    """What a decision to add tags depends on. It does not change until the decision is carried out.

    tags: all there are, those that are being deleted included.
    unfinished: operations that are not final, oldest first.
    instances: number of stored instances.
    position: of the index, from where `Tags.read` reaches all of these and no instance that is stored later.
    """

    tags: Sequence[Tag]
    unfinished: Sequence[Operation]
    instances: int
    position: str


@dataclass(frozen=True, slots=True)
class TagAddition:
    """Tags to add as ADDING and ENABLED, and the operation that will index stored instances by them."""

    tags: Sequence[NewTag]
    operation: Operation


class TagBatch(Protocol):
    """Some instances and their values for the tags of an operation."""

    @property
    def next_position(self) -> str:
        """Position behind these instances."""
        ...

    @property
    def count(self) -> int:
        """Number of instances."""
        ...

    @property
    def faulty(self) -> int:
        """How many of the instances have a value that can't be indexed."""
        ...

    @property
    def is_last(self) -> bool:
        """There are no more instances."""
        ...


class Tags(Protocol):
    """Storage of the tags and their values. Each call is one transaction.

    All calls raise Unavailable (DATABASE_UNAVAILABLE) when the database can't be reached.

    `InstanceIndex.add` indexes what is stored by all tags that there are in its own transaction (with the `Extract` it
    was made with), so that an instance is either among those that were stored before a tag was added, or is indexed by
    it. `InstanceIndex.delete` removes values and errors of what it deletes.
    """

    async def add(self, request_id: str, decide: Callable[[TagsState], TagAddition]) -> Operation:
        """Add tags and record the operation that will index by them; return the operation.

        Args:
            request_id: as of `Operations.start`.
            decide: returns what to add, or raises; called inside the transaction, perhaps several times.
        """
        ...

    async def list(self, *, after: int, skip: int, limit: int) -> Sequence[Tag]:
        """Return tags by key, ascending from above `after`."""
        ...

    async def get(self, tag: str) -> Tag | None:
        """Return a tag by its eight hex digits."""
        ...

    async def set_query_status(self, tag: str, status: QueryStatus) -> Tag | None:
        """Set the query status of a tag and return the tag; None if there is none."""
        ...

    async def set_status(self, tag: str, status: TagStatus) -> Tag | None:
        """Set the status of a tag and return the tag; None if there is none.

        A tag that is DELETING is used neither by searches nor by instances that are stored from then on.
        """
        ...

    async def purge(self, key: int) -> bool:
        """Delete some values and errors of a tag that is DELETING, and the tag with the last of them.

        Returns whether some are left. A tag that is not DELETING stays: its key was given to a new tag.
        """
        ...

    async def errors(self, key: int, after: int, skip: int, limit: int) -> Sequence[tuple[int, TagError]]:
        """Return the errors of a tag with their numbers, ascending from above `after`."""
        ...

    async def read(self, operation_id: str, position: str, most: int) -> TagBatch:
        """Read the values of the next instances for the tags that an operation indexes by, newest instance first.

        At most `most` instances, fewer if there are many tags or much metadata, so that `index` takes a moment only.
        """
        ...

    async def index(self, batch: TagBatch, operation_id: str, update: Update, *, status: TagStatus) -> Operation | None:
        """Store a batch, set the status of the operation's tags and update the operation, in one transaction.

        A value that is present stays: it is from a newer instance. A fault is recorded as an error of its tag and
        disables the tag for searches (`QueryStatus`). Instances and tags that were deleted since the batch was read
        are left out. Nothing is stored if `update` returns None.

        Returns the operation as it is then; None if there is none.
        """
        ...
