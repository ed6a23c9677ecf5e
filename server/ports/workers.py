"""Jobs that must not run in the serving process, such as work on pixels."""

from typing import Protocol


class Workers(Protocol):
    """A set of other processes that run one job at a time each. A job that crashes its process affects no other."""

    @property
    def count(self) -> int:
        """Number of concurrent jobs; there is no use in submitting many more at a time."""
        ...

    async def perform(self, job: object) -> bytes:
        """Run a job in another process and return its result. Jobs start in the order of submission.

        Args:
            job: a frozen dataclass of plain values (see `server.model.pixels`), sent to another process.

        If the caller is cancelled, a waiting job is removed; a running one is finished and its result discarded.

        Raises:
            DicomStoreError: raised by the job.
            WrongState: PIXEL_DATA_UNREADABLE, the job crashed its process, or exceeded its time or memory limit.
            Exhausted: BUSY, too many or too large jobs are waiting, or two processes in a row were killed from outside.
            Unavailable: SHUTTING_DOWN.
        """
        ...
