"""Search for patients: the studies that match, in the order of Patient ID and issuer, taken together by patient.

A patient is no row of its own. Each page of studies continues behind the last patient of the one before.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Select, bindparam, case, func, select

from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.search import pages
from server.adapters.sql.search.matches import matches, rows_of
from server.adapters.sql.tables.studies import studies
from server.model.search.query import Level, Match, Order, Query, SortKey, SortValue

Search = Callable[[Connection, int, Query], list[Match]]

_ORDER = Order((SortKey("PatientID", descending=False), SortKey("IssuerOfPatientID", descending=False)), False)
_STUDIES = 200
"""Number of studies that are read at once."""

_ID, _ISSUER = studies.c.patient_id, studies.c.issuer_of_patient_id
_COUNTS = Prepared(
    select(_ID, _ISSUER, func.count(), func.sum(studies.c.series_count), func.sum(studies.c.instance_count))
    .where(studies.c.partition_key == bindparam("of_partition"), _ID.in_(bindparam("ids", expanding=True)))
    .group_by(_ID, _ISSUER)
)
_OF_PAGE = Prepared(
    rows_of(
        Level.STUDY,
        select(studies.c.key).where(studies.c.key.in_(bindparam("of_page", expanding=True))).subquery("page"),
    )
)


def search_patients(connection: Connection, partition_key: int, query: Query, search: Search) -> list[Match]:
    """Return a page of patients; see `Query.by_patient`."""
    found = _newest_studies(connection, partition_key, query, search)
    if not found:
        return []
    # Metadata of a page is limited in order of the rows, so these are in the order of the patients.
    rows = {row[0]: row for row in _OF_PAGE.tuples(connection, {"of_page": [match.key for match in found]})}
    ordered = replace(query, by_patient=False, counts=True, order=_ORDER)
    of_studies = matches(connection, ordered, [(*rows[match.key], *match.sort_values) for match in found])
    counts = _counts(connection, partition_key, found) if query.counts else {}
    return [_patient(match, counts) for match in of_studies]


def count_patients(query: Query) -> Select[*tuple[Any, ...]]:
    """Select the number of patients of the studies that match."""
    has_id = _ID.is_not(None)
    identity = (_ID, case((has_id, _ISSUER)).label("issuer"), case((~has_id, studies.c.key)).label("study"))
    patients = pages.within_scope(query).with_only_columns(*identity).distinct().subquery()
    return select(func.count()).select_from(patients)


def _newest_studies(connection: Connection, partition_key: int, query: Query, search: Search) -> list[Match]:
    """Return the newest study that matches of each patient of a page."""
    wanted = query.skip + query.limit
    found: dict[tuple[SortValue, ...], Match] = {}
    after, after_values = query.after, query.after_values
    while len(found) < wanted:
        of_studies = Query(
            Level.STUDY,
            query.scope,
            query.conditions,
            _STUDIES,
            after=after,
            order=_ORDER,
            after_values=after_values,
        )
        page = search(connection, partition_key, of_studies)
        for match in page:
            patient_id, _ = match.sort_values
            found.setdefault(match.sort_values if patient_id is not None else (match.key,), match)
        if len(page) < _STUDIES:
            break
        after, after_values = _position(page[-1]), page[-1].sort_values
    return list(found.values())[query.skip : wanted]


def _position(match: Match) -> int:
    """Return the row key behind all studies of a patient, which are in descending order; without Patient ID, the only
    one."""
    return match.key if match.sort_values[0] is None else 0


def _counts(
    connection: Connection, partition_key: int, found: Sequence[Match]
) -> dict[tuple[SortValue, ...], tuple[int, int, int]]:
    """Return the numbers of studies, series and instances of patients with a Patient ID."""
    ids = {match.sort_values[0] for match in found if match.sort_values[0] is not None}
    if not ids:
        return {}
    rows = _COUNTS.tuples(connection, {"of_partition": partition_key, "ids": ids})
    # PostgreSQL returns the sum of such columns as a decimal.
    return {(patient_id, issuer): (n, int(series), int(instances)) for patient_id, issuer, n, series, instances in rows}


def _patient(match: Match, counts: dict[tuple[SortValue, ...], tuple[int, int, int]]) -> Match:
    own = (1, match.series_count, match.instance_count)
    study_count, series_count, instance_count = counts.get(match.sort_values, own)
    return match._replace(
        key=_position(match),
        modalities=(),
        study_count=study_count,
        series_count=series_count,
        instance_count=instance_count,
    )
