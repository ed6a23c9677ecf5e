"""Instance Availability Notification (PS3.4 Annex R): N-CREATE for the instances of a study."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from dimse.associations.association import Association
from dimse.associations.commands import Command, CommandField
from dimse.associations.requestor import Requestor
from dimse.config import RemoteSettings
from dimse.core import Core
from dimse.data_sets.writing import TRANSFER_SYNTAXES, write
from dimse.local_channel import Metadata
from dimse.queries.identifiers import UNIQUE_KEYS, Identifier, Level
from dimse.retrieval.selection import Selection, TooManyInstances, select
from dimse.services import statuses
from dimse.transfers.work import AttemptFailed, Work

INSTANCE_AVAILABILITY_NOTIFICATION = "1.2.840.10008.5.1.4.33"

_MAX_REFERENCES = 5000
"""Number of instances in a notification; a study with more has several notifications."""

_NAMESPACE = uuid.UUID("6f6c6a55-9f2b-5b0c-8a35-0d6f3a0e2b7d")
"""Of the SOP Instance UIDs of notifications; must not change."""


class Notifier:
    """Notifies remotes.

    Args:
        metadata: returns the metadata of a call with the credentials of the gateway.
    """

    def __init__(self, core: Core, metadata: Callable[[], Metadata], requestor: Requestor) -> None:
        self._core = core
        self._metadata = metadata
        self._requestor = requestor

    def run(self, work: Work, remote: RemoteSettings) -> None:
        """Report the instances of a study. Raises: AttemptFailed, CannotConnect, AssociationLost, ProtocolError."""
        study = work.transfer.notification.study.study_instance_uid
        selection = self._select(work.partition, study)
        work.progress.total = selection.count()
        if not work.progress.total:
            raise AttemptFailed("NOTHING_FOUND", "the archive has no such instances", is_permanent=True)
        proposals = [(INSTANCE_AVAILABILITY_NOTIFICATION, TRANSFER_SYNTAXES)]
        association = self._requestor.open(remote, proposals)
        with work.using(association):
            sent = 0
            for part in _parts(selection):
                self._notify(association, f"{work.transfer.id}/{sent}", study, part)
                sent += sum(map(len, part.values()))
                work.progress.completed = sent
                work.check()
            association.release()

    def _select(self, partition: str, study: str) -> Selection:
        keys = {UNIQUE_KEYS[Level.STUDY]: {"vr": "UI", "Value": [study]}}
        try:
            return select(
                Identifier(keys, ()),
                Level.STUDY,
                partition,
                lambda request: self._core.search.Search(
                    request, metadata=self._metadata(), timeout=self._core.call_seconds
                ),
            )
        except TooManyInstances:
            raise AttemptFailed("TOO_MANY_INSTANCES", is_permanent=True) from None

    def _notify(self, association: Association, name: str, study: str, part: Mapping[str, Mapping[str, str]]) -> None:
        context = association.context_for(INSTANCE_AVAILABILITY_NOTIFICATION, *TRANSFER_SYNTAXES)
        assert context is not None, "the only proposed one"
        command = Command(
            CommandField.N_CREATE,
            affected_sop_class_uid=INSTANCE_AVAILABILITY_NOTIFICATION,
            affected_sop_instance_uid=f"2.25.{uuid.uuid5(_NAMESPACE, name).int}",
        )
        data_set = data_set_of(study, part, association.peer.called_ae_title)
        response = association.perform(context, command, [write(data_set, context.transfer_syntax, ())])
        association.discard_data_set()
        # A repeated attempt may report again what the remote has already.
        if response.status not in (statuses.SUCCESS, statuses.DUPLICATE_SOP_INSTANCE):
            raise AttemptFailed(f"STATUS_{response.status or 0:04X}", "the remote refuses the notification")


def data_set_of(study: str, series: Mapping[str, Mapping[str, str]], retrieve_ae_title: str) -> dict[str, Any]:
    """Return the data set of a notification (PS3.4 Table R.3.2-1).

    Args:
        series: SOP classes by SOP Instance UID, by Series Instance UID.
        retrieve_ae_title: AE title from which the instances can be retrieved.
    """
    return {
        "00081111": {"vr": "SQ"},  # Referenced Performed Procedure Step Sequence
        "0020000D": _uid(study),
        "00081115": {
            "vr": "SQ",
            "Value": [
                {
                    "0020000E": _uid(uid),
                    "00081199": {
                        "vr": "SQ",
                        "Value": [
                            {
                                "00080054": {"vr": "AE", "Value": [retrieve_ae_title]},
                                "00080056": {"vr": "CS", "Value": ["ONLINE"]},
                                "00081150": _uid(sop_class),
                                "00081155": _uid(instance),
                            }
                            for instance, sop_class in instances.items()
                        ],
                    },
                }
                for uid, instances in series.items()
            ],
        },
    }


def _uid(value: str) -> dict[str, Any]:
    return {"vr": "UI", "Value": [value]}


def _parts(selection: Selection) -> list[dict[str, dict[str, str]]]:
    """Return the SOP classes by instance and series, at most `_MAX_REFERENCES` instances in each part."""
    parts: list[dict[str, dict[str, str]]] = [{}]
    count = 0
    for (_, series), forms in selection.instances.items():
        for uid, form in forms.items():
            if count == _MAX_REFERENCES:
                parts.append({})
                count = 0
            parts[-1].setdefault(series, {})[uid] = form.sop_class
            count += 1
    return parts
