"""Names of objects, and locators of blobs.

    blobs/<generation>/<id>p    a packed object: several small blobs, see `packed_object`
    blobs/<generation>/<id>l    one large blob and its trailer, see `records`
    blobs/<generation>/<id>d    the same for the own bytes of a derived blob
    erased/<generation>/<id>p   the erased blobs of a packed object, see `erasure`

A generation is a run of objects of one process. It and the ids are 16 random hexadecimal digits.

A locator is `<generation>.<id>-<offset>-<length>` for a blob in a packed object, with `-t` behind it if it is a derived
one, `<generation>.<id>-<length>` for a large blob, with `-t` for a derived one. Numbers are hexadecimal. The prefix
`@<store id>/` of all locators of a store is added and removed by `Locators`.
"""

import re
import secrets
from dataclasses import dataclass

from server.adapters.blobs.derived import SUFFIX
from server.adapters.blobs.records import length_before, trailer_bytes
from server.model.instance import Locator

BLOBS = "blobs"
ERASED = "erased"

_PACKED, _LARGE, _DERIVED = "p", "l", "d"
_LOCATOR = re.compile(
    rf"(?P<generation>[0-9a-f]{{16}})\.(?P<id>[0-9a-f]{{16}})"
    rf"(-(?P<offset>[0-9a-f]{{1,16}}))?-(?P<length>[0-9a-f]{{1,16}})(?P<derived>{SUFFIX})?"
)
_NAME = re.compile(rf"{BLOBS}/([0-9a-f]{{16}})/([0-9a-f]{{16}})([{_PACKED}{_LARGE}{_DERIVED}])")


def new_id() -> str:
    """Return the name of a new generation, or the id of a new object."""
    return secrets.token_hex(8)


@dataclass(frozen=True, slots=True)
class ObjectName:
    """The name of an object with blobs."""

    generation: str
    id: str
    kind: str

    @property
    def path(self) -> str:
        """The name of the object."""
        return f"{BLOBS}/{self.generation}/{self.id}{self.kind}"

    @property
    def erased_path(self) -> str:
        """The name of the record of its erased blobs."""
        return f"{ERASED}/{self.generation}/{self.id}{self.kind}"

    @property
    def is_packed(self) -> bool:
        """Whether it holds several small blobs."""
        return self.kind == _PACKED

    @property
    def is_derived(self) -> bool:
        """Whether it holds one derived blob."""
        return self.kind == _DERIVED


def new_packed(generation: str) -> ObjectName:
    """Return the name of a new packed object."""
    return ObjectName(generation, new_id(), _PACKED)


def new_large(generation: str, *, is_derived: bool = False) -> ObjectName:
    """Return the name of a new object for a large blob."""
    return ObjectName(generation, new_id(), _DERIVED if is_derived else _LARGE)


def parse_name(path: str) -> ObjectName | None:
    """Return the name of an object; None if it is not one with blobs, or the record of the erased blobs of one."""
    if path.startswith(f"{ERASED}/"):
        path = BLOBS + path[len(ERASED) :]
    found = _NAME.fullmatch(path)
    return ObjectName(*found.groups()) if found else None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a blob is.

    offset: of its first byte in the object.
    length: of the blob as it is stored, in bytes; of a derived one its own bytes and its description.
    """

    name: ObjectName
    offset: int
    length: int
    is_derived: bool = False

    @property
    def stored_bytes(self) -> int:
        """The size of the blob with its trailer."""
        return self.length + trailer_bytes(self.length)


def place_of_large(name: ObjectName, size_bytes: int) -> Place | None:
    """Return the place of the blob in an object of `size_bytes`; None if no blob has an object of this size."""
    length = length_before(size_bytes)
    return None if length is None else Place(name, 0, length, name.is_derived)


class Locators:
    """The locators of one store.

    Args:
        store_id: 8 hexadecimal digits, or empty for locators without a prefix.
    """

    def __init__(self, store_id: str = "") -> None:
        self._prefix = f"@{store_id}/" if store_id else ""

    def of(self, place: Place) -> Locator:
        """Return the locator of a blob."""
        offset = f"-{place.offset:x}" if place.name.is_packed else ""
        suffix = SUFFIX if place.is_derived else ""
        return f"{self._prefix}{place.name.generation}.{place.name.id}{offset}-{place.length:x}{suffix}"

    def place(self, locator: Locator) -> Place | None:
        """Return the place of a blob; None if this store has no such locators."""
        if not locator.startswith(self._prefix):
            return None
        found = _LOCATOR.fullmatch(locator, len(self._prefix))
        if found is None:
            return None
        is_derived = found["derived"] is not None
        kind = _PACKED if found["offset"] is not None else _DERIVED if is_derived else _LARGE
        name = ObjectName(found["generation"], found["id"], kind)
        return Place(name, int(found["offset"] or "0", 16), int(found["length"], 16), is_derived)
