"""The record of login links (server/ports/security/login_links.py)."""

import asyncio
from datetime import timedelta

from server.adapters.sql.engine import Database
from server.model.security.archive_token import digest
from server.model.security.login_link import LoginLink
from tests.contract.index.samples import NOON

MINUTE = timedelta(minutes=1)
LINK = LoginLink(("globalReader", "writer"), "operator", NOON + MINUTE)
CODE = digest("dcml_code")


async def test_one_of_several_calls_takes_a_link(database: Database, other_database: Database) -> None:
    await database.login_links.add(LINK, CODE, NOON)
    assert await database.login_links.exists(CODE)
    assert not await database.login_links.exists(digest("dcml_other"))
    assert await database.login_links.take(digest("dcml_other")) is None
    taken = await asyncio.gather(*(one.login_links.take(CODE) for one in (database, other_database) * 4))
    assert sorted(taken, key=str) == [*[None] * 7, LINK] or sorted(taken, key=str) == [LINK, *[None] * 7]


async def test_an_expired_link_is_removed_when_the_next_is_added(database: Database) -> None:
    await database.login_links.add(LINK, CODE, NOON)
    await database.login_links.add(LoginLink((), "operator", NOON + 5 * MINUTE), digest("dcml_next"), LINK.expires)
    assert await database.login_links.take(CODE) is None
    assert await database.login_links.take(digest("dcml_next")) is not None
