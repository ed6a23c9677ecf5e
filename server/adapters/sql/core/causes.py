"""Why a database can't be used, in its own words, without values, passwords or statements."""

import re

from sqlalchemy.exc import DBAPIError

_PART_OF_PASSWORD = re.compile(r"""((?:host|at|socket) ['"])[^'"]*@""")
"""What stands before an @ in a host's name: the rest of a password with an @ that was not written as %40."""


def cause_of(error: DBAPIError) -> str:
    """Return one line, as `connection to server at "db", port 5432 failed: FATAL: database "x" does not exist`.

    It may name host, user, database and table. Details of the database's message, which may quote values, are left out.
    """
    original = error.orig
    text = str(original)
    # Only psycopg's errors have it. To ask for their class, psycopg would have to be imported, which takes a while.
    if diagnosis := getattr(original, "diag", None):
        text = diagnosis.message_primary or text
    lines = text.strip().splitlines() or [type(original).__name__]
    line = " ".join(lines[0].split()).rstrip(".")
    return _PART_OF_PASSWORD.sub(
        r"\1***@", line.removeprefix("connection failed: ").removeprefix("connection is bad: ")
    )


def has_too_many_connections(error: DBAPIError) -> bool:
    """Say whether a server refused a connection because of its limit, a database's or a role's."""
    text = str(error.orig)
    return failed_to_connect(error) and any(words in text for words in _LIMITS)


_LIMITS = ("too many clients", "too many connections", "remaining connection slots")
"""In PostgreSQL's messages; errors of connecting carry no SQLSTATE."""


def failed_to_connect(error: DBAPIError) -> bool:
    """Say whether there was no connection yet, so that no statement can be to blame."""
    return error.statement is None
