"""Causes of database failures, from the database's messages, without values, passwords or statements."""

import re

from sqlalchemy.exc import DBAPIError

_PART_OF_PASSWORD = re.compile(r"""((?:host|at|socket) ['"])[^'"]*@""")
"""Text before an @ in a host name: the end of a password with an @ that was not written as %40."""


def cause_of(error: DBAPIError) -> str:
    """Return one line, as `connection to server at "db", port 5432 failed: FATAL: database "x" does not exist`.

    It may contain host, user, database and table names. Details in the message, which may quote values, are omitted.
    """
    original = error.orig
    text = str(original)
    # Only errors of psycopg have it. An isinstance check would need the slow import of psycopg.
    if diagnosis := getattr(original, "diag", None):
        text = diagnosis.message_primary or text
    lines = text.strip().splitlines() or [type(original).__name__]
    line = " ".join(lines[0].split()).rstrip(".")
    return _PART_OF_PASSWORD.sub(
        r"\1***@", line.removeprefix("connection failed: ").removeprefix("connection is bad: ")
    )


def has_too_many_connections(error: DBAPIError) -> bool:
    """Return whether a server refused a connection because of a connection limit of server, database or role."""
    text = str(error.orig)
    return failed_to_connect(error) and any(words in text for words in _LIMITS)


_LIMITS = ("too many clients", "too many connections", "remaining connection slots")
"""From PostgreSQL's messages; connection errors have no SQLSTATE."""


def failed_to_connect(error: DBAPIError) -> bool:
    """Return whether there was no connection yet, so that no statement can be the cause."""
    return error.statement is None
