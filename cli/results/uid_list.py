"""A list of studies, series or instances, written by `search --uids` and read by `delete --from`.

    # dicomstore list
    1.2.3
    1.2.3 1.2.3.4
    # end 2

One UID is a study, two are a series, three are an instance. Truncated lists are detected: a list with this first line
must have this last line with the right count, and a list written by hand must end with a line break. No entry of an
invalid list is returned.
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from cli.errors import NOT_EXECUTED, Failure
from cli.resources import is_uid

BEGIN = "# dicomstore list"
_END = re.compile(r"# end (\d+)\n")
_MAX_LINE_LENGTH = 1000
_IN_MEMORY_BYTES = 1 << 20

Uids = tuple[str, ...]
"""UIDs of study and, optionally, series and instance."""


def end_line(count: int) -> str:
    """Return the last line of a generated list."""
    return f"# end {count}"


@contextmanager
def checked(source: IO[str], name: str) -> Iterator[tuple[int, Iterator[Uids]]]:
    """Validate a complete list, then yield the number of its entries and the entries.

    The list is stored in a temporary file, so its length is not limited by memory.

    Raises:
        Failure: the list is invalid or incomplete.
    """
    with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES, "w+") as kept:
        count = 0
        for uids in _entries(source, name):
            kept.write(" ".join(uids) + "\n")
            count += 1
        kept.seek(0)
        yield count, (tuple(line.split()) for line in kept)


def _entries(source: IO[str], name: str) -> Iterator[Uids]:
    count, number, last, is_made = 0, 0, "", False
    while line := source.readline(_MAX_LINE_LENGTH):
        number, last = number + 1, line
        if number == 1:
            is_made = line.rstrip("\n") == BEGIN
        words = line.split()
        if not words or line.startswith("#"):
            continue
        if len(words) > 3 or not all(map(is_uid, words)):
            raise _refused(f"line {number} of {name} is not STUDY [SERIES [INSTANCE]]")
        count += 1
        yield tuple(words)
    end = _END.fullmatch(last)
    if is_made and (end is None or int(end[1]) != count):
        raise _refused(f"{name} is not complete")
    if not number:
        raise _refused(f"{name} is empty")
    if not last.endswith("\n"):
        raise _refused(f"{name} ends in the middle of a line and may not be complete")


def _refused(message: str) -> Failure:
    hint = "make the list with `dicomstore search --uids`"
    return Failure(f"{message}; nothing was deleted", hint=hint, exit_code=NOT_EXECUTED)
