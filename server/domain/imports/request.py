"""Requests of imports."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urlsplit

from server.domain.limits import check_reason
from server.model.errors import InvalidRequest, Reason
from server.model.ids import PartitionName
from server.model.instance import ValidationMode
from server.model.operation import Json
from server.model.partition import DuplicatePolicy
from server.ports.imports import SourceFile

BUCKETS = frozenset({"s3", "az", "gs"})

_INTERVAL_SECONDS = 30
_SETTLE_SECONDS = 10
_MAX_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class ImportJob:
    """What an import has to do; the fields are those of `ImportRequest`.

    source, errors: canonical URLs; `errors` may be empty.
    """

    source: str
    partition: PartitionName
    mode: ValidationMode
    duplicates: DuplicatePolicy | None
    reason: str
    in_place: bool
    delete_source: bool
    errors: str
    continuous: bool
    interval_seconds: int
    settle_seconds: int
    author: str

    def key_of(self, name: str) -> bytes:
        """Return the key of a file in the record of imported files."""
        kind = "in place" if self.in_place else "copy"
        text = "\0".join((self.partition, kind, f"{self.source}/{name}"))
        return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def digest_of(file: SourceFile) -> bytes:
    """Return the digest of the entity tag of a file."""
    return blake2b(file.etag.encode(), digest_size=8).digest()


def shown(name: str) -> str:
    """Return the name of a file as text: bytes that are not UTF-8 are escaped."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def job_of(request: Json) -> ImportJob:
    """Return what a request asks for. Raises InvalidRequest (INVALID_FIELD)."""
    reason = request.get("reason", "")
    check_reason(reason)
    job = ImportJob(
        source=canonical(request.get("source", ""), "source"),
        partition=PartitionName(request.get("partition", "")),
        mode=_mode(request),
        duplicates=_duplicates(request),
        reason=reason,
        in_place=request.get("in_place", False),
        delete_source=request.get("delete_source", False),
        errors=canonical(request["errors"], "errors") if request.get("errors") else "",
        continuous=request.get("continuous", False),
        interval_seconds=_seconds(request, "interval_seconds", _INTERVAL_SECONDS),
        settle_seconds=_seconds(request, "settle_seconds", _SETTLE_SECONDS),
        author=request.get("author", ""),
    )
    if job.in_place and job.delete_source:
        raise invalid("delete_source", "Files that are adopted in place cannot be deleted.")
    if job.in_place and urlsplit(job.source).scheme != "file":
        raise invalid("in_place", "Only files of a folder can be adopted in place.")
    if job.errors and (is_within(job.errors, job.source) or is_within(job.source, job.errors)):
        raise invalid("errors", "The location for errors must be neither within the source nor around it.")
    return job


def canonical(text: str, field: str) -> str:
    """Return the canonical form of the URL or path of a source. Raises InvalidRequest (INVALID_FIELD)."""
    parts = urlsplit(f"file://{quote(text)}" if text.startswith("/") else text)
    path = unquote(parts.path)
    is_bucket = parts.scheme in BUCKETS and parts.netloc and "@" not in parts.netloc
    is_folder = parts.scheme == "file" and parts.netloc in ("", "localhost") and path.startswith("/")
    if not (is_bucket or is_folder) or parts.query or parts.fragment or "\0" in path:
        message = "It must be file:///FOLDER, s3://BUCKET/PREFIX, az://CONTAINER/PREFIX, gs://BUCKET/PREFIX or a path."
        raise invalid(field, message)
    segments = [segment for segment in path.split("/") if segment]
    if any(segment in (".", "..") for segment in segments):
        raise invalid(field, "The path must not contain '.' or '..'.")
    host = "" if is_folder else parts.netloc
    return f"{parts.scheme}://{host}" + "".join(f"/{quote(segment)}" for segment in segments)


def is_within(url: str, other: str) -> bool:
    """Return whether a canonical URL is another one, or below it."""
    return url == other or url.startswith(f"{other}/")


def place_in(folders: Mapping[str, Path], url: str) -> tuple[str, str] | None:
    """Return the name of the adopted folder that contains a folder, and the path below it; None if none does."""
    path = PurePosixPath(unquote(urlsplit(url).path) or "/")
    for name, folder in folders.items():
        if path.is_relative_to(folder):
            below = str(path.relative_to(folder))
            return name, "" if below == "." else f"{below}/"
    return None


def invalid(field: str, message: str) -> InvalidRequest:
    """Return the error for a field of the request."""
    return InvalidRequest(Reason.INVALID_FIELD, message, field=field)


def _mode(request: Json) -> ValidationMode:
    name = request.get("validation", "").removeprefix("VALIDATION_MODE_") or "UNSPECIFIED"
    try:
        return ValidationMode.LENIENT if name == "UNSPECIFIED" else ValidationMode[name]
    except KeyError:
        raise invalid("validation", "Unknown validation mode.") from None


def _duplicates(request: Json) -> DuplicatePolicy | None:
    name = request.get("duplicates", "").removeprefix("DUPLICATE_POLICY_") or "UNSPECIFIED"
    try:
        return None if name == "UNSPECIFIED" else DuplicatePolicy[name]
    except KeyError:
        raise invalid("duplicates", "Unknown duplicates policy.") from None


def _seconds(request: Json, name: str, default: int) -> int:
    seconds: int = request.get(name, 0) or default
    if not 1 <= seconds <= _MAX_SECONDS:
        raise invalid(name, f"It must be from 1 to {_MAX_SECONDS} seconds.")
    return seconds
