"""Work that must not happen in the process that talks to everybody: pixels, above all."""

from typing import Protocol


class Workers(Protocol):
    """A few other processes that each do one job at a time. A job that kills its process harms no other."""

    @property
    def count(self) -> int:
        """How many jobs are done at once; it is of no use to wait for many more than these at a time."""
        ...

    async def perform(self, job: object) -> bytes:
        """Do a job elsewhere and return what came of it. Jobs are begun in the order in which they were asked for.

        Args:
            job: a frozen dataclass of plain values (see `server.model.pixels`), which crosses to another process.

        A caller that is cancelled gives up its place; what is being done already is finished and thrown away.

        Raises:
            DicomStoreError: what the job raised.
            WrongState: PIXEL_DATA_UNREADABLE, the job ended its process, took too long, or needed too much memory; or
                its process was killed from outside, and so was the next one that tried.
            Exhausted: BUSY, too many jobs are waiting, or too large ones.
            Unavailable: SHUTTING_DOWN.
        """
        ...
