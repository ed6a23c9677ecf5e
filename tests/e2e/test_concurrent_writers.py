"""Processes that store into one PostgreSQL do not wait for each other's commits."""

from statistics import median

import pytest

from bench.index.concurrent_writers import Writers, delayed
from server.adapters.sql.engine import migrate

pytestmark = pytest.mark.postgres


def test_eight_writers_store_more_than_one(postgres_url: str) -> None:
    """Each commit takes 5 ms longer. Writers that follow each other reach 1.3 times one, these 7 on two processors
    (`docs/performance.md`). They are measured in turns, because other programs may run."""
    migrate(postgres_url)
    with delayed(postgres_url, milliseconds=5) as url, Writers(url, 8) as writers:
        ones, eights = zip(*((writers.measure(1, 0.3), writers.measure(8, 0.3)) for _ in range(7)), strict=True)
    one, eight = (median(row["per_second"] for row in rows) for rows in (ones, eights))
    assert eight > 4 * one
