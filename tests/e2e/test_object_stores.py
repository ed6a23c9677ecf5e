"""Blobs in buckets of real servers: versitygw for S3, Azurite for Azure Blob Storage."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from server.adapters.blobs.objects.client import ObjectClient
from server.ports.blobs import BlobStore
from tests.contract.test_object_blobs import ObjectBlobsContract, opened
from tests.contract.test_object_client import check_client
from tests.object_store import ObjectStore, running_azurite, running_versitygw


class _OnServer(ObjectBlobsContract):
    @pytest.fixture
    def url(self, server: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> str:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        return server.bucket()

    @pytest.fixture
    def client(self, url: str) -> ObjectClient:
        return ObjectClient(url)

    @pytest.fixture
    async def store(self, client: ObjectClient, tmp_path: Path) -> AsyncIterator[BlobStore]:
        async with opened(client, tmp_path / "cache", received_bytes=0) as store:  # `flip` empties the cache only
            yield store

    def test_the_client_does_what_it_promises(self, client: ObjectClient) -> None:
        check_client(client)


@pytest.fixture(scope="module")
def running_s3() -> Iterator[ObjectStore]:
    with running_versitygw() as server:
        yield server


@pytest.fixture(scope="module")
def running_azure() -> Iterator[ObjectStore]:
    with running_azurite() as server:
        yield server


@pytest.mark.clients("versitygw")
class TestVersitygw(_OnServer):
    @pytest.fixture
    def server(self, running_s3: ObjectStore) -> ObjectStore:
        return running_s3


@pytest.mark.clients("azurite")
class TestAzurite(_OnServer):
    @pytest.fixture
    def server(self, running_azure: ObjectStore) -> ObjectStore:
        return running_azure
