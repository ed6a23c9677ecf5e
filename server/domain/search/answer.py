"""Return attributes of a search and their sources (PS3.18 10.6.3.3).

Most are return keys in the index; those of a level below the matches are taken from the newest instance. Some are
computed, only at their own level. All others are read from the metadata of the newest matching instance.
"""

import base64
import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from server.dicom.matching.attributes import RETURN_KEY_TAGS, is_empty
from server.dicom.matching.query_tags import PrivateTag, actual_tags, is_private
from server.domain.search import record_key
from server.model.ids import Address
from server.model.search.query import Level, Match
from server.model.search.return_keys import TAG, ElementLines, line_of

INSTANCE_AVAILABILITY = "00080056"
MODALITIES_IN_STUDY = "00080061"
NUMBER_OF_PATIENT_RELATED_STUDIES = "00201200"
NUMBER_OF_PATIENT_RELATED_SERIES = "00201202"
NUMBER_OF_PATIENT_RELATED_INSTANCES = "00201204"
NUMBER_OF_STUDY_RELATED_SERIES = "00201206"
NUMBER_OF_STUDY_RELATED_INSTANCES = "00201208"
NUMBER_OF_SERIES_RELATED_INSTANCES = "00201209"

_COUNTED: Mapping[str, Level] = {
    MODALITIES_IN_STUDY: Level.STUDY,
    NUMBER_OF_STUDY_RELATED_SERIES: Level.STUDY,
    NUMBER_OF_STUDY_RELATED_INSTANCES: Level.STUDY,
    NUMBER_OF_SERIES_RELATED_INSTANCES: Level.SERIES,
}

_OF_PATIENTS: Mapping[str, Callable[[Match], int]] = {
    NUMBER_OF_PATIENT_RELATED_STUDIES: lambda match: match.study_count,
    NUMBER_OF_PATIENT_RELATED_SERIES: lambda match: match.series_count,
    NUMBER_OF_PATIENT_RELATED_INSTANCES: lambda match: match.instance_count,
}
_RETRIEVE_URL = "00081190"
_RECORD_KEY = "0008041B"
_ONLINE = line_of(INSTANCE_AVAILABILITY, {"vr": "CS", "Value": ["ONLINE"]})
_PIXEL_DATA = "7FE00010"
_NEVER_IN_METADATA = frozenset(
    {*_COUNTED, *_OF_PATIENTS, INSTANCE_AVAILABILITY, _RETRIEVE_URL, _RECORD_KEY, _PIXEL_DATA}
)
"""Not worth reading metadata for: values of the moment, the caller's addresses, places in the order, pixels."""

_MANY_TAGS = 64
"""Selections of more are not remembered."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The attributes to return, by source.

    newest, newest_levels: return keys of the newest instance of the match, and their levels below the match.
    retrieve_url_base: beginning of Retrieve URL; empty without that attribute.
    owners: private attributes to find by private creator, because each data set may use another block for them.
    """

    level: Level
    return_keys: frozenset[str]
    counted: frozenset[str]
    newest: frozenset[str]
    newest_levels: frozenset[Level]
    from_metadata: frozenset[str]
    availability: bool
    record_key: bool
    retrieve_url_base: str
    owners: tuple[PrivateTag, ...]

    @property
    def needs_metadata(self) -> bool:
        """True if an attribute must be read from metadata."""
        return bool(self.from_metadata or self.owners)


def select(
    level: Level,
    tags: Collection[str],
    all_of: Iterable[Level],
    retrieve_url_base: str = "",
    owners: Collection[PrivateTag] = (),
) -> Selection:
    """Return the sources of the attributes `tags` of matches at `level`, and of all return keys of the levels `all_of`.

    Without a base there is no Retrieve URL. For `owners`, the block is determined per match.
    """
    choose = _selection if len(tags) > _MANY_TAGS else _known_selection
    base = retrieve_url_base if _RETRIEVE_URL in tags else ""
    return choose(level, frozenset(tags).difference(tag for tag, _ in owners), frozenset(all_of), base, tuple(owners))


def of_patients(selection: Selection, tags: Collection[str]) -> Selection:
    """Return the selection of attributes of studies `tags` for matches that are patients, which have other counts."""
    return replace(
        selection,
        counted=frozenset(tags) & _OF_PATIENTS.keys(),
        record_key=False,
        availability=False,
        retrieve_url_base="",
    )


def _selection(
    level: Level, tags: frozenset[str], all_of: frozenset[Level], retrieve_url_base: str, owners: tuple[PrivateTag, ...]
) -> Selection:
    at_or_above = frozenset().union(*(RETURN_KEY_TAGS[other] for other in Level if other <= level))
    newest = {other: (RETURN_KEY_TAGS[other] & tags) - at_or_above for other in Level if other > level}
    kept_below = frozenset().union(*newest.values())
    everything = [RETURN_KEY_TAGS[other] for other in all_of]
    return Selection(
        level=level,
        return_keys=(at_or_above & tags).union(*everything),
        counted=frozenset(tag for tag in tags if _COUNTED.get(tag) is level),
        newest=kept_below,
        newest_levels=frozenset(other for other, below in newest.items() if below),
        from_metadata=tags.union(_creators(tags)) - at_or_above - kept_below - _NEVER_IN_METADATA,
        availability=INSTANCE_AVAILABILITY in tags or bool(everything),
        record_key=_RECORD_KEY in tags,
        retrieve_url_base=retrieve_url_base,
        owners=owners,
    )


