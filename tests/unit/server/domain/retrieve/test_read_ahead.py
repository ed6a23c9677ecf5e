"""Which instances a retrieval announces before it reads them."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import cast

from server.adapters.blobs.memory.blobs import MemoryBlobs
from server.domain.flow.response_budget import ResponseBudget
from server.domain.retrieve.blob_reader import BlobReader, ReadAhead
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


def test_each_instance_is_announced_once_before_it_is_read_and_not_further_ahead_than_is_allowed() -> None:
    for size in (1000, MIB // 2, 100 * MIB):
        blobs = Announced()
        some = instances(*[size] * 200)
        ahead = ReadAhead(blobs, some, lambda: 32 * MIB)
        for number in range(200):
            ahead.reached(number)
            assert len(blobs.locators) > number
            assert (len(blobs.locators) - number) * min(size, MIB) <= 33 * MIB
        assert blobs.locators == [one.locator for one in some]
        assert blobs.first == [some[0].locator], "it does not wait for others"


def test_a_single_instance_is_not_announced() -> None:
    blobs = Announced()
    ReadAhead(blobs, instances(MIB), lambda: 32 * MIB).reached(0)
    assert blobs.locators == []


def test_a_retrieval_reads_less_ahead_while_there_are_others() -> None:
    budget, blobs = ResponseBudget(MIB), Announced()
    ahead = BlobReader(blobs, budget).read_ahead(instances(*[MIB] * 500))
    with budget.responding():
        ahead.reached(0)
        assert len(blobs.locators) == 64
        with budget.responding():
            for number in range(1, 60):
                ahead.reached(number)
            assert len(blobs.locators) - 60 <= 40
            with ExitStack() as others:
                for _ in range(100):
                    others.enter_context(budget.responding())
                for number in range(60, 200):
                    ahead.reached(number)
                    assert len(blobs.locators) > number
                assert len(blobs.locators) - 200 <= 16
        ahead.reached(200)
        assert len(blobs.locators) - 200 == 64
