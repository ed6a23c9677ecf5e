"""The initial content of a measured archive."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count

import grpc
from dicomstore.v1 import store_service_pb2 as pb
from dicomstore.v1 import store_service_pb2_grpc

from bench import data

SERIES = (1, 2)
"""The series of a CT study."""

SMALL_PER_STUDY = 20
MESSAGE_BYTES = 2 << 20
"""Maximum number of bytes of all pieces of one message, as in the contract."""

FRESH = count(10_000_000)
"""Numbers of studies outside all sets, each used once."""

_MULTIFRAME_STUDY, _SLIDE_STUDY, _FIRST_SMALL_STUDY = 500_000, 600_000, 1_000


@dataclass(frozen=True, slots=True)
class Sets:
    """The data at one scale; 1 is 7,005 instances: 2,000 CT slices, 5,000 small ones, 4 multi-frame ones, one slide."""

    scale: float = 1.0

    @property
    def ct_studies(self) -> range:
        """Return the CT studies, each with two series."""
        return range(1, 5)

    @property
    def slices(self) -> range:
        """Return the instance numbers of each CT series."""
        return range(1, 1 + max(4, round(250 * self.scale)))

    @property
    def small_studies(self) -> range:
        """Return the studies of 20 small instances."""
        return range(_FIRST_SMALL_STUDY, _FIRST_SMALL_STUDY + max(10, round(250 * self.scale)))

    @property
    def multiframe_studies(self) -> range:
        """Return the studies of one multi-frame object."""
        return range(_MULTIFRAME_STUDY, _MULTIFRAME_STUDY + max(1, round(4 * self.scale)))

    @property
    def multiframe(self) -> data.Kind:
        """Return an object of 200 frames of 131 KB."""
        return data.Kind(256, 256, frames=max(4, round(200 * self.scale)))

    @property
    def slide_study(self) -> int:
        """Return the study of the whole-slide image."""
        return _SLIDE_STUDY

    @property
    def slide(self) -> data.Kind:
        """Return a whole-slide image of 5,000 tiles."""
        return data.Kind(256, 256, frames=max(20, round(5000 * self.scale)), tiles=True)

    @property
    def all_studies(self) -> list[int]:
        """Return all studies in the order in which they were stored."""
        return [*self.ct_studies, *self.small_studies, *self.multiframe_studies, self.slide_study]

    def instances(self) -> Iterator[bytes]:
        """Generate all instances, one by one."""
        for study in self.ct_studies:
            for series in SERIES:
                for number in self.slices:
                    yield data.instance(data.CT_SLICE, study, series, number)
        for study in self.small_studies:
            yield from small_study(study)
        for study in self.multiframe_studies:
            yield data.instance(self.multiframe, study)
        yield data.instance(self.slide, self.slide_study)


def small_study(study: int) -> Iterator[bytes]:
    """Generate a study of 20 small instances."""
    return (data.instance(data.SMALL, study, 1, number) for number in range(1, SMALL_PER_STUDY + 1))


def store(core: str, partition: str, instances: Iterable[bytes]) -> int:
    """Store instances over one stream and return their number.

    Raises:
        RuntimeError: an instance was not stored.
    """
    stored = 0
    with grpc.insecure_channel(core) as channel:
        stub = store_service_pb2_grpc.StoreServiceStub(channel)
        for response in stub.StoreInstances(messages(partition, instances)):
            for outcome in response.outcomes:
                if not outcome.HasField("stored"):
                    raise RuntimeError(f"StoreInstances refused an instance: {outcome.failed.message}")
                stored += 1
    return stored


def messages(partition: str, instances: Iterable[bytes]) -> Iterator[pb.StoreInstancesRequest]:
    """Yield the messages of one call, each as large as the contract allows."""
    message = pb.StoreInstancesRequest(header=pb.StoreHeader(address={"partition": partition}))
    size = 0
    for item, body in enumerate(instances, 1):
        for start in range(0, len(body), MESSAGE_BYTES):
            piece = body[start : start + MESSAGE_BYTES]
            if size + len(piece) > MESSAGE_BYTES:
                yield message
                message, size = pb.StoreInstancesRequest(), 0
            message.pieces.add(item=item, data=piece, last=start + len(piece) == len(body))
            size += len(piece)
    yield message
