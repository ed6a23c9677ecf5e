"""Blobs in a bucket pass the contract suite, on moto's S3 server; and what is particular to them."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from server.adapters.blobs.object_blobs.cache import PartCache
from server.adapters.blobs.object_blobs.store import ObjectBlobs
from server.adapters.blobs.objects.client import ObjectClient
from server.adapters.blobs.objects.lease import ProcessLease
from server.adapters.blobs.objects.locks import ObjectLock
from server.ports.blobs import BlobStore
from tests.contract.blobs import BlobStoreContract, Flip, flipped


@asynccontextmanager
async def opened(
    client: ObjectClient, cache: Path, cache_bytes: int = 1 << 30, **options: object
) -> AsyncIterator[ObjectBlobs]:
    """Open the blobs of a bucket, as a process of its own."""
    lease = ProcessLease(client)
    try:
        async with ObjectBlobs(
            client,
            lease,
            recovering=ObjectLock(client, lease, "recover"),
            compacting=ObjectLock(client, lease, "compact"),
            cache=PartCache(cache, cache_bytes),
            **options,  # type: ignore[arg-type]
        ) as store:
            yield store
    finally:
        await asyncio.to_thread(lease.leave)


class ObjectBlobsContract(BlobStoreContract):
    keeps_deleted_for_readers = False

    @pytest.fixture
    def flip(self, client: ObjectClient, tmp_path: Path) -> Flip:
        """Change a byte in the bucket, and empty the cache."""

        def flip(body: bytes, offset: int) -> None:
            for listed in client.names("blobs"):
                data, _ = client.get(listed.name)
                if (at := data.find(body)) >= 0:
                    client.put(listed.name, flipped(data, at + offset))
                    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
                    return
            raise AssertionError("no object holds the blob")

        return flip


class TestObjectBlobsOnS3(ObjectBlobsContract):
    @pytest.mark.parametrize(("size", "knows_crc32c"), [(300_000, True)])
    async def test_ranges_with_a_changed_byte_are_never_read_and_all_others_are(
        self, store: BlobStore, flip: Flip, size: int, knows_crc32c: bool
    ) -> None:
        """With one size only: moto takes a quarter of a minute for the others, which are tested in memory."""
        await super().test_ranges_with_a_changed_byte_are_never_read_and_all_others_are(store, flip, size, knows_crc32c)

    @pytest.fixture
    def client(self, bucket_url: str) -> ObjectClient:
        return ObjectClient(bucket_url)

    @pytest.fixture
    async def store(self, client: ObjectClient, tmp_path: Path) -> AsyncIterator[BlobStore]:
        async with opened(client, tmp_path / "cache", store_id="0123abcd") as store:
            yield store


class TestObjectBlobsWithoutMemoryAndCache(ObjectBlobsContract):
    @pytest.fixture
    def client(self) -> ObjectClient:
        return ObjectClient("memory:")

    @pytest.fixture
    async def store(self, client: ObjectClient, tmp_path: Path) -> AsyncIterator[BlobStore]:
        async with opened(client, tmp_path / "cache", 0, held_bytes=0) as store:
            yield store
