"""How far an index has come: noted after each commit, compared before each change. And what a change makes needless.

The comparison finds an index that is exchanged or set back while the program runs, as by a restore or by a replica that
takes over.
"""

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

from server.model.archive import Mark
from server.model.errors import Reason, Unavailable
from server.ports.journal import Journal

_NAME = "progress"


class Progress:
    """For the one thread that writes.

    Args:
        mark: the index has been there at least.
        note: told how far it is after each commit that changed something.
        lost: told why the index can't be trusted any more.
        journal: of blobs that no instance needs any more.
    """

    def __init__(self, mark: Mark, note: Callable[[Mark], None], lost: Callable[[str], None], journal: Journal) -> None:
        self._versions = {mark.shard: mark.version}
        self._sequence = mark.sequence
        self._note = note
        self._lost = lost
        self._pending: tuple[Mapping[int, int], int] | None = None
        self.journal = journal

    def accompany(self, info: dict[Any, Any]) -> None:
        """Make `progress_of` find this in what belongs to a connection."""
        info[_NAME] = self

    def began(self, versions: Mapping[int, int], sequence: int) -> None:
        """Compare what a transaction has found: the last version of each of its shards, and the last sequence.

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
        """Remember how far the index is if the transaction is committed: a version in each of its shards."""
        self._pending = versions, sequence

    def committing(self) -> None:
        """Make durable what the transaction has in the journal. Raises: as `Journal.prepare`."""
        self.journal.prepare()

    def failed(self, *, may_have_happened: bool) -> None:
        """Say that the transaction failed."""
        if may_have_happened:
            self.journal.ended()
        else:
            self.journal.rolled_back()

    def committed(self) -> None:
        """Note how far the index is."""
        self.journal.committed()
        if self._pending is not None:
            (versions, self._sequence), self._pending = self._pending, None
            self._versions.update(versions)
            shard, version = max(versions.items(), key=itemgetter(1))
            self._note(Mark(version, self._sequence, shard))


def progress_of(info: dict[Any, Any]) -> Progress | None:
    """Return the progress that accompanies a connection, if any."""
    progress: Progress | None = info.get(_NAME)
    return progress
