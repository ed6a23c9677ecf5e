import pytest

from server.adapters.memory_blobs import MemoryBlobs
from server.ports.blobs import BlobStore
from tests.contract.blobs import BlobStoreContract


class TestMemoryBlobs(BlobStoreContract):
    @pytest.fixture
    def store(self) -> BlobStore:
        return MemoryBlobs()
