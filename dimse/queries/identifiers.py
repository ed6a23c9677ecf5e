"""Identifiers of requests: level, keys and character set (PS3.4 sections C.2.2 and C.4)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from dimse.data_sets.character_sets import Terms
from dimse.data_sets.reading import SPECIFIC_CHARACTER_SET, DataSet, Unreadable, joined, read, terms_of

QUERY_RETRIEVE_LEVEL = "00080052"
RETRIEVE_AE_TITLE = "00080054"
INSTANCE_AVAILABILITY = "00080056"

COMPUTED: Mapping[str, str] = MappingProxyType(
    {
        SPECIFIC_CHARACTER_SET: "CS",
        QUERY_RETRIEVE_LEVEL: "CS",
        RETRIEVE_AE_TITLE: "AE",
        INSTANCE_AVAILABILITY: "CS",
        "00880130": "SH",  # Storage Media File-Set ID and UID: nothing is on removable media
        "00880140": "UI",
    }
)
"""VR by tag of the attributes of identifiers that do not come from stored objects; their values are not compared."""


class Level(StrEnum):
    """Query/Retrieve Level (0008,0052)."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"


UNIQUE_KEYS: Mapping[Level, str] = MappingProxyType(
    {Level.PATIENT: "00100020", Level.STUDY: "0020000D", Level.SERIES: "0020000E", Level.IMAGE: "00080018"}
)
"""Tag of the unique key of each level (PS3.4 section C.6)."""


class InvalidIdentifier(Exception):
    """The identifier does not match the SOP class (status A900).

    tag: the offending element; empty without one.
    """

    def __init__(self, problem: str, tag: str = "") -> None:
        super().__init__(problem)
        self.tag = tag


@dataclass(frozen=True, slots=True)
class Key:
    """A key with values to match.

    path: tags from the outermost sequence to the attribute.
    values: without empty ones; names in their PS3.5 form.
    """

    path: tuple[str, ...]
    vr: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Identifier:
    """The identifier of a request.

    terms: values of Specific Character Set; empty for the default repertoire.
    """

    data_set: DataSet
    terms: Terms

    def level(self, levels: frozenset[Level]) -> Level:
        """Return the level, one of those of the information model. Raises: InvalidIdentifier."""
        values = self.data_set.get(QUERY_RETRIEVE_LEVEL, {}).get("Value", ())
        written = joined(values[0]).strip().upper() if len(values) == 1 else ""
        if written not in levels:
            shown = ", ".join(sorted(levels))
            raise InvalidIdentifier(f"Query/Retrieve Level must be one of {shown}", QUERY_RETRIEVE_LEVEL)
        return Level(written)

    def matching_keys(self) -> Iterator[Key]:
        """Yield the keys with values, those in sequences included. Raises: InvalidIdentifier."""
        matchable = {tag: element for tag, element in self.data_set.items() if tag not in COMPUTED}
        yield from _keys(matchable, ())

    def values(self, tag: str) -> tuple[str, ...]:
        """Return the values of an attribute of the top level, without empty ones."""
        return tuple(joined(value) for value in self.data_set.get(tag, {}).get("Value", ()) if value is not None)


def parse(data: bytes, transfer_syntax: str) -> Identifier:
    """Return an identifier. Raises: InvalidIdentifier, if it is not a data set."""
    try:
        data_set = read(data, transfer_syntax)
    except Unreadable as error:
        raise InvalidIdentifier(str(error)) from error
    return Identifier(data_set, terms_of(data_set))


def _keys(data_set: DataSet, above: tuple[str, ...]) -> Iterator[Key]:
    for tag, element in data_set.items():
        path, values = (*above, tag), element.get("Value", ())
        if element["vr"] == "SQ":
            if len(values) > 1:
                raise InvalidIdentifier("A sequence among the keys must have one item", path[0])
            for item in values:
                yield from _keys(item, path)
        elif found := tuple(text for value in values if (text := joined(value))):
            yield Key(path, element["vr"], found)
