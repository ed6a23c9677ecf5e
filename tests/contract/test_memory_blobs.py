import pytest

from server.adapters.blobs.memory.blobs import MemoryBlobs
from server.ports.blobs import BlobStore
from tests.contract.blobs import BlobStoreContract, Flip, flipped


class TestMemoryBlobs(BlobStoreContract):
    shares_bytes = False

    @pytest.fixture
    def store(self) -> BlobStore:
        return MemoryBlobs()

    @pytest.fixture
    def flip(self, store: MemoryBlobs) -> Flip:
        def flip(body: bytes, offset: int) -> None:
            [locator] = [locator for locator, blob in store._blobs.items() if blob == body]
            store._blobs[locator] = flipped(body, offset)

        return flip
