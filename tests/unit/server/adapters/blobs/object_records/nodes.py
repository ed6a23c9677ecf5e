"""Processes that use one object store."""

from server.adapters.blobs.audit_trail.trail import ChainedAuditTrail
from server.adapters.blobs.disk.threads import DiskThreads
from server.adapters.blobs.object_records.audit_place import ObjectPlace
from server.adapters.blobs.object_records.journal import ObjectJournal
from server.adapters.blobs.object_records.marks import ObjectMarks
from server.adapters.blobs.objects.client import ObjectClient
from server.adapters.blobs.objects.lease import ProcessLease, Timing

_JUDGING = Timing(renew=3600, trusted=3600, ended=-1, granularity=0)
_LENIENT = _JUDGING._replace(ended=3600)


class Node:
    """A process.

    Args:
        ends_others: every other process without `leave` has ended for it, as if it had been killed long ago.
    """

    def __init__(self, client: ObjectClient, *, ends_others: bool = True) -> None:
        self.lease = ProcessLease(client, timing=_JUDGING if ends_others else _LENIENT)
        self.journal = ObjectJournal(client, self.lease)
        self.marks = ObjectMarks(client, self.lease, pause_seconds=0.01)
        self.place = ObjectPlace(client, self.lease, DiskThreads(1))
        self.trail = ChainedAuditTrail(self.place)

    def stop(self) -> None:
        """End as a process does that is stopped."""
        self.journal.close()
        self.marks.leave()
        self.lease.leave()
