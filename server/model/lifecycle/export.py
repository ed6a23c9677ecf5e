"""Exports: where files are written, and what has been written."""

from collections.abc import Mapping
from dataclasses import dataclass

from server.model.ids import Uid, Version

Credentials = Mapping[str, str]
"""Secrets of a request by name: `sas_token`, `account_key`; `access_key_id`, `secret_access_key`, `session_token`;
`service_account_key`. Empty for none."""


@dataclass(frozen=True, slots=True)
class AzureContainer:
    """A container of Azure Blob Storage.

    endpoint: URL of the account, without a slash at the end.
    """

    endpoint: str
    account: str
    container: str

    @property
    def url(self) -> str:
        """The URL of the container."""
        return f"{self.endpoint}/{self.container}"


@dataclass(frozen=True, slots=True)
class S3Bucket:
    """A bucket of S3 or a compatible service.

    endpoint: URL of the service, without a slash at the end.
    prefix: without slashes at its ends; may be empty.
    has_bucket_in_host: the name of the bucket is the first label of the host.
    """

    endpoint: str
    region: str
    bucket: str
    prefix: str = ""
    has_bucket_in_host: bool = False

    @property
    def service_url(self) -> str:
        """The URL to which requests are sent."""
        scheme, _, host = self.endpoint.partition("://")
        return f"{scheme}://{self.bucket}.{host}" if self.has_bucket_in_host else self.endpoint

    @property
    def url(self) -> str:
        """The URL of the prefix."""
        return "/".join(filter(None, ("s3:/", self.bucket, self.prefix)))


@dataclass(frozen=True, slots=True)
class GcsBucket:
    """A bucket of Google Cloud Storage; see `S3Bucket`."""

    bucket: str
    prefix: str = ""

    @property
    def url(self) -> str:
        """The URL of the prefix."""
        return "/".join(filter(None, ("gs:/", self.bucket, self.prefix)))


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder: an absolute path without `.` and `..`."""

    path: str

    @property
    def url(self) -> str:
        """The path as a URL."""
        return f"file://{self.path}"


Place = AzureContainer | S3Bucket | GcsBucket | Folder


@dataclass(frozen=True, slots=True)
class Written:
    """Size and SHA-256 of a file that has been written."""

    size_bytes: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A file with an instance.

    patient: orders the records of a DICOMDIR; empty without one.
    number: position in the export.
    path: below the folder of the operation.
    directory: the keys of the records of a DICOMDIR, as JSON; empty without one.
    """

    patient: str
    study: Uid
    series: Uid
    number: int
    instance: Uid
    version: Version
    sop_class_uid: str
    transfer_syntax_uid: str
    path: str
    written: Written
    directory: str = ""

    @property
    def key(self) -> tuple[str, str, str, int]:
        """The position in the order of `ExportedFiles.list`."""
        return self.patient, self.study, self.series, self.number
