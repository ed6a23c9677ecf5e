"""Retrieving instances from a remote: C-FIND, then C-MOVE or C-GET (PS3.4 Annex C)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from dicomstore.v1.transfer_service_pb2 import RETRIEVE_METHOD_GET, RETRIEVE_METHOD_UNSPECIFIED, Pull

from dimse.associations.association import Association, Request
from dimse.associations.commands import Command, CommandField
from dimse.associations.pdus import Roles
from dimse.associations.requestor import Proposal, Requestor
from dimse.config import RemoteSettings
from dimse.data_sets.writing import TRANSFER_SYNTAXES
from dimse.queries.identifiers import UNIQUE_KEYS, Level
from dimse.services.find import STUDY_ROOT_FIND
from dimse.services.retrieve import STUDY_ROOT_GET, STUDY_ROOT_MOVE
from dimse.transfers.queries import find, identifier, tags_of, value_of
from dimse.transfers.storage_contexts import storage_proposals
from dimse.transfers.work import AttemptFailed, Name, Work

MAX_STUDIES = 10_000
"""Maximum number of studies that match the search keys of a pull."""

_LEVELS = (Level.STUDY, Level.SERIES, Level.IMAGE)
_SOP_CLASS_UID = "00080016"
_PENDING, _SOME_FAILED = 0xFF00, 0xB000
_NOTHING_FOUND = "NOTHING_FOUND"


class Puller:
    """Retrieves from remotes.

    Args:
        serve: serves the C-STORE requests of a C-GET, like those of other associations.
        on_end: called at the end of each association of a C-GET.
        retrieve_seconds: time for which a remote may be silent while it sends instances.
    """

    def __init__(
        self,
        requestor: Requestor,
        serve: Callable[[Request], None],
        on_end: Callable[[Association], None],
        retrieve_seconds: float,
    ) -> None:
        self._requestor = requestor
        self._serve = serve
        self._on_end = on_end
        self._retrieve_seconds = retrieve_seconds

    def run(self, work: Work, remote: RemoteSettings) -> None:
        """Retrieve what a transfer names. Raises: AttemptFailed, CannotConnect, AssociationLost, ProtocolError."""
        pull = work.transfer.pull
        by_get = pull.method == RETRIEVE_METHOD_GET or (
            pull.method == RETRIEVE_METHOD_UNSPECIFIED and remote.retrieve == "get"
        )
        names = _named(pull) if pull.resources else self._matching(work, remote, pull)
        problem = ""
        for name in names:
            work.check()
            if not work.is_done(name):
                operation = self._get if by_get else self._move
                problem = operation(work, remote, name) or problem
                if not problem:
                    work.done(name)
        if problem:
            raise AttemptFailed(problem, "instances were not retrieved", is_permanent=problem == _NOTHING_FOUND)

    def _matching(self, work: Work, remote: RemoteSettings, pull: Pull) -> Sequence[Name]:
        """Return the studies that match the search keys, in an order that is always the same."""
        keys = tags_of({term.attribute: term.values[0] for term in pull.keys})
        study = UNIQUE_KEYS[Level.STUDY]
        found: set[str] = set()
        association = self._open(remote, [(STUDY_ROOT_FIND, TRANSFER_SYNTAXES)])
        with work.using(association):
            for match in find(association, Level.STUDY, {study: "", **keys}):
                found.add(value_of(match, study))
                if len(found) > MAX_STUDIES:
                    raise AttemptFailed("TOO_MANY_MATCHES", "the search keys match too many studies", is_permanent=True)
            association.release()
        return [(uid,) for uid in sorted(found - {""})]

    def _move(self, work: Work, remote: RemoteSettings, name: Name) -> str:
        """Let the remote send a resource on associations of its own; return the problem, if there is one."""
        if work.partition != self._requestor.partition_of(remote):
            text = "instances of a C-MOVE are stored in the partition of the remote"
            raise AttemptFailed("OTHER_PARTITION", text, is_permanent=True)
        association = self._open(remote, [(STUDY_ROOT_MOVE, TRANSFER_SYNTAXES)])
        command = Command(
            CommandField.C_MOVE,
            affected_sop_class_uid=STUDY_ROOT_MOVE,
            priority=0,
            move_destination=self._requestor.ae_title,
        )
        with work.using(association):
            problem = _retrieved(work, association, command, name)
            association.release()
        return problem

    def _get(self, work: Work, remote: RemoteSettings, name: Name) -> str:
        """Retrieve a resource on the association of the request; return the problem, if there is one."""
        proposals: list[Proposal] = [(STUDY_ROOT_GET, TRANSFER_SYNTAXES)]
        proposals += storage_proposals(self._sop_classes(work, remote, name))
        roles = {sop_class: Roles(scu=False, scp=True) for sop_class, _ in proposals[1:]}
        association = self._open(remote, proposals, roles)
        association.serve = self._serve
        association.peer = replace(association.peer, partition=work.partition)
        command = Command(CommandField.C_GET, affected_sop_class_uid=STUDY_ROOT_GET, priority=0)
        try:
            with work.using(association):
                problem = _retrieved(work, association, command, name)
                association.release()
        finally:
            self._on_end(association)
        return problem

    def _sop_classes(self, work: Work, remote: RemoteSettings, name: Name) -> Sequence[str]:
        """Return the SOP classes of a resource; none if the remote does not tell them."""
        association = self._open(remote, [(STUDY_ROOT_FIND, TRANSFER_SYNTAXES)])
        found: set[str] = set()
        with work.using(association):
            for series in self._series(association, name):
                keys = {**_keys(series), UNIQUE_KEYS[Level.IMAGE]: name[2] if len(name) > 2 else "", _SOP_CLASS_UID: ""}
                try:
                    found |= {value_of(match, _SOP_CLASS_UID) for match in find(association, Level.IMAGE, keys)}
                except AttemptFailed:
                    return ()
            association.release()
        return sorted(found - {""})

    def _series(self, association: Association, name: Name) -> Iterator[Name]:
        if len(name) > 1:
            yield name[:2]
            return
        keys = {**_keys(name), UNIQUE_KEYS[Level.SERIES]: ""}
        for uid in {value_of(match, UNIQUE_KEYS[Level.SERIES]) for match in find(association, Level.SERIES, keys)}:
            if uid:
                yield (*name, uid)

    def _open(
        self, remote: RemoteSettings, proposals: Sequence[Proposal], roles: Mapping[str, Roles] | None = None
    ) -> Association:
        return self._requestor.open(remote, proposals, roles=roles or {}, silent_seconds=self._retrieve_seconds)


def _named(pull: Pull) -> Sequence[Name]:
    """Return the resources of a pull, in order."""
    return sorted(
        {
            tuple(uid for uid in (one.study_instance_uid, one.series_instance_uid, one.sop_instance_uid) if uid)
            for one in pull.resources
        }
    )


def _keys(name: Name) -> dict[str, str]:
    """Return the unique keys of a resource, by tag."""
    return {UNIQUE_KEYS[level]: uid for level, uid in zip(_LEVELS, name, strict=False)}


def _retrieved(work: Work, association: Association, command: Command, name: Name) -> str:
    """Perform a C-MOVE or C-GET; count its sub-operations, and return the problem, if there is one."""
    assert command.affected_sop_class_uid is not None
    context = association.context_for(command.affected_sop_class_uid, *TRANSFER_SYNTAXES)
    if context is None:
        raise AttemptFailed("NO_CONTEXT", "the remote does not accept retrieval")
    level = _LEVELS[len(name) - 1]
    before = replace(work.progress)
    data = identifier(level, _keys(name), context.transfer_syntax)
    for response in association.perform_all(context, command, [data]):
        association.discard_data_set()
        status = response.status or 0
        completed, failed = response.completed_suboperations or 0, response.failed_suboperations or 0
        warnings, remaining = response.warning_suboperations or 0, response.remaining_suboperations or 0
        progress = replace(before)
        progress.completed += completed + warnings
        progress.warnings += warnings
        progress.failed += failed
        progress.total = max(before.total, progress.completed + failed + remaining)
        work.progress = progress
        work.check()
        if status == _PENDING:
            continue
        if status not in (0, _SOME_FAILED):
            return f"STATUS_{status:04X}"
        if failed:
            return "INSTANCES_FAILED"
        return _NOTHING_FOUND if response.completed_suboperations == warnings == 0 else ""
    return "PROTOCOL_ERROR"
