"""Blobs in a bucket stay right while requests fail; `python -m tests.object_torture` for longer."""

from pathlib import Path

from tests.faulty_proxy import Fault, running_proxy
from tests.object_store import ObjectStore
from tests.object_torture import torture


async def test_nothing_is_lost_or_wrong_when_requests_to_the_bucket_fail(
    object_store: ObjectStore, bucket_url: str, tmp_path: Path
) -> None:
    with running_proxy(object_store.endpoint, seed=3) as proxy:
        run = await torture(bucket_url, proxy, 200, rate=0.2, seed=3, cache=tmp_path)
    assert run.counts["put"] > 20
    assert set(proxy.faults) >= {Fault.CUT_BEFORE, Fault.CUT_AFTER, Fault.SLOW_DOWN}
