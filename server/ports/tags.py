"""Extended query tags and their indexed values."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from server.model.ids import PartitionName
from server.model.operation import Operation, Update
from server.model.search.query_tag import NewTag, QueryStatus, Tag, TagError, TagFault, TagStatus, TagValue

Extract = Callable[[bytes, Sequence[Tag], frozenset[str]], Mapping[int, TagValue | TagFault]]
"""From canonical DICOM JSON, tags and `NewInstance.invalid_tags`: the data set's values for the tags, by tag key.

Tags for which it has no value, or an invalid one, are left out.
"""


@dataclass(frozen=True, slots=True)
class TagsState:
    """The state on which a decision to add query tags depends; it does not change until the decision takes effect.

    tags: all query tags, including those being deleted.
    unfinished: operations that are not final, oldest first.
    instances: number of stored instances.
    position: start position of `Tags.read` that covers these instances and none stored later.
    """

    tags: Sequence[Tag]
    unfinished: Sequence[Operation]
    instances: int
    position: str


@dataclass(frozen=True, slots=True)
class TagAddition:
    """Query tags to add as ADDING and ENABLED, and the operation that will index stored instances by them."""

    tags: Sequence[NewTag]
    operation: Operation


class TagBatch(Protocol):
    """A batch of instances with their values for the query tags of an operation."""

    @property
    def next_position(self) -> str:
        """Position after these instances."""
        ...

    @property
    def count(self) -> int:
        """Number of instances."""
        ...

    @property
    def faulty(self) -> int:
        """Number of instances with a value that can't be indexed."""
        ...

    @property
    def is_last(self) -> bool:
        """True if there are no more instances."""
        ...


class Tags(Protocol):
    """Storage of query tags and their values. Each call is one transaction.

    All calls raise Unavailable (DATABASE_UNAVAILABLE) when the database can't be reached.

    `InstanceIndex.add` indexes instances by all query tags that exist in its transaction, so that every instance is
    either stored before a query tag was added, or indexed by it. `InstanceIndex.delete` removes values and errors of
    the instances that it deletes.
    """

    async def add(self, request_id: str, decide: Callable[[TagsState], TagAddition]) -> Operation:
        """Add query tags and record the operation that will index by them; return the operation.

        Args:
            request_id: as of `Operations.start`.
            decide: returns the addition, or raises; called within the transaction, perhaps several times.
        """
        ...

    async def list(self, *, after: int, skip: int, limit: int) -> Sequence[Tag]:
        """Return query tags with row keys greater than `after`, ascending."""
        ...

    async def get(self, tag: str) -> Tag | None:
        """Return a query tag by its eight hex digits."""
        ...

    async def set_query_status(self, tag: str, status: QueryStatus) -> Tag | None:
        """Set the query status of a query tag and return it; None if there is none."""
        ...

    async def set_status(self, tag: str, status: TagStatus) -> Tag | None:
        """Set the status of a query tag and return it; None if there is none.

        Neither searches nor new instances use a query tag that is DELETING.
        """
        ...

    async def purge(self, key: int) -> bool:
        """Delete some values and errors of a query tag that is DELETING, and the query tag with the last of them.

        Returns True if some are left. A query tag that is not DELETING is not deleted: a new one has reused the key.
        """
        ...

    async def errors(
        self, key: int, after: int, skip: int, limit: int, partitions: Collection[PartitionName] | None = None
    ) -> Sequence[tuple[int, TagError]]:
        """Return the errors of a query tag with numbers greater than `after`, ascending, of some partitions or all."""
        ...

    async def count_errors(self, keys: Collection[int], partitions: Collection[PartitionName]) -> Mapping[int, int]:
        """Return the number of errors in some partitions by key of the query tag; tags without errors are missing."""
        ...

    async def read(self, operation_id: str, position: str, most: int) -> TagBatch:
        """Read the values of the next instances for the query tags of an operation, newest instance first.

        At most `most` instances; fewer for many query tags or much metadata, so that the transaction of `index` is
        short.
        """
        ...

    async def index(self, batch: TagBatch, operation_id: str, update: Update, *, status: TagStatus) -> Operation | None:
        """Store a batch, set the status of the operation's query tags and update the operation, in one transaction.

        An existing value is not replaced: it is from a newer instance. A fault is recorded as an error of its query tag
        and disables it for searches (`QueryStatus`). Instances and query tags deleted since the batch was read are
        ignored. Nothing is stored if `update` returns None.

        Returns the resulting operation; None if there is none.
        """
        ...
