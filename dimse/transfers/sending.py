"""Sending instances of the archive to a remote (C-STORE, PS3.4 Annex B)."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from dicomstore.v1.resources_pb2 import Address
from dicomstore.v1.search_service_pb2 import QUERY_LEVEL_SERIES, SearchRequest, SearchResponse

from dimse.associations.requestor import Requestor
from dimse.config import RemoteSettings
from dimse.core import Core
from dimse.local_channel import Metadata
from dimse.queries.identifiers import UNIQUE_KEYS, Identifier, Level
from dimse.retrieval.selection import Form, Selection, Series, pages, select
from dimse.retrieval.suboperations import Counts, Origin, SubOperations, TransferFailed
from dimse.services.retrieve import by_class, contexts_for
from dimse.transfers.work import AttemptFailed, Name, Work

CHUNK = 500
"""Number of instances that are sent again at most when an attempt is repeated."""

_PAGE = 200


class Sender:
    """Sends to remotes.

    Args:
        metadata: returns the metadata of a call with the credentials of the gateway.
    """

    def __init__(self, core: Core, metadata: Callable[[], Metadata], requestor: Requestor) -> None:
        self._core = core
        self._metadata = metadata
        self._requestor = requestor

    def run(self, work: Work, remote: RemoteSettings) -> None:
        """Send what a transfer names. Raises: AttemptFailed, CannotConnect, and as the calls of the core."""
        forms: dict[Form, None] = {}
        total = 0
        for name in series_of(work.transfer.send.resources, work.partition, self._search):
            selection = self._select(work.partition, name)
            forms |= selection.forms()
            total += selection.count()
            work.check()
        if not total:
            raise AttemptFailed("NOTHING_FOUND", "the archive has no such instances", is_permanent=True)
        work.progress.total = total
        association = self._requestor.open(remote, contexts_for(forms))
        problem = ""
        with work.using(association):
            operations = SubOperations(association, by_class(association.contexts.values()), Origin(), 0)
            for name in series_of(work.transfer.send.resources, work.partition, self._search):
                for chunk_name, chunk in _chunks(name, self._select(work.partition, name)):
                    if not work.is_done(chunk_name):
                        problem = self._send(work, operations, chunk) or problem
                        work.done(chunk_name)
            association.release()
        if work.progress.failed:
            raise AttemptFailed(problem or "INSTANCES_FAILED", f"{work.progress.failed} instances were not sent")

    def _send(self, work: Work, operations: SubOperations, selection: Selection) -> str:
        """Send some instances; return the problem of the last one that failed."""
        counts = Counts("send", selection.count())
        completed, warnings, failed = work.progress.completed, work.progress.warnings, work.progress.failed

        def report() -> None:
            progress = work.progress
            progress.completed = completed + counts.completed + counts.warning
            progress.warnings, progress.failed = warnings + counts.warning, failed + counts.failed

        try:
            operations.run(
                selection,
                work.partition,
                partial(self._core.retrieve_instances, metadata=self._metadata()),
                counts,
                is_cancelled=lambda: work.is_over,
                report=report,
            )
        except TransferFailed as error:
            raise AttemptFailed("TIMEOUT" if "timeout" in str(error) else "ASSOCIATION_LOST", str(error)) from error
        finally:
            report()
        work.check()
        return f"STATUS_{counts.last_failure:04X}" if counts.last_failure else ""

    def _select(self, partition: str, name: Name) -> Selection:
        keys = {
            UNIQUE_KEYS[level]: {"vr": "UI", "Value": [uid]}
            for level, uid in zip((Level.STUDY, Level.SERIES, Level.IMAGE), name, strict=False)
        }
        level = Level.IMAGE if len(name) > 2 else Level.SERIES
        return select(Identifier(keys, ()), level, partition, self._search)

    def _search(self, request: SearchRequest) -> SearchResponse:
        found: SearchResponse = self._core.search.Search(
            request, metadata=self._metadata(), timeout=self._core.call_seconds
        )
        return found


def series_of(
    resources: Sequence[Address], partition: str, search: Callable[[SearchRequest], SearchResponse]
) -> Iterator[Name]:
    """Yield the series, or single instances, of resources, in an order that is always the same."""
    names = {
        tuple(uid for uid in (one.study_instance_uid, one.series_instance_uid, one.sop_instance_uid) if uid)
        for one in resources
    }
    for name in sorted(names):
        if any(name[:length] in names for length in range(1, len(name))):
            continue  # a part of another resource
        if len(name) > 1:
            yield name
            continue
        request = SearchRequest(level=QUERY_LEVEL_SERIES, page_size=_PAGE)
        request.scope.partition, request.scope.study_instance_uid = partition, name[0]
        found = {match.resource.series_instance_uid for page in pages(request, search) for match in page.matches}
        for uid in sorted(found):
            yield (*name, uid)


def _chunks(name: Name, selection: Selection) -> Iterator[tuple[Name, Selection]]:
    """Yield the instances of a selection, some at a time, each with a name that ascends."""
    for series, forms in selection.instances.items():
        uids = sorted(forms)
        is_whole = selection.whole_series and len(uids) <= CHUNK
        for start in range(0, len(uids), CHUNK):
            chosen = uids[start : start + CHUNK]
            some = Selection({Series(*series): {uid: forms[uid] for uid in chosen}}, whole_series=is_whole)
            yield (*name[:2], chosen[-1]), some
