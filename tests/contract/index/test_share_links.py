"""The record of share links (server/ports/security/share_links.py)."""

import secrets
from datetime import timedelta

from server.adapters.sql.engine import Database
from server.model.ids import Address, PartitionName, parse_address
from server.model.security.share_link import ShareLink, SharePurpose
from tests.contract.index.samples import NOON

HOUR = timedelta(hours=1)
WARD = PartitionName("ward")


def a_link(scope: Address, purpose: SharePurpose = SharePurpose.READ, created_hours: int = 0) -> ShareLink:
    created = NOON + created_hours * HOUR
    return ShareLink(secrets.token_hex(16), purpose, scope, "for a colleague", "anonymous", created, created + HOUR)


async def test_a_link_of_each_level_is_found_as_it_was_added(database: Database, other_database: Database) -> None:
    for uids in ((), ("1.2",), ("1.2", "1.2.3"), ("1.2", "1.2.3", "1.2.3.4")):
        link = a_link(parse_address(WARD, *uids), SharePurpose.READ if uids else SharePurpose.UPLOAD)
        await database.share_links.add(link)
        assert await other_database.share_links.find(link.id) == link
    assert await database.share_links.find("0" * 32) is None


async def test_links_are_listed_in_pages_newest_first(database: Database) -> None:
    links = [a_link(parse_address(name, "1.2")) for name in ("ward", "other", "ward")]
    for link in links:
        await database.share_links.add(link)

    async def listed(
        partitions: set[PartitionName] | None, before: int | None = None, limit: int = 9
    ) -> list[ShareLink]:
        found = await database.share_links.list(valid_at=NOON, partitions=partitions, before=before, limit=limit)
        return [link for _, link in found]

    assert await listed(None) == links[::-1]
    assert await listed({WARD}) == [links[2], links[0]]
    assert await listed(set()) == []
    [(key, newest)] = await database.share_links.list(valid_at=NOON, partitions=None, before=None, limit=1)
    assert newest == links[2]
    assert await listed(None, before=key) == [links[1], links[0]]


async def test_an_expired_link_is_not_listed_and_is_removed_when_the_next_is_added(database: Database) -> None:
    expired = a_link(parse_address(WARD, "1.2"))
    await database.share_links.add(expired)
    assert await database.share_links.list(valid_at=expired.expires, partitions=None, before=None, limit=9) == []
    assert await database.share_links.find(expired.id) == expired
    await database.share_links.add(a_link(parse_address(WARD, "1.2"), created_hours=1))
    assert await database.share_links.find(expired.id) is None


async def test_a_link_is_removed_once_and_only_by_administrators_of_its_partition(database: Database) -> None:
    link = a_link(parse_address(WARD, "1.2"))
    await database.share_links.add(link)
    assert not await database.share_links.remove(link.id, {PartitionName("other")})
    assert await database.share_links.remove(link.id, {WARD})
    assert not await database.share_links.remove(link.id, None)
    assert await database.share_links.find(link.id) is None
