"""The check that an object store supports conditional writes (server/adapters/blobs/object_records/conditions.py)."""

import pytest

from server.adapters.blobs.object_records.conditions import require_conditional_writes
from server.adapters.blobs.objects.client import ObjectClient
from server.model.errors import Unavailable


class Unconditional(ObjectClient):
    """A store that ignores conditions, as some services do."""

    def create(self, name: str, data: bytes, **_: object) -> str:  # type: ignore[override]
        return self.put(name, data)

    def replace(self, name: str, data: bytes, etag: str) -> str:  # type: ignore[override]
        return self.put(name, data)


class WithoutReplacing(ObjectClient):
    """A store that ignores conditions of replacements only."""

    replace = Unconditional.replace


def test_a_store_with_conditional_writes_is_accepted(bucket_url: str) -> None:
    for client in (ObjectClient(bucket_url), ObjectClient("memory:")):
        require_conditional_writes(client)
        assert list(client.names()) == []


@pytest.mark.parametrize("kind", [Unconditional, WithoutReplacing])
def test_a_store_that_ignores_conditions_is_refused(kind: type[ObjectClient]) -> None:
    with pytest.raises(Unavailable, match="conditions"):
        require_conditional_writes(kind("memory:"))
