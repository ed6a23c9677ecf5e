"""Columns and stored forms of search keys."""

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, Table

from server.adapters.sql.tables.columns import MAX_TEXT_LENGTH, NAME_GROUPS
from server.adapters.sql.tables.instances import instances, series
from server.adapters.sql.tables.studies import studies
from server.model.search.date_time import in_utc
from server.model.search.query import Level

COLUMNS: Mapping[str, Column[str]] = {
    "StudyInstanceUID": studies.c.uid,
    "PatientID": studies.c.patient_id,
    "IssuerOfPatientID": studies.c.issuer_of_patient_id,
    "PatientBirthDate": studies.c.patient_birth_date,
    "AccessionNumber": studies.c.accession_number,
    "StudyDate": studies.c.study_date,
    "StudyTime": studies.c.study_time,
    "StudyID": studies.c.study_id,
    "StudyDescription": studies.c.study_description,
    "SeriesInstanceUID": series.c.uid,
    "Modality": series.c.modality,
    "SeriesNumber": series.c.series_number,
    "PerformedProcedureStepStartDate": series.c.performed_procedure_step_start_date,
    "PerformedProcedureStepStartTime": series.c.performed_procedure_step_start_time,
    "ManufacturerModelName": series.c.manufacturer_model_name,
    "SeriesDescription": series.c.series_description,
    "SOPInstanceUID": instances.c.uid,
    "SOPClassUID": instances.c.sop_class_uid,
    "InstanceNumber": instances.c.instance_number,
}
"""Single-valued search keys and their columns."""

NAMES: Mapping[str, str] = {"PatientName": "patient_name", "ReferringPhysicianName": "referring_physician_name"}
"""Person names, all at study level, and the prefixes of their columns."""

SEQUENCE = "RequestAttributesSequence."
"""Prefix of search keys in a sequence, which is at series level; their values are in `series_values`."""

DATE_TIMES: Mapping[str, tuple[Column[str], Column[str], Column[str]]] = {
    "StudyDate": (studies.c.study_date, studies.c.study_time, studies.c.study_date_time),
    "PerformedProcedureStepStartDate": (
        series.c.performed_procedure_step_start_date,
        series.c.performed_procedure_step_start_time,
        series.c.performed_procedure_step_start_date_time,
    ),
}
"""Date search keys, with the columns of date, time, and both in UTC."""

_DATE_TIMES_OF: Mapping[Table, tuple[str, str, str]] = {
    date.table: (date.name, time.name, date_time.name) for date, time, date_time in DATE_TIMES.values()
}

_TABLES: Mapping[Level, Table] = {Level.STUDY: studies, Level.SERIES: series, Level.INSTANCE: instances}
_ADDRESSES = frozenset({"StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"})
_VALUES: Mapping[Level, Mapping[str, str]] = {
    level: {
        keyword: column.name
        for keyword, column in COLUMNS.items()
        if column.table is table and keyword not in _ADDRESSES
    }
    for level, table in _TABLES.items()
}
_BETWEEN_WORDS = re.compile(r"[\s^]+")

WORD_BREAK = "\n"
"""Separates the component groups of a name, so that words of different groups are not adjacent."""


def column_text(text: str) -> str:
    """Return a value as stored in its column: truncated, and without NUL, which PostgreSQL does not support."""
    return text[:MAX_TEXT_LENGTH].replace("\0", " ")


def columns_of(level: Level, keys: Mapping[str, str]) -> dict[str, str | None]:
    """Return the columns for the search keys of a study, series or instance, without UIDs.

    Columns without a value are omitted, except for instances.
    """
    if level is Level.INSTANCE:
        number = keys.get("InstanceNumber")
        return {"instance_number": column_text(number) if number else None}
    columns: dict[str, str | None] = {
        name: column_text(keys[keyword]) for keyword, name in _VALUES[level].items() if keys.get(keyword)
    }
    if offset := keys.get("TimezoneOffsetFromUTC"):
        columns["utc_offset"] = offset
    if level is Level.STUDY:
        for keyword, prefix in NAMES.items():
            if name_ := keys.get(keyword):
                columns |= _name_columns(prefix, name_)
    return columns


def date_time_of(table: Table, row: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return the column for the date-time in UTC of a study or series, and its value derived from the row."""
    date, time, date_time = _DATE_TIMES_OF[table]
    if not (row.get(date) and row.get(time) and row.get("utc_offset")):
        return date_time, None
    return date_time, in_utc(row[date] + row[time], row["utc_offset"])


def several_of(level: Level, keys: Mapping[str, str]) -> dict[str, tuple[tuple[int, str], ...]]:
    """Return the values of search keys in a sequence, each with the number of its item."""
    if level is not Level.SERIES:
        return {}
    values = {
        keyword: tuple(
            (item, column_text(value))
            for item, values in enumerate(text.split("\\"))
            for value in values.split("\n")
            if value
        )
        for keyword, text in keys.items()
        if keyword.startswith(SEQUENCE)
    }
    return {keyword: given for keyword, given in values.items() if given}


def _name_columns(prefix: str, name: str) -> dict[str, str | None]:
    columns: dict[str, str | None] = {
        f"{prefix}_{number}": group or None for number, group in enumerate(groups_of(name), start=1)
    }
    columns[f"{prefix}_words"] = words_of(name)
    return columns


def groups_of(name: str) -> list[str]:
    """Return the component groups of a name as stored, "" for missing ones."""
    groups = [column_text(group) for group in name.split("=", NAME_GROUPS - 1)]
    return groups + [""] * (NAME_GROUPS - len(groups))


def words_of(name: str) -> str:
    """Return all words of a name, each surrounded by spaces."""
    words = [" ".join(filter(None, _BETWEEN_WORDS.split(group))) for group in groups_of(name)]
    return f" {f' {WORD_BREAK} '.join(filter(None, words))} "
