"""The record of the identity of an archive: a JSON object.

{"archive": <id>, "bound": true if the index is known to have the same id,
 "recovering": true between start and end of a recovery of the index,
 "authentication": true if the index has, or had, archive tokens,
 "store": the store id, if the blobs have one in their locators}
"""

import json
from collections.abc import Mapping
from typing import Any

from server.model.archive import BlobsIdentity, Mark
from server.model.store_id import NO_ID, StoreId, is_store_id


def parsed_facts(text: bytes) -> dict[str, Any]:
    """Return the record. Raises: ValueError, if it is damaged."""
    try:
        facts = json.loads(text)
        if is_store_id(facts.get("store", "00000000")) and isinstance(facts["archive"], str | None):
            return {**facts, "bound": facts["bound"]}
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError from error
    raise ValueError


def store_in(facts: Mapping[str, Any]) -> StoreId:
    """Return the store id in a record; NO_ID if it has none."""
    store: StoreId = facts.get("store", NO_ID)
    return store


def identity_in(facts: Mapping[str, Any], place: str, mark: Mark, *, has_blobs: bool) -> BlobsIdentity:
    """Return the identity in a record, which may be empty."""
    return BlobsIdentity(
        place,
        facts.get("archive"),
        bool(facts.get("bound")),
        has_blobs,
        mark,
        bool(facts.get("recovering")),
        bool(facts.get("authentication")),
        frozenset((store_in(facts),)),
    )