_known_selection = functools.lru_cache(maxsize=256)(_selection)  # most requests have the same return attributes


def _creators(tags: Iterable[str]) -> Iterator[str]:
    """Yield the Private Creator tags of the private ones among `tags` (PS3.5 7.8.1)."""
    for tag in tags:
        if is_private(tag):
            yield f"{tag[:4]}00{tag[4:6]}"


class MatchComposer:
    """Composes the result of each match of one search: its selected attributes as canonical DICOM JSON.

    Return keys from the index are copied unchanged. Those of a higher level are processed once for all matches that
    share them.
    """

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._has_others = bool(
            selection.counted or selection.record_key or selection.needs_metadata or selection.newest
        )
        self._is_plain = not (self._has_others or selection.availability or selection.retrieve_url_base)
        self._above: dict[tuple[ElementLines, ...], dict[str, str]] = {}
        self._modalities: dict[tuple[str, ...], str] = {}
        self._url_line = line_of(_RETRIEVE_URL, {"vr": "UR", "Value": [selection.retrieve_url_base]}).removesuffix(
            '"]}'
        )

    def of(self, match: Match) -> bytes:
        """Return the DICOM JSON of a match."""
        wanted = self._selection.return_keys
        lines = [line for line in match.return_keys[-1].split("\n") if line[TAG] in wanted]
        if len(match.return_keys) > 1:
            above = self._above.get(match.return_keys[:-1])
            if above is None:
                above = self._lines_above(match.return_keys[:-1])
            lines = list((above | {line[TAG]: line for line in lines}).values())
        elif self._is_plain:
            return f"{{{','.join(lines)}}}".encode()
        if self._has_others:
            lines += self._other_lines(match)
        if self._selection.availability:
            lines.append(_ONLINE)
        if self._selection.retrieve_url_base:
            lines.append(f'{self._url_line}{_path(match.resource)}"]}}')
        lines.sort()  # by tag, with which each line begins
        return f"{{{','.join(lines)}}}".encode()

    def _lines_above(self, return_keys: tuple[ElementLines, ...]) -> dict[str, str]:
        wanted = self._selection.return_keys
        lines = {line[TAG]: line for text in return_keys for line in text.split("\n") if line[TAG] in wanted}
        self._above[return_keys] = lines
        return lines

    def _other_lines(self, match: Match) -> Iterator[str]:
        """Yield the non-empty elements that are not return keys of the level of the match or above."""
        selection = self._selection
        yield from self._lines_below(match.newest)
        yield from self._lines_counted(match)
        if selection.record_key:
            yield self._record_key_line(match)
        if selection.needs_metadata and match.metadata is not None:
            metadata: dict[str, Any] = orjson.loads(match.metadata)
            wanted = selection.from_metadata.union(actual_tags(selection.owners, metadata) if selection.owners else ())
            for tag in wanted & metadata.keys():
                if (element := _without_bulk(metadata[tag])) is not None and not is_empty(element):
                    yield line_of(tag, element)

    def _lines_below(self, newest: tuple[ElementLines, ...]) -> Iterable[str]:
        wanted = self._selection.newest
        return {line[TAG]: line for text in newest for line in text.split("\n") if line[TAG] in wanted}.values()

    def _lines_counted(self, match: Match) -> Iterator[str]:
        for tag in self._selection.counted:
            if of_patient := _OF_PATIENTS.get(tag):
                yield _number_line(tag, of_patient(match))
            elif tag == MODALITIES_IN_STUDY:
                if match.modalities:
                    yield self._modalities_line(match.modalities)
            else:
                count = match.series_count if tag == NUMBER_OF_STUDY_RELATED_SERIES else match.instance_count
                yield _number_line(tag, count)

    def _record_key_line(self, match: Match) -> str:
        key = record_key.make(match.key, self._selection.level, match.resource.partition)
        return f'"{_RECORD_KEY}":{{"vr":"OB","InlineBinary":"{base64.b64encode(key).decode()}"}}'

    def _modalities_line(self, modalities: tuple[str, ...]) -> str:
        line = self._modalities.get(modalities)
        if line is None:
            line = line_of(MODALITIES_IN_STUDY, {"vr": "CS", "Value": sorted(set(modalities))})
            self._modalities[modalities] = line
        return line


def _number_line(tag: str, number: int) -> str:
    return f'"{tag}":{{"vr":"IS","Value":[{number}]}}'


def _path(resource: Address) -> str:
    """Return the path of a match below the base URL (PS3.18 10.4.1); UIDs need no escaping."""
    if resource.instance is not None:
        return f"/studies/{resource.study}/series/{resource.series}/instances/{resource.instance}"
    if resource.series is not None:
        return f"/studies/{resource.study}/series/{resource.series}"
    return f"/studies/{resource.study}"


def _without_bulk(element: dict[str, Any]) -> dict[str, Any] | None:
    """Return an element without bulk data references at any depth; None if it is one itself."""
    if "BulkDataURI" in element:
        return None
    if element.get("vr") != "SQ":
        return element
    return {**element, "Value": [_item_without_bulk(item) for item in element.get("Value", ())]}


def _item_without_bulk(item: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    slim = ((tag, _without_bulk(element)) for tag, element in item.items())
    return {tag: element for tag, element in slim if element is not None}
