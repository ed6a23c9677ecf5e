"""Labels and external metadata in the data sets of responses."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace as replaced
from typing import NamedTuple

from server.dicom.elements.label_elements import with_external_metadata, with_labels
from server.model.ids import Address, PartitionName
from server.model.lifecycle.label import Labels
from server.ports.lifecycle.labels import LabelRecord

_NONE: Labels = {}
_SMALL = 64 << 10
"""Bytes of data sets composed in one run; more would block the event loop for too long."""


class Additions(NamedTuple):
    """What a request wants to be added to data sets."""

    labels: bool = False
    external_metadata: bool = False


NO_ADDITIONS = Additions()


async def with_additions(
    record: LabelRecord, partition: PartitionName, data_sets: Sequence[tuple[Address, bytes]], wanted: Additions
) -> list[bytes]:
    """Return data sets with the labels of their study, series and instance, and the external metadata of their study.

    Args:
        record: of labels.
        partition: of all data sets.
        data_sets: addresses of studies, series or instances, and their DICOM JSON.
        wanted: what to add.
    """
    owners = {owner for address, _ in data_sets for _, owner in _owners(address)}
    if not wanted.labels:
        owners = {owner for owner in owners if owner.series is None}
    of = await record.of(partition, owners)
    if sum(len(data_set) for _, data_set in data_sets) <= _SMALL:
        return _composed(data_sets, of, wanted)
    return await asyncio.to_thread(_composed, data_sets, of, wanted)


def _composed(
    data_sets: Sequence[tuple[Address, bytes]], of: Mapping[Address, Labels], wanted: Additions
) -> list[bytes]:
    result = []
    for address, data_set in data_sets:
        if wanted.external_metadata:
            study = replaced(address, series=None, instance=None)
            data_set = with_external_metadata(data_set, of.get(study, _NONE))
        if wanted.labels:
            levels = ((level, of.get(owner, _NONE)) for level, owner in _owners(address))
            data_set = with_labels(data_set, levels)
        result.append(data_set)
    return result


def _owners(address: Address) -> Iterable[tuple[str, Address]]:
    yield "STUDY", replaced(address, series=None, instance=None)
    if address.series is not None:
        yield "SERIES", replaced(address, instance=None)
    if address.instance is not None:
        yield "INSTANCE", address
