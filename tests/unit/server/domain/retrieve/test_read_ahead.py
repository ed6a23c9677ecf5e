"""Which instances a retrieval announces before it reads them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from server.adapters.blobs.memory.blobs import MemoryBlobs
from server.domain.retrieve.blob_reader import ReadAhead
from server.model.instance import Locator, StoredInstance

MIB = 1 << 20


class Announced(MemoryBlobs):
    """Records what is announced."""

    def __init__(self) -> None:
        super().__init__()
        self.locators: list[Locator] = []
        self.first: Sequence[Locator] = ()
        self.following: Sequence[Locator] = ()

    def read_ahead(self, locators: Sequence[Locator], following: Sequence[Locator] = ()) -> None:
        if not self.locators:
            self.first = locators
        elif self.following:
            assert list(self.following[: len(locators)]) == list(locators[: len(self.following)])
        self.locators += locators
        self.following = following


@dataclass
class _Instance:
    locator: Locator
    size_bytes: int


def instances(*sizes: int) -> list[StoredInstance]:
    return [cast(StoredInstance, _Instance(f"{number}", size)) for number, size in enumerate(sizes)]


def test_each_instance_is_announced_once_before_it_is_read_and_at_most_32_mebibytes_ahead() -> None:
    for size in (1000, MIB // 2, 100 * MIB):
        blobs = Announced()
        some = instances(*[size] * 200)
        ahead = ReadAhead(blobs, some)
        for number in range(200):
            ahead.reached(number)
            assert len(blobs.locators) > number
            assert (len(blobs.locators) - number) * min(size, MIB) <= 33 * MIB
        assert blobs.locators == [one.locator for one in some]
        assert blobs.first == [some[0].locator], "it does not wait for others"


def test_a_single_instance_is_not_announced() -> None:
    blobs = Announced()
    ReadAhead(blobs, instances(MIB)).reached(0)
    assert blobs.locators == []
