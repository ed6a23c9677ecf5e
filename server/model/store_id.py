"""Ids of blob stores, by which the locators of several stores are told apart.

A locator of a store with an id begins with `@<id>/`. A store without one, as is a local directory that has always been
the only store of its archive, has the empty id; its locators do not begin with `@`.
"""

import re
import secrets

from server.model.instance import Locator

StoreId = str
"""Eight lower-case hexadecimal digits, chosen when the store is first used; "" for a store whose locators have none."""

NO_ID = StoreId("")
_MARK = "@"
_ID_LENGTH = 8
_ID = re.compile(rf"[0-9a-f]{{{_ID_LENGTH}}}")


def new_store_id() -> StoreId:
    """Return a random id."""
    return secrets.token_hex(_ID_LENGTH // 2)


def is_store_id(text: str) -> bool:
    """Return whether a text is the id of a store whose locators begin with it."""
    return _ID.fullmatch(text) is not None


def prefix_of(store: StoreId) -> str:
    """Return what the locators of a store begin with."""
    return f"{_MARK}{store}/" if store else ""


def last_locator_of(store: StoreId) -> str:
    """Return a text that sorts after all locators of a store with an id, and before those of others."""
    return f"{_MARK}{store}{chr(ord('/') + 1)}"


def store_of(locator: Locator) -> StoreId:
    """Return the id of the store to which a locator belongs; NO_ID for a locator without one."""
    return locator[1 : _ID_LENGTH + 1] if locator[:1] == _MARK else NO_ID
