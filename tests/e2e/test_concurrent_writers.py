"""Processes that store into one PostgreSQL do not wait for each other's commits."""

import pytest

from bench.index.concurrent_writers import delayed, measure
from server.adapters.sql.engine import migrate

pytestmark = pytest.mark.postgres


def test_eight_writers_store_more_than_one(postgres_url: str) -> None:
    """Each commit takes 5 ms longer. Writers that follow each other reach 1.3 times one; `docs/performance.md` has
    what these reach with two processors of their own, which a test can't count on."""
    migrate(postgres_url)
    with delayed(postgres_url, milliseconds=5) as url:
        one = measure(url, writers=1, seconds=1.5)
        eight = measure(url, writers=8, seconds=1.5, first=10)
    assert eight["per_second"] > 3 * one["per_second"]
