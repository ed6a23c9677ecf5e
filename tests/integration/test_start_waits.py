"""At start the core waits for an unreachable PostgreSQL, up to a limit."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from server.adapters.sql.engine import migrate
from server.bootstrap.serving import running
from server.model.errors import Reason, Unavailable
from server.opening import prepare_when_there
from tests.core import settings_for

WAITING = "waiting for the database"


@pytest.mark.postgres
async def test_a_core_starts_serving_when_its_database_becomes_reachable(
    postgres_to_stop: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = make_url(postgres_to_stop.get_uri()).set(drivername="postgresql+psycopg").render_as_string(False)
    migrate(url)
    postgres_to_stop.stop()

    async def serve() -> None:
        async with running(settings_for(tmp_path, database=url)):
            pass

    serving = asyncio.create_task(serve())
    async with asyncio.timeout(60):
        while WAITING not in caplog.text:  # noqa: ASYNC110 - no event announces a log record
            await asyncio.sleep(0.05)
        postgres_to_stop.start()
        await serving


async def test_the_wait_is_limited_and_its_cause_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    unreachable = "postgresql+psycopg://user:secret@127.0.0.1:1/name"
    with pytest.raises(Unavailable) as caught:
        await prepare_when_there(
            settings_for(tmp_path, database=unreachable, database_wait_seconds=1.4)
        )  # one pause of 0.5 s fits
    assert caught.value.reason is Reason.DATABASE_UNAVAILABLE
    assert caplog.text.count(WAITING) == 1
    assert "127.0.0.1" in caplog.text
    assert "secret" not in caplog.text
