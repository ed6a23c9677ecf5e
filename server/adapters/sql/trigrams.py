"""Finding text within text: an index of runs of three characters, which narrows a search down to few candidates.

SQLite: `study_text`, a full-text index (FTS5, sqlite.org/fts5.html) with the tokenizer "trigram" over columns of
`studies`, kept in step by triggers, in the same transaction. PostgreSQL: an index of the extension pg_trgm on the same
columns, if the server has it; its planner uses it by itself. Neither decides what matches: the conditions do, after.
"""

from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import BindParameter, ColumnElement, bindparam, column, literal_column, table

from server.adapters.sql.keys import NAMES, kept
from server.adapters.sql.tables import NAME_GROUPS
from server.model.query import Condition, Equals, Like, Matcher, NameMatches, NameWords

_LENGTH = 3
_MOST_OF_ONE = 12
"""Trigrams of one run of characters that are looked up; more hardly narrow it down further."""

_MOST_PATTERNS = 32
"""Alternatives in a search; more are not looked up here."""

_COLUMNS: Mapping[str, Sequence[str]] = {
    **{key: [f"{prefix}_{group}" for group in range(1, NAME_GROUPS + 1)] for key, prefix in NAMES.items()},
    "PatientID": ["patient_id"],
    "AccessionNumber": ["accession_number"],
    "StudyDescription": ["study_description"],
}

study_text = table("study_text", column("rowid"))
"""The index, seen as a table: `rowid` is the key of a study."""

_SOUGHT: BindParameter[str] = bindparam("trigrams")
CONTAINS: ColumnElement[bool] = literal_column("study_text").op("MATCH", is_comparison=True)(_SOUGHT)
"""What restricts `study_text` to candidates; parameter `trigrams` is what `sought` returns."""


def sought(conditions: Sequence[Condition]) -> str | None:
    """Return what to look up for conditions: every study that meets them all contains it.

    None if there is nothing to look up: no condition is about text that has three characters in a row.
    """
    found = [part for condition in conditions if (part := _of_condition(condition))]
    return " AND ".join(found) or None


def _of_condition(condition: Condition) -> str | None:
    columns = _COLUMNS.get(condition.key)
    if columns is None:
        return None
    alternatives = dict.fromkeys(runs for matcher in condition.matchers for runs in _alternatives(matcher))
    parts = [_all_of(runs) for runs in alternatives]
    if not parts or not all(parts) or len(parts) > _MOST_PATTERNS:
        return None
    return f"({{{' '.join(columns)}}} : ({' OR '.join(map(str, parts))}))"


def _alternatives(matcher: Matcher) -> Iterator[tuple[str, ...]]:
    """Generate, for each way to match, the runs of characters that are in every value that matches so."""
    match matcher:
        case Equals(values):
            yield from ((kept(value),) for value in values)
        case Like(pattern):
            yield _runs(pattern)
        case NameMatches(patterns):
            yield from map(_runs, patterns)
        case NameWords(prefixes):
            yield prefixes
        case _:
            yield ()


def _runs(pattern: str) -> tuple[str, ...]:
    return tuple(kept(run) for run in pattern.replace("?", "*").split("*") if run)


def _all_of(runs: Sequence[str]) -> str | None:
    """Return what says that all runs are there; None if they are too short for it."""
    trigrams = dict.fromkeys(trigram for run in runs for trigram in _trigrams(run))
    return f"({' AND '.join(map(_quoted, trigrams))})" if trigrams else None


def _trigrams(run: str) -> Iterator[str]:
    for start in range(min(len(run) - _LENGTH + 1, _MOST_OF_ONE)):
        yield run[start : start + _LENGTH]


def _quoted(text: str) -> str:
    doubled = text.replace('"', '""')
    return f'"{doubled}"'
