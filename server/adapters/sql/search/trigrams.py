"""Substring search: an index of trigrams (runs of three characters), which reduces a search to few candidates.

SQLite: a full-text index (FTS5, sqlite.org/fts5.html) with the tokenizer "trigram" over columns of `studies` or
`workitem_texts`, updated by triggers in the same transaction; it returns candidates in order of the result.
PostgreSQL: an inverted index of the trigrams of the same columns, which a function in `tables` converts to a
`tsvector`; no extension is needed. It returns all candidates at once, unordered. Candidates are then checked against
the conditions.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import BindParameter, ColumnElement, Select, bindparam, cast, column, literal_column, select, table
from sqlalchemy.dialects.postgresql import TSQUERY

from server.adapters.sql.search.keys import NAMES, column_text
from server.adapters.sql.tables.columns import NAME_GROUPS
from server.adapters.sql.tables.studies import STUDY_TEXT
from server.adapters.sql.tables.text_index import TextIndex
from server.adapters.sql.tables.worklist import WORKITEM_TEXT, WORKITEM_TEXT_KEYS
from server.model.search.query import Condition, Equals, LabelKey, Like, Matcher, NameMatches, NameWords, TagKey

_LENGTH = 3
_MAX_PER_RUN = 12
"""Maximum number of trigrams looked up for one run of characters; more hardly reduce the candidates."""

_MAX_PATTERNS = 32
"""Maximum number of alternatives in a search; beyond, the index is not used."""

_SOUGHT: BindParameter[str] = bindparam("trigrams")


@dataclass(frozen=True, slots=True)
class _Language:
    """The query syntax of a database's text index."""

    both: str
    either: str
    quote: str
    doubled: str

    def quoted(self, text: str) -> str:
        return f"{self.quote}{''.join(2 * one if one in self.doubled else one for one in text)}{self.quote}"


_SQLITE, _POSTGRESQL = _Language(" AND ", " OR ", '"', '"'), _Language(" & ", " | ", "'", "'\\")


def is_in_order(dialect: str) -> bool:
    """Return whether candidates are in order of the result, so that a page of them can be read without the rest."""
    return dialect == "sqlite"


class Trigrams:
    """The search in a text index.

    rowid: key of a row in the index of SQLite.
    """

    def __init__(self, index: TextIndex, columns: Mapping[str | TagKey | LabelKey, Sequence[str]]) -> None:
        """`columns`: those with the values of a search key, by search key."""
        self._index = index
        self._columns = columns
        self._key = index.table.c.key
        self._in_sqlite = table(index.in_sqlite, column("rowid"))
        self.rowid: ColumnElement[int] = self._in_sqlite.c.rowid

    def candidates(self, dialect: str) -> Select[int]:
        """Select the keys of the candidates, joined with their rows; parameter `trigrams` is the result of
        `sought`."""
        if dialect == "sqlite":
            joined = select(self._key).join_from(self._in_sqlite, self._index.table, self._key == self.rowid)
            return joined.where(self._is_candidate(dialect))
        return select(self._key).where(self._is_candidate(dialect))

    def bare_candidates(self, dialect: str) -> Select[int]:
        """Select only the keys of the candidates, without reading other tables if possible."""
        if dialect == "sqlite":
            return select(self.rowid).where(self._is_candidate(dialect))
        return self.candidates(dialect)

    def _is_candidate(self, dialect: str) -> ColumnElement[bool]:
        if dialect == "sqlite":
            return literal_column(self._index.in_sqlite).op("MATCH", is_comparison=True)(_SOUGHT)
        return literal_column(self._index.trigrams).op("@@", is_comparison=True)(cast(_SOUGHT, TSQUERY))

    def sought(self, conditions: Sequence[Condition], dialect: str) -> str | None:
        """Return the index expression for conditions: every row that meets them all contains it.

        None if the index does not apply: no condition contains three consecutive characters of text.
        """
        of_condition = self._of_condition_in_sqlite if dialect == "sqlite" else self._of_condition_in_postgresql
        language = _SQLITE if dialect == "sqlite" else _POSTGRESQL
        return language.both.join(found for condition in conditions if (found := of_condition(condition))) or None

    def helps(self, condition: Condition) -> bool:
        """Return whether the index applies to a condition."""
        return self._either(condition, _SQLITE) is not None

    def _of_condition_in_sqlite(self, condition: Condition) -> str | None:
        found = self._either(condition, _SQLITE)
        return f"({{{' '.join(self._columns[condition.key])}}} : ({found}))" if found else None

    def _of_condition_in_postgresql(self, condition: Condition) -> str | None:
        columns = self._columns.get(condition.key, ())
        found = self._either(condition, _POSTGRESQL, self._index.letters[columns[0]] if columns else "")
        return f"({found})" if found else None

    def _either(self, condition: Condition, language: _Language, prefix: str = "") -> str | None:
        """Return the expression for the alternatives of a condition; None if the index does not apply."""
        if condition.key not in self._columns:
            return None
        alternatives = dict.fromkeys(runs for matcher in condition.matchers for runs in _alternatives(matcher))
        parts = [_all_of(runs, language, prefix) for runs in alternatives]
        if not parts or not all(parts) or len(parts) > _MAX_PATTERNS:
            return None
        return language.either.join(map(str, parts))


def _alternatives(matcher: Matcher) -> Iterator[tuple[str, ...]]:
    """Yield, for each alternative, the runs of characters that every matching value contains."""
    match matcher:
        case Equals(values):
            yield from ((column_text(value),) for value in values)
        case Like(pattern):
            yield _runs(pattern)
        case NameMatches(patterns):
            yield from map(_runs, patterns)
        case NameWords(prefixes):
            yield prefixes
        case _:
            yield ()


def _runs(pattern: str) -> tuple[str, ...]:
    return tuple(column_text(run) for run in pattern.replace("?", "*").split("*") if run)


def _all_of(runs: Sequence[str], language: _Language, prefix: str) -> str | None:
    """Return the expression for all runs; None if they are too short."""
    trigrams = list(dict.fromkeys(trigram for run in runs for trigram in _trigrams(run)))
    # Numbers are padded with zeros: nearly all contain these, and reading that list is the most expensive.
    telling = [trigram for trigram in trigrams if not trigram.startswith("00")] or trigrams
    return f"({language.both.join(language.quoted(prefix + trigram) for trigram in telling)})" if telling else None


def _trigrams(run: str) -> Iterator[str]:
    for start in range(min(len(run) - _LENGTH + 1, _MAX_PER_RUN)):
        yield run[start : start + _LENGTH]


of_studies = Trigrams(
    STUDY_TEXT,
    {
        **{key: [f"{prefix}_{group}" for group in range(1, NAME_GROUPS + 1)] for key, prefix in NAMES.items()},
        "PatientID": ["patient_id"],
        "AccessionNumber": ["accession_number"],
        "StudyDescription": ["study_description"],
    },
)
of_workitems = Trigrams(WORKITEM_TEXT, {key: [name] for name, key in WORKITEM_TEXT_KEYS.items()})
