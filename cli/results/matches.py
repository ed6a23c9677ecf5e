"""Output formats of `dicomstore search`: table or blocks, JSON, CSV, and UIDs."""

import csv
import json
import sys
from collections.abc import Collection
from typing import Any, Protocol

import typer
from dicomstore.v1 import resources_pb2
from dicomstore.v1 import search_service_pb2 as pb

from cli.output import HELD_ROWS, data, print_rows
from cli.results import uid_list
from cli.results.dicom_json import KEYWORDS, TAGS, cell, tag_of
from cli.results.search_keys import Level, similar

COLUMNS = {
    Level.STUDIES: (
        "PatientID",
        "PatientName",
        "StudyDate",
        "ModalitiesInStudy",
        "StudyDescription",
        "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
        "StudyInstanceUID",
    ),
    Level.SERIES: (
        "Modality",
        "SeriesNumber",
        "SeriesDescription",
        "NumberOfSeriesRelatedInstances",
        "StudyInstanceUID",
        "SeriesInstanceUID",
    ),
    Level.INSTANCES: (
        "InstanceNumber",
        "NumberOfFrames",
        "SOPClassUID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "SOPInstanceUID",
    ),
}
"""Default columns of each level."""

_SHORT = {
    "StudyDate": "Date",
    "StudyDescription": "Description",
    "SeriesDescription": "Description",
    "ModalitiesInStudy": "Modalities",
    "NumberOfStudyRelatedSeries": "Series",
    "NumberOfStudyRelatedInstances": "Instances",
    "NumberOfSeriesRelatedInstances": "Instances",
}


class MatchOutput(Protocol):
    """Prints matches as they arrive, or all at the end."""

    is_for_people: bool

    def begin(self) -> None:
        """Print the header. Not called if the search fails before the first response."""

    def add(self, match: pb.SearchMatch) -> None:
        """Add a match."""

    def end(self) -> None:
        """Print the rest. Not called if the search fails midway."""


class JsonOutput:
    """DICOM JSON, one object per line."""

    is_for_people = False

    def begin(self) -> None:
        """See `MatchOutput`."""

    def add(self, match: pb.SearchMatch) -> None:
        """See `MatchOutput`."""
        typer.echo(match.dicom_json.decode())

    def end(self) -> None:
        """See `MatchOutput`."""


class UidOutput:
    """The UIDs of matches in the form of `cli.results.uid_list`."""

    is_for_people = False

    def __init__(self) -> None:
        self._count = 0

    def begin(self) -> None:
        """See `MatchOutput`."""
        typer.echo(uid_list.BEGIN)

    def add(self, match: pb.SearchMatch) -> None:
        """See `MatchOutput`."""
        self._count += 1
        typer.echo(" ".join(_uids(match.resource).values()))

    def end(self) -> None:
        """See `MatchOutput`."""
        typer.echo(uid_list.end_line(self._count))


class CsvOutput:
    """Comma-separated values (RFC 4180) under a heading of keywords."""

    is_for_people = False

    def __init__(self, level: Level, include: Collection[str]) -> None:
        """Add columns for `include`. Raises typer.BadParameter for 'all' and for unknown keywords."""
        for name in include:
            if tag_of(name) is None:
                fault = "takes no 'all'" if name.lower() == "all" else f"needs the tag of {name} instead of its keyword"
                if meant := similar(name, TAGS):
                    fault += f"; did you mean {meant}?"
                raise typer.BadParameter(fault, param_hint="--csv")
        self._tags = _columns(level, include)
        self._writer = csv.writer(sys.stdout, lineterminator="\n")

    def begin(self) -> None:
        """See `MatchOutput`."""
        self._writer.writerow(KEYWORDS.get(tag, tag) for tag in self._tags)

    def add(self, match: pb.SearchMatch) -> None:
        """See `MatchOutput`."""
        elements = _elements(match)
        self._writer.writerow(cell(elements.get(tag)) for tag in self._tags)

    def end(self) -> None:
        """See `MatchOutput`."""
        sys.stdout.flush()


class TableOutput:
    """A table, or a block for each match (see `print_rows`)."""

    is_for_people = True

    def __init__(self, level: Level, include: Collection[str]) -> None:
        self._level = level
        self._include = include
        self._matches: list[dict[str, Any]] = []
        self._tags: list[str] = []

    def begin(self) -> None:
        """See `MatchOutput`."""

    def add(self, match: pb.SearchMatch) -> None:
        """See `MatchOutput`."""
        self._matches.append(_elements(match))
        if len(self._matches) == HELD_ROWS:
            self._print()

    def end(self) -> None:
        """See `MatchOutput`."""
        if self._matches:
            self._print()

    def _print(self) -> None:
        """Print the collected matches, with headings if they differ from the previous ones."""
        before, self._tags = self._tags, shown_columns(self._level, self._matches, self._include)
        headings = [heading(tag) for tag in self._tags]
        rows = [[cell(match.get(tag)) for tag in self._tags] for match in self._matches]
        folds = {name for name in headings if name.endswith("Description")}
        print_rows(data, headings, rows, folds, with_headings=self._tags != before)
        self._matches.clear()


def heading(tag: str) -> str:
    """Return the heading of the column of an attribute."""
    keyword = KEYWORDS.get(tag, tag)
    return _SHORT.get(keyword, keyword)


def _columns(level: Level, include: Collection[str]) -> list[str]:
    """Return the tags of columns: requested known ones, then those of the level."""
    standard = [TAGS[keyword] for keyword in COLUMNS[level]]
    asked = dict.fromkeys(tag for tag in map(tag_of, include) if tag is not None and tag not in standard)
    return [*asked, *standard]


def shown_columns(level: Level, found: list[dict[str, Any]], include: Collection[str]) -> list[str]:
    """Return the tags of the columns of a table: requested ones first, then those of the level.

    For a requested unknown keyword, and for 'all', the tags are taken from the matches.
    """
    columns = _columns(level, include)
    if all(tag_of(attribute) is not None for attribute in include):
        return columns
    wants_all = "all" in map(str.lower, include)
    others = {tag for match in found for tag in match if wants_all or tag not in KEYWORDS}
    return [*sorted(others.difference(columns)), *columns]


def _elements(match: pb.SearchMatch) -> dict[str, Any]:
    """Return a match as DICOM JSON, always with its UIDs."""
    uids = _uids(match.resource)
    elements: dict[str, Any] = json.loads(match.dicom_json)
    return elements | {TAGS[keyword]: {"vr": "UI", "Value": [uid]} for keyword, uid in uids.items()}


def _uids(resource: resources_pb2.Address) -> dict[str, str]:
    uids = {
        "StudyInstanceUID": resource.study_instance_uid,
        "SeriesInstanceUID": resource.series_instance_uid,
        "SOPInstanceUID": resource.sop_instance_uid,
    }
    return {keyword: uid for keyword, uid in uids.items() if uid}
