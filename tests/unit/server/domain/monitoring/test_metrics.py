"""Figures of the archive that cannot be read are omitted."""

import asyncio
from collections.abc import Iterable

import pytest

from common.telemetry.catalogue import CHANGE_FEED_SEQUENCE, METRICS_FAILURES
from common.telemetry.metrics import Sample
from server.domain.monitoring import metrics
from server.domain.monitoring.metrics import read_all
from server.model.errors import Reason, Unavailable


async def test_values_that_fail_or_take_too_long_are_omitted_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_SECONDS", 0.01)

    async def fails() -> Iterable[Sample]:
        raise Unavailable(Reason.DATABASE_UNAVAILABLE, "")

    async def no_disk() -> Iterable[Sample]:
        raise FileNotFoundError

    async def hangs() -> Iterable[Sample]:
        await asyncio.Event().wait()
        return ()

    async def works() -> Iterable[Sample]:
        return [Sample(CHANGE_FEED_SEQUENCE, 3)]

    names = ("fails", "no_disk", "hangs", "works")
    before = [METRICS_FAILURES.of(name).value for name in names]
    found = await read_all({"fails": fails, "no_disk": no_disk, "hangs": hangs, "works": works})

    assert found == {"dicomstore_change_feed_latest_sequence": [((), 3)]}
    increases = [METRICS_FAILURES.of(name).value - was for name, was in zip(names, before, strict=True)]
    assert increases == [1, 1, 1, 0]
