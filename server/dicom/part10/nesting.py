"""Nested data sets and sequences that are open at the current position."""

from server.dicom.elements.charset import CharacterSet
from server.dicom.elements.element_headers import ElementTable

NEVER = float("inf")
"""End of an item or sequence of undefined length."""


class DataSet:
    """An open data set: the top-level one, or an item.

    close_at: end in the file, if the length is known.
    cut_at: end of the enclosing sequence or data set.
    number: of an item, its position in the sequence, from 1.
    json: its elements so far, for a scan.
    """

    __slots__ = (
        "character_set",
        "close_at",
        "creators",
        "cut_at",
        "is_unordered",
        "json",
        "last_tag",
        "lut_entries",
        "number",
        "parent",
        "pixel_representation",
        "table",
    )

    def __init__(
        self, parent: "Items | None", table: ElementTable, character_set: CharacterSet, end: float, cut_at: float
    ) -> None:
        self.parent = parent
        self.number: int = parent.number if parent else 0
        self.table = table
        self.character_set = character_set
        self.close_at = min(end, cut_at)
        self.cut_at = cut_at
        self.json: list[str] = []
        self.last_tag = -1
        self.is_unordered = False
        self.creators: dict[int, str] = {}
        self.pixel_representation: int | None = None
        self.lut_entries: int | None = None

    def creator_of(self, tag: int) -> str:
        """Return the private creator of a private element's block; "" if the block is not reserved."""
        return self.creators.get(tag & 0xFFFF0000 | (tag & 0xFFFF) >> 8, "") if tag & 0xFF00 else ""

    def steps(self) -> list[str]:
        """Return sequence tags and 1-based item numbers from the top level to this data set."""
        steps: list[str] = []
        data_set = self
        while (sequence := data_set.parent) is not None:
            steps[:0] = [f"{sequence.tag:08X}", str(data_set.number)]
            data_set = sequence.parent
        return steps

    def is_signed(self) -> bool:
        """Return whether Pixel Representation is signed, in the nearest enclosing data set that has it."""
        data_set: DataSet | None = self
        while data_set is not None:
            if data_set.pixel_representation is not None:
                return data_set.pixel_representation == 1
            data_set = data_set.parent.parent if data_set.parent else None
        return False


class Items:
    """An open sequence; `number` counts its items, `json` has the finished ones, for a scan.

    is_unknown: encoded as UN, so that its items have implicit VR (PS3.5 section 6.2.2).
    """

    __slots__ = ("close_at", "cut_at", "depth", "is_unknown", "json", "number", "parent", "table", "tag")

    def __init__(self, parent: DataSet, tag: int, end: float, is_unknown: bool) -> None:
        self.parent = parent
        self.tag = tag
        self.is_unknown = is_unknown
        self.table = parent.table
        self.close_at = self.cut_at = min(parent.cut_at, end)
        self.depth: int = parent.parent.depth + 1 if parent.parent else 1
        self.number: int = 0
        self.json: list[str] = []
