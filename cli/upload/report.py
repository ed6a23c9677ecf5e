"""A report with the outcome of each file of an upload, as JSON lines or CSV."""

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

from cli.errors import NOT_EXECUTED, Failure
from cli.upload.results import Result

COLUMNS = (
    "path",
    "status",
    "size_bytes",
    "reason",
    "message",
    "study_instance_uid",
    "series_instance_uid",
    "sop_instance_uid",
    "findings",
)


class Report(Protocol):
    """Writes results as they arrive."""

    def add(self, result: Result) -> None:
        """Write one line. Raises Failure: the write failed."""


@contextmanager
def report_to(path: Path) -> Iterator[Report]:
    """Open a report; CSV (RFC 4180) if the name ends in .csv, otherwise JSON lines. An existing file is replaced.

    Raises:
        Failure: a write failed.
    """
    try:
        file = open(path, "w", newline="", encoding="utf-8", errors="surrogateescape")  # noqa: SIM115 - closed below
    except OSError as error:
        raise _refused(path, error, NOT_EXECUTED) from error
    try:
        with file:
            yield _Csv(path, file) if path.suffix.lower() == ".csv" else _JsonLines(path, file)
    except OSError as error:  # buffered data could not be written
        raise _refused(path, error) from error


class _JsonLines:
    def __init__(self, path: Path, file: IO[str]) -> None:
        self._path = path
        self._file = file

    def add(self, result: Result) -> None:
        try:
            self._file.write(json.dumps(result.to_json(), ensure_ascii=False) + "\n")
        except OSError as error:
            raise _refused(self._path, error) from error


class _Csv:
    def __init__(self, path: Path, file: IO[str]) -> None:
        self._path = path
        self._writer = csv.DictWriter(file, COLUMNS, restval="")
        self._writer.writeheader()

    def add(self, result: Result) -> None:
        row = result.to_json()
        try:
            self._writer.writerow({**row, "findings": " ".join(result.findings)})
        except OSError as error:
            raise _refused(self._path, error) from error


def _refused(path: Path, error: OSError, exit_code: int = 1) -> Failure:
    return Failure(f"can't write the report {path}: {error.strerror or error}", exit_code=exit_code)
