"""Progress of an index, recorded after each commit and compared before each change; and the journal of obsolete blobs.

The comparison detects an index that was replaced or restored while the program runs, or a replica that took over.
"""

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

from server.model.archive import Mark
from server.model.errors import Reason, Unavailable
from server.ports.journal import Journal

_NAME = "progress"


class Progress:
    """For the single writing thread.

    Args:
        mark: a lower bound of the progress of the index.
        note: called with the progress after each commit of a change.
        lost: called with the reason why the index cannot be trusted any longer.
        journal: of blobs that no instance needs any longer.
    """

    def __init__(self, mark: Mark, note: Callable[[Mark], None], lost: Callable[[str], None], journal: Journal) -> None:
        self._versions = {mark.shard: mark.version}
        self._sequence = mark.sequence
        self._note = note
        self._lost = lost
        self._pending: tuple[Mapping[int, int], int] | None = None
        self.journal = journal

    def accompany(self, info: dict[Any, Any]) -> None:
        """Store this object in the info of a connection, where `progress_of` finds it."""
        info[_NAME] = self

    def began(self, versions: Mapping[int, int], sequence: int) -> None:
        """Compare the state found by a transaction: the last version of each of its shards, and the last sequence.

        Raises:
            Unavailable: ARCHIVE_READ_ONLY.
        """
        self._pending = None
        for shard, version in versions.items():
            known = self._versions.get(shard, 0)
            if version < known or sequence < self._sequence:
                self._lost(
                    f"the index is at version {version} and sequence {sequence}, it was at {known} and "
                    f"{self._sequence}: it was replaced or restored while the program was running"
                )
                raise Unavailable(
                    Reason.ARCHIVE_READ_ONLY, "The archive is read-only: its index has lost transactions."
                )

    def reached(self, versions: Mapping[int, int], sequence: int) -> None:
        """Remember the progress of the index after a commit of the transaction: a version for each of its shards."""
        self._pending = versions, sequence

    def committing(self) -> None:
        """Make the journal entries of the transaction durable. Raises: as `Journal.prepare`."""
        self.journal.prepare()

    def failed(self, *, may_have_happened: bool) -> None:
        """Record that the transaction failed."""
        self._pending = None
        if may_have_happened:
            self.journal.ended()
        else:
            self.journal.rolled_back()

    def committed(self) -> None:
        """Record the progress of the index."""
        self.journal.committed()
        if self._pending is not None:
            (versions, self._sequence), self._pending = self._pending, None
            self._versions.update(versions)
            shard, version = max(versions.items(), key=itemgetter(1))
            self._note(Mark(version, self._sequence, shard))


def progress_of(info: dict[Any, Any]) -> Progress | None:
    """Return the progress stored in the info of a connection, if any."""
    progress: Progress | None = info.get(_NAME)
    return progress
