"""Handing out metadata (PS3.18 section 10.4.1.1.2, spec: retrieve.md section 6), in pages."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from server.domain.partitions import PartitionGate
from server.domain.reading import Reading
from server.domain.resources import not_found, parse_resource
from server.model.ids import ResourceRef
from server.model.instance import InstanceMetadata, ResourceState
from server.ports.index import InstanceIndex

_FIRST_METADATA_PAGE = 20
_MOST_METADATA_ROWS = 200


@dataclass(frozen=True, slots=True)
class OpenMetadata:
    """The state of a resource and its data sets, in pages that are never empty."""

    state: ResourceState
    pages: AsyncIterator[Sequence[InstanceMetadata]]


class RetrieveMetadata:
    """Reads metadata."""

    def __init__(self, *, reading: Reading, index: InstanceIndex, gate: PartitionGate) -> None:
        self._reading = reading
        self._index = index
        self._gate = gate

    async def open(
        self, *, partition: str, study: str, series: str, instance: str, known: ResourceState | None
    ) -> OpenMetadata:
        """Open the metadata of a resource; there are no pages if its state is the `known` one.

        Instances come by version. What is stored after the state was read is left out; what is deleted meanwhile may be
        missing.

        Raises:
            InvalidRequest, NotFound: for the address.
        """
        ref = await parse_resource(self._gate, partition, study, series, instance)
        state = await self._index.state(ref)
        if state is None:
            raise await not_found(self._index, ref)
        return OpenMetadata(state, _nothing() if state == known else self._metadata(ref, state))

    async def _metadata(self, ref: ResourceRef, state: ResourceState) -> AsyncIterator[Sequence[InstanceMetadata]]:
        """Yield pages: the first is small and soon there, the others have the number of rows that its size allows."""
        after, limit = 0, _FIRST_METADATA_PAGE
        while after < state.max_version and (page := await self._index.metadata(ref, after, limit)):
            after = page[-1].version
            if after > state.max_version:
                page = [item for item in page if item.version <= state.max_version]
            if page:
                yield page
                mean_bytes = sum(len(item.dicom_json) for item in page) // len(page)
                limit = max(1, min(_MOST_METADATA_ROWS, self._reading.piece_bytes() // 2 // (mean_bytes + 1)))


async def _nothing() -> AsyncIterator[Sequence[InstanceMetadata]]:
    for page in list[Sequence[InstanceMetadata]]():
        yield page
