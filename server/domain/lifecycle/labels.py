"""Labels of studies, series and instances (docs/api.md, Labels)."""

from collections.abc import Callable, Collection
from datetime import datetime

from server.domain.access import Access
from server.domain.resources import not_found
from server.model.access import Action
from server.model.call import Call
from server.model.ids import Address
from server.model.lifecycle.label import Labels, changed, check_labels, check_name
from server.ports.index import InstanceIndex
from server.ports.lifecycle.labels import LabelRecord


class LabelService:
    """Reads and changes labels.

    now: the clock of receipts.
    """

    def __init__(
        self, *, access: Access, index: InstanceIndex, record: LabelRecord, now: Callable[[], datetime]
    ) -> None:
        self._access = access
        self._index = index
        self._record = record
        self._now = now

    async def get(self, call: Call, address: Address) -> Labels:
        """Return the labels of a study, series or instance.

        Raises:
            InvalidRequest: INVALID_FIELD, the address is a partition.
            NotFound: the study, series or instance.
            and as `Access.permit`.
        """
        address.require_study()
        address = await self._access.permit(call, Action.READ, address)
        return await self._existing(address, await self._record.get(address))

    async def change(
        self, call: Call, address: Address, labels: Labels, removed: Collection[str], *, replace: bool
    ) -> Labels:
        """Change the labels of a study, series or instance, and return all of them.

        Args:
            address: its address.
            labels: labels to set.
            removed: names of labels to remove.
            replace: remove all labels that are not set.

        Raises:
            InvalidRequest: INVALID_LABEL; INVALID_FIELD, the address is a partition.
            Exhausted: TOO_MANY_LABELS.
            Forbidden: PERMISSION_DENIED, also for the recipient of a share link.
            NotFound: the study, series or instance.
            and as `Access.permit`.
        """
        address.require_study()
        check_labels(labels)
        for name in removed:
            check_name(name)
        call.audit.note(labels=sorted(labels), removed_labels=sorted(removed), replace=replace)
        address = await self._access.permit(call, Action.WRITE, address, by_share_link=False)
        names = frozenset(removed)
        result = await self._record.change(
            address, lambda present: changed(present, labels, names, replace=replace), self._now()
        )
        return await self._existing(address, result)

    async def _existing(self, address: Address, labels: Labels | None) -> Labels:
        if labels is None:
            raise await not_found(self._index, address)
        return labels
