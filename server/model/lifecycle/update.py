"""Updates of instances that are written but not visible yet."""

from collections.abc import Sequence
from dataclasses import dataclass

from server.model.instance import BulkElement, Locator, PixelLayout, StoredInstance


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """A blob with changed attributes, made from the blob of a version.

    shifts: see `server.dicom.updating.editing.Edits`.
    has_utf_8: its data set was converted to UTF-8.
    """

    locator: Locator
    size_bytes: int
    crc32c: int
    shifts: Sequence[tuple[int, int]]
    has_utf_8: bool


@dataclass(frozen=True, slots=True)
class Content:
    """What the index has about a version of an instance.

    pixels: with its table.
    """

    stored: StoredInstance
    dicom_json: bytes
    invalid_tags: frozenset[str]
    pixels: PixelLayout | None
    bulk: tuple[BulkElement, ...]


@dataclass(frozen=True, slots=True)
class Applied:
    """The result of making staged versions current.

    count: number of instances that have a new version.
    has_stale: some instances have changed since their new version was staged. Then nothing was done, except that those
        are not staged any more.
    """

    count: int = 0
    has_stale: bool = False
