"""Settings of the core. No other module of the core reads the environment or the settings file."""

import os
import re
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import quote, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from common.derived_keys import derived_key, derived_text, session_keys_of
from common.issuers import listed, require_issuer
from common.settings import SecretText, SecretUrl, keys_of
from common.tls_settings import TlsSettings
from server.model.access import Action
from server.model.audit.trail import AuditTrailSettings
from server.model.errors import InvalidRequest
from server.model.ids import PartitionName, parse_partition_name
from server.model.security.roles import BUILT_IN, Role, Roles
from server.model.storage.object_storage import ObjectStorageSettings

IdenticalInstances = Literal["accept", "reject"]
Duplicates = Literal["reject", "new-version"]


ALL_ACTIONS = "*"


_MIN_QUARANTINE = timedelta(hours=1)


class RoleSettings(BaseModel):
    """A table `[server.roles.NAME]`: `actions` without `not_actions`, limited to `partitions` if given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    actions: tuple[str, ...]
    not_actions: tuple[str, ...] = ()
    partitions: tuple[str, ...] | None = None

    @field_validator("actions", "not_actions")
    @classmethod
    def _are_actions(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := set(names) - {ALL_ACTIONS, *(action.value for action in Action)}:
            raise ValueError(f"there is no action {', '.join(sorted(unknown))}")
        return names

    @field_validator("partitions")
    @classmethod
    def _are_partitions(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in names or ():
            _partition(name)
        return names

    def role(self, name: str) -> Role:
        """Return the role."""
        partitions = None if self.partitions is None else frozenset(map(_partition, self.partitions))
        return Role(name, _actions(self.actions) - _actions(self.not_actions), partitions)


def _actions(names: tuple[str, ...]) -> frozenset[Action]:
    return frozenset(action for action in Action if ALL_ACTIONS in names or action.value in names)


def _partition(name: str) -> PartitionName:
    try:
        return parse_partition_name(name, "a partition of a role")
    except InvalidRequest as error:
        raise ValueError(error.message) from error


_CERTIFICATE_NAME = re.compile(r"(uri|dns|email|cn):.+")


def _require_certificate_name(name: str) -> None:
    if not _CERTIFICATE_NAME.fullmatch(name):
        raise ValueError(f"{name} is not a name in a certificate: write uri:…, dns:…, email:… or cn:…")


def _comma_list(text: str) -> list[str]:
    return [entry.strip() for entry in text.split(",") if entry.strip()]


class Settings(TlsSettings):
    """Each setting is a `DICOMSTORE_<NAME>` variable or a key of table `[server]` in the settings file."""

    table: ClassVar[str] = "server"

    data: Path = Field(
        Path("data"), description="Directory of the embedded index and, unless `blobs` is set, of the blobs."
    )
    blobs: str = Field(
        "",
        description="URL of the blob store: `file:///PATH` with an absolute path on a local filesystem with hard "
        "links, or `s3://BUCKET/PREFIX`, `az://CONTAINER/PREFIX`, `gs://BUCKET/PREFIX`, see [object "
        "stores](operations.md#object-stores). It has no credentials. Empty means the data directory. Changing it does "
        "not move blobs: see `blobs_also`.",
    )
    blobs_also: str = Field(
        "",
        description="URLs of further blob stores of the archive, separated by commas. They are read and erased from; "
        "new blobs are written to `blobs`. See [several stores](operations.md#several-stores).",
    )
    blob_cache: Path | None = Field(
        None,
        description="Directory for the cache of an object store, and for uploads that do not fit into memory. Empty "
        "means `blob-cache` in the data directory.",
    )
    blob_cache_bytes: int = Field(
        10 * 10**9,
        ge=0,
        description="Size of the cache of an object store on this machine: parts of objects that were read. 0 caches "
        "nothing.",
    )
    blob_storage_classes: dict[str, str] = Field(
        {},
        description="Storage class of the blobs of partitions by name, such as `STANDARD_IA` of S3 or `Cool` of Azure; "
        "`*` is that of each partition that is not named. A table `[server.blob_storage_classes]`, or JSON in the "
        "variable. Without an entry, the bucket's default applies. Classes that delay reading are not supported.",
    )
    database: SecretUrl = Field(
        SecretUrl(""),
        description="SQLAlchemy URL of the index, e.g. postgresql+psycopg://user@host/name; "
        "empty means SQLite in the data directory.",
    )
    database_wait_seconds: float = Field(
        30,
        ge=0,
        description="Time the core waits at start for a PostgreSQL that can't be reached; it logs each attempt.",
    )
    database_listen: SecretUrl = Field(
        SecretUrl(""),
        description="URL of a direct connection to the PostgreSQL index for notifications (LISTEN), required if "
        "`database` uses a pooler in transaction mode, such as PgBouncer. Empty means `database`. Without "
        "notifications, watchers of the change feed poll once a second.",
    )
    database_replica: SecretUrl = Field(
        SecretUrl(""),
        description="URL of a hot standby of the PostgreSQL index, for searches. A search uses it only if it has "
        "replayed everything that was acknowledged before the search; otherwise it uses `database`. Empty means no "
        "replica.",
    )
    replica_wait_seconds: float = Field(
        0.05, ge=0, description="Longest time that a search waits for `database_replica` to catch up."
    )
    grpc: str = Field("127.0.0.1:50051", description="Address the core listens on.")
    insecure_without_authentication: bool = Field(
        False,
        description="Disable authentication, and listen on any address nevertheless: everybody who reaches the "
        "archive can read, change and delete everything.",
    )
    secret_key: SecretText = Field(
        SecretText(""),
        description="Secret of at least 32 characters from which the keys for share links, browser sessions, "
        "operations and the audit trail follow, unless they have settings of their own. Nodes on several machines need "
        "the same one. To change it, put the new secret before the old one, with a comma between them, and replace the "
        "key of the [audit trail](audit.md). Empty means files in the data directory.",
    )
    audit: bool = Field(
        True, description="Record every access in the audit trail. Disable it only for an archive without real data."
    )
    audit_key: Path | None = Field(
        None,
        description="PEM file with the Ed25519 key that signs the audit trail; created if it does not exist. Empty "
        "means a key that follows from `secret_key`, or without that `audit-key.pem` in the data directory. Cores that "
        "share a storage need the same key.",
    )
    audit_retention_days: float = Field(
        2190, ge=0, description="Time for which audit records are kept, by default six years; 0 keeps them forever."
    )
    audit_refuse_reads: bool = Field(
        False,
        description="Refuse reads, too, while the audit trail cannot be written, as on a full disk. Changes are always "
        "refused then.",
    )
    audit_claims: str = Field(
        "", description="Names of token claims to record with each access, separated by commas, e.g. oid,azp."
    )
    audit_syslog: str = Field(
        "",
        description="Syslog server for the audit trail, tls://HOST:PORT (RFC 5425, port 6514 by default). Records are "
        "kept until they are sent. Empty sends nothing.",
    )
    audit_syslog_ca: str = Field(
        "",
        description="PEM file with the authorities of the syslog server's certificate; empty means those of the "
        "system.",
    )
    audit_syslog_certificate: str = Field(
        "", description="PEM file with the certificate with which the core authenticates itself to the syslog server."
    )
    audit_syslog_key: str = Field("", description="PEM file with the private key of `audit_syslog_certificate`.")
    trusted_facades: str = Field(
        "",
        description="Addresses or networks of separate facades, separated by commas, e.g. `127.0.0.1`. What they state "
        "about their clients (address, URI) is recorded in the audit trail; every program at such an address can state "
        "it. A facade in the same process is always trusted, and so is a DIMSE gateway that `dicomstore up` runs.",
    )
    grpc_client_certificates: str = Field(
        "",
        description="Second address of the core, for clients with a certificate of `tls_client_ca`. A gRPC server "
        "can't make certificates optional, so on `grpc` none is requested unless `tls_client_required` is set.",
    )
    share_ports: bool = Field(
        False, description="Let several processes listen on the same address; the kernel distributes connections."
    )
    partitions: bool = Field(
        False, description="Enable data partitions; they can't be disabled once a second one exists."
    )
    roles: dict[str, RoleSettings] = Field(
        {},
        description="Roles in addition to the built-in ones, each a table `[server.roles.NAME]` with `actions`, "
        "`not_actions` and `partitions`; see [security](security.md#roles). The variable has them as JSON.",
    )
    migrate: bool = Field(
        False, description="Migrate the database schema at start instead of refusing to start on an old one."
    )
    tls_client_roles: dict[str, tuple[str, ...]] = Field(
        {},
        description="Roles of clients by a name in their certificate: a table `[server.tls_client_roles]` with entries "
        'such as `"dns:gateway.example" = ["writer"]`; see [certificates of '
        "clients](security.md#certificates-of-clients). The variable has them as JSON.",
    )
    tls_facades: str = Field(
        "",
        description="Names in certificates of separate facades, separated by commas, e.g. `dns:facade.example`. What "
        "they state about their clients is believed: the certificate of the client, and facts for the audit trail.",
    )
    auth_required: bool = Field(
        False,
        description="Require authentication of every call. It is also required once an archive token has been created "
        "(`dicomstore token create`), or if `auth_issuer` or `tls_client_roles` is set. Otherwise every call has "
        "every permission.",
    )
    auth_issuer: str = Field(
        "",
        description="URLs of the identity providers (OpenID Connect) whose access tokens are accepted, separated by "
        "commas, each exactly as in claim `iss`: https, or http on a loopback address. Requires `auth_audience`, and "
        "turns authentication on.",
    )
    auth_audience: str = Field(
        "", description="Audiences, separated by commas; an access token must be for one of them (claim `aud`)."
    )
    auth_roles_claim: str = Field(
        "roles",
        description="Claims with the names of roles, separated by commas; a path for a nested one, such as "
        "`realm_access.roles`. A claim is a list of texts, or a text with spaces between the names.",
    )
    auth_clock_skew_seconds: float = Field(
        60, ge=0, le=600, description="Allowed difference between the clocks of identity providers and of this machine."
    )
    reflection: bool = Field(True, description="Offer gRPC server reflection.")
    max_instance_bytes: int = Field(4 * 2**30, gt=0, description="Largest instance that can be stored.")
    max_header_bytes: int = Field(64 * 2**20, gt=0, description="Largest data set, not counting bulk data.")
    identical_instances: IdenticalInstances = Field(
        "accept",
        description="Outcome of storing a byte-for-byte identical instance again: `accept` reports success and changes "
        "nothing, `reject` fails as a duplicate.",
    )
    duplicates: Duplicates = Field(
        "reject",
        description="Treatment of an instance whose UIDs are stored already with different bytes: `reject` fails, "
        "`new-version` makes it the current version and keeps the previous one. Partitions and requests may choose "
        "otherwise.",
    )
    max_ingest_bytes: int = Field(
        32 * 2**20,
        ge=4 * 2**20,
        description="Memory limit for received data not yet on disk, for all uploads together; an open upload needs at "
        "least 1 MiB. Uploads wait while the limit is reached.",
    )
    max_response_bytes: int = Field(
        16 * 2**20,
        gt=0,
        description="Memory limit for response data being sent, for all responses together; with more responses at "
        "once, the pieces of each get smaller.",
    )
    pixel_workers: int = Field(
        0,
        ge=0,
        description="Maximum number of processes that decode, encode and render; they start on demand. 0 means one for "
        "each processor, or a single one if `share_ports` is on, because other cores then run beside this one.",
    )
    pixel_seconds: float = Field(30, gt=0, description="Time limit for decoding, encoding or rendering one frame.")
    max_frame_bytes: int = Field(
        128 * 2**20,
        gt=0,
        description="Largest uncompressed size of a frame that is decoded, encoded or rendered. "
        "The process that does so may need eight times as much memory.",
    )
    frame_cache_bytes: int = Field(32 * 2**20, ge=0, description="Memory for the cache of transcoded frames.")
    thumbnail_cache_bytes: int = Field(32 * 2**20, ge=0, description="Memory for the cache of thumbnails.")
    ingest_wait_seconds: float = Field(
        30, gt=0, description="Longest time an upload waits for memory (`max_ingest_bytes`) before it is refused."
    )
    max_calls: int = Field(300, gt=0, description="Maximum number of concurrent calls; more are refused.")
    max_calls_per_principal: int = Field(
        0,
        ge=0,
        description="Maximum number of concurrent calls of one principal per process; more wait, for up to 10 s. "
        "0 means no fixed limit: a principal gets at most four fifths of `max_calls`.",
    )
    max_call_rate_per_principal: float = Field(
        0,
        ge=0,
        description="Maximum number of calls per second of one principal per process, in bursts of up to 10 s; more "
        "are refused. 0 means no limit.",
    )
    max_bytes_per_principal: int = Field(
        0,
        ge=0,
        description="Memory limit for received data not yet on disk, for all uploads of one principal together, within "
        "`max_ingest_bytes`; more uploads wait. 0 means no fixed limit: a principal gets at most four fifths.",
    )
    partition_quotas: dict[str, int] = Field(
        {},
        description="Limits of the stored bytes of partitions by name; `*` is the limit of each partition that is not "
        "named. A table `[server.partition_quotas]`, or JSON in the variable. Without an entry there is no limit.",
    )
    study_quiet_seconds: float = Field(
        60,
        ge=1,
        description="Time without a stored, updated, deleted or restored instance after which a study is quiet, and "
        "its [events](events.md) are created.",
    )
    event_host: str = Field(
        "",
        description="Name of the archive for its clients, in [events](events.md) for webhooks. Empty means the name of "
        "the machine.",
    )
    webhook_seconds: float = Field(15, gt=0, description="Time limit of one request to a webhook.")
    webhook_retry_hours: float = Field(
        72,
        ge=0,
        description="Time for which the delivery of an event to a webhook is tried; then it becomes a dead letter.",
    )
    dead_letter_days: float = Field(
        30, gt=0, description="Time after which dead letters of webhooks are removed, and with them these events."
    )
    webhook_http: bool = Field(False, description="Permit webhooks with http URLs, whose receivers cannot be verified.")
    webhook_networks: str = Field(
        "",
        description="Exceptions from the addresses to which no events are sent (loopback, link-local, multicast, and "
        "metadata services of cloud providers), separated by commas: addresses or networks such as 127.0.0.0/8.",
    )
    webhook_ca: str = Field(
        "",
        description="PEM file with the authorities of the certificates of webhooks; empty means those of the system.",
    )
    export: bool = Field(True, description="Permit exports (`POST /export`, `dicomstore export`).")
    export_folders: str = Field(
        "",
        description="Folders below which exports may write, separated by commas: absolute paths on the machine of the "
        "operations worker. Empty permits no exports to folders.",
    )
    export_sas: bool = Field(
        True, description="Permit exports to Azure Blob Storage with a shared access signature (SAS) of the client."
    )
    export_public: bool = Field(
        False, description="Permit exports without credentials, to containers and buckets that everybody can write to."
    )
    export_http: bool = Field(
        False, description="Permit exports over http to other machines than this one; they can be read on the network."
    )
    export_networks: str = Field(
        "",
        description="Exceptions from the addresses to which nothing is exported (loopback, link-local, private, and "
        "metadata services of cloud providers), separated by commas: addresses or networks such as 10.1.2.0/24. While "
        "the archive is reachable from its own machine only, without authentication, all addresses are permitted.",
    )
    operation_key: SecretText = Field(
        SecretText(""),
        description="Key that encrypts the credentials of unfinished operations, such as exports, at least 32 "
        "characters. To change it, put the new key before the old one, with a comma between them. Empty means a "
        "key that follows from `secret_key`, or without that the content of `operation.key` in the data directory, "
        "which the core creates; cores and workers with different data directories need the same key.",
    )
    max_watches: int = Field(
        50,
        ge=0,
        description="Maximum number of concurrent watches of the change feed and of study events; they do not count as "
        "calls.",
    )
    max_event_channels: int = Field(
        2000,
        ge=0,
        description="Maximum number of concurrent event channels of subscribers to workitems and watches of worklists; "
        "they do not count as calls.",
    )
    retention_hours: float = Field(72, ge=0, description="Time between deleting an instance and erasing its bytes.")
    quarantine_hours: float = Field(
        168,
        ge=0,
        description="Time for which stored bytes without an index entry, as after a crash or with an index restored "
        "from a backup, are kept before they are erased; at least `retention_hours`, and an hour.",
    )
    scrub_days: float = Field(
        30,
        ge=0,
        description="Period in which all stored bytes are read once, at an even rate, and compared with their "
        "checksums; 0 disables scrubbing.",
    )
    clock_jump_hours: float = Field(
        48,
        ge=0,
        description="Allowed difference at start between the system clock and the last recorded time. If the clock is "
        "further ahead, nothing expires until `dicomstore accept-clock` confirms it.",
    )
    erase_interval_seconds: float = Field(180, gt=0, description="Interval between garbage-collection runs.")
    warn_free_bytes: int = Field(
        10 * 10**9,
        ge=0,
        description="Free space of the data directory below which the log and `dicomstore doctor` warn; 0 never warns.",
    )
    operation_days: float = Field(7, gt=0, description="Time for which finished operations are kept.")
    workitem_days: float = Field(
        0,
        ge=0,
        description="Time without changes after which completed and canceled workitems are removed, unless a "
        "subscriber has a deletion lock; 0 keeps them.",
    )
    workitem_event_days: float = Field(
        7, gt=0, description="Time for which events of workitems are kept for subscribers that are not connected."
    )
    commitment_days: float = Field(30, gt=0, description="Time for which results of storage commitment are kept.")
    transfer_days: float = Field(
        30, gt=0, description="Time for which finished transfers to and from other systems are kept."
    )
    transfer_attempts: int = Field(
        30,
        ge=1,
        le=1000,
        description="Number of attempts without progress after which a transfer is a dead letter. The pauses between "
        "them double from 30 seconds to one hour.",
    )
    update_max_targets: int = Field(
        50, ge=1, le=10_000, description="Number of studies, series and instances that one update may name."
    )
    update_original_attributes: bool = Field(
        False,
        description="Whether updates add an Original Attributes Sequence (PS3.3 section C.12.1) with the values before "
        "the change, in which `update_system_name` is the Modifying System.",
    )
    update_system_name: str = Field(
        "dicomstore", min_length=1, max_length=64, description="Modifying System in an Original Attributes Sequence."
    )
    import_sources: str = Field(
        "",
        description="Folders (absolute paths) and prefixes of buckets (`s3://BUCKET/PREFIX`, `az://…`, `gs://…`) from "
        "which files may be imported, with all below, separated by commas; they may also be deleted there, and errors "
        "be written. Empty permits no imports. Buckets are accessed with the credentials of the archive.",
    )
    adopted_folders: dict[str, Path] = Field(
        {},
        description="Folders whose files may be adopted in place, with all below, by name. The archive only reads "
        "them. A table `[server.adopted_folders]`, or JSON in the variable. A folder that was moved keeps its name; "
        "one with adopted files must not be removed from the setting.",
    )
    worker_idle_seconds: float = Field(
        60,
        gt=0,
        description="Time without unfinished operations after which the worker of `dicomstore up` exits; "
        "it is restarted on demand.",
    )
    share_max_days: float = Field(
        30, ge=0, description="Longest lifetime of a share link; 0 disables the creation of share links."
    )
    share_key: SecretText = Field(
        SecretText(""),
        description="Key that signs share links, at least 32 characters. To change it, put the new key before the old "
        "one, with a comma between them. Empty means a key that follows from `secret_key`, or without that the content "
        "of `share.key` in the data directory, which the core creates; cores with different data directories need the "
        "same key.",
    )
    search_seconds: float = Field(30, gt=0, description="Time limit of one search in the index.")
    shutdown_seconds: float = Field(
        10, ge=0, description="Time that calls in progress have to finish when the core stops."
    )
    log_level: str = Field("info", description="debug, info, warning or error.")
    log_format: str = Field(
        "text",
        pattern="^(text|json)$",
        description="`text`, or `json`: one object for each line, with the ids of its trace "
        "([observability](observability.md#logs)).",
    )

    @field_validator("share_key", "operation_key", "secret_key")
    @classmethod
    def _are_long_enough(cls, value: SecretText) -> SecretText:
        keys_of(value)
        return value

    @field_validator("tls_client_roles")
    @classmethod
    def _are_names_with_roles(cls, roles: dict[str, tuple[str, ...]], info: ValidationInfo) -> dict[str, Any]:
        table = Roles(settings.role(name) for name, settings in info.data.get("roles", {}).items())
        for name, names in roles.items():
            _require_certificate_name(name)
            if unknown := table.unknown(names):
                raise ValueError(f"{name} has roles that do not exist: {', '.join(unknown)}")
        return roles

    @field_validator("tls_facades")
    @classmethod
    def _are_names(cls, value: str) -> str:
        for name in _comma_list(value):
            _require_certificate_name(name)
        return value

    @property
    def facade_names(self) -> frozenset[str]:
        """Names in the certificates of separate facades."""
        return frozenset(_comma_list(self.tls_facades))

    @model_validator(mode="after")
    def _names_need_certificates(self) -> "Settings":
        if (self.tls_client_roles or self.tls_facades) and not self.tls_client_ca:
            raise ValueError("tls_client_roles and tls_facades need tls_client_ca")
        if both := sorted(self.facade_names & self.tls_client_roles.keys()):
            # A facade makes calls for anybody who reaches it.
            raise ValueError(f"a facade cannot have roles of its own: {', '.join(both)}")
        return self

    @model_validator(mode="after")
    def _second_address_has_tls(self) -> "Settings":
        if self.grpc_client_certificates and not self.tls_client_ca:
            raise ValueError("grpc_client_certificates needs tls_client_ca")
        return self

    @field_validator("roles")
    @classmethod
    def _are_new(cls, roles: dict[str, RoleSettings]) -> dict[str, RoleSettings]:
        if built_in := sorted(roles.keys() & BUILT_IN.keys()):
            raise ValueError(f"built-in roles cannot be changed: {', '.join(built_in)}")
        return roles

    @model_validator(mode="after")
    def _issuers_have_an_audience(self) -> "Settings":
        if self.auth_issuers and not self.auth_audiences:
            raise ValueError("auth_issuer requires auth_audience: without it, tokens for other services are accepted")
        return self

    @field_validator("auth_issuer")
    @classmethod
    def _are_issuers(cls, text: str) -> str:
        for url in listed(text):
            require_issuer(url)
        return text

    @property
    def role_table(self) -> Roles:
        """The built-in roles and those of the settings."""
        return Roles(settings.role(name) for name, settings in self.roles.items())

    @property
    def requires_authentication(self) -> bool:
        """Whether these settings alone require authentication; see `AuthenticationState`."""
        return self.auth_required or bool(self.auth_issuers or self.tls_client_roles)

    @property
    def auth_issuers(self) -> tuple[str, ...]:
        """The URLs of `auth_issuer`."""
        return listed(self.auth_issuer)

    @property
    def auth_audiences(self) -> tuple[str, ...]:
        """The audiences of `auth_audience`."""
        return listed(self.auth_audience)

    @property
    def pixel_worker_count(self) -> int:
        """Maximum number of worker processes of this core."""
        return self.pixel_workers or (1 if self.share_ports else len(os.sched_getaffinity(0)))

    @property
    def share_keys(self) -> list[str]:
        """The keys for share links; the first one signs."""
        secrets = keys_of(self.secret_key)
        return keys_of(self.share_key) or [derived_text(secret, "share links") for secret in secrets]

    @property
    def session_keys(self) -> list[str]:
        """The keys for browser sessions that follow from `secret_key`; the first one encrypts."""
        return session_keys_of(self.secret_key)

    @property
    def operations_url(self) -> str:
        """URL of the database with the state of operations: a file beside an SQLite index, or the PostgreSQL index."""
        url = self.database_url
        return f"{url.partition('?')[0].removesuffix('.db')}-operations.db" if url.startswith("sqlite") else url

    @property
    def database_url(self) -> str:
        """URL of the index, with the default (SQLite in the data directory) filled in, and whether it is a pooler's."""
        url = self.database.get_secret_value() or f"sqlite:///{quote(str(self.data.absolute() / 'index.db'))}"
        if url.startswith("sqlite") or not self.database_listen.get_secret_value():
            return url
        return f"{url}{'&' if '?' in url else '?'}pooler=transaction"

    @property
    def quarantine_period(self) -> timedelta:
        """The time for which stored bytes without an index entry are kept.

        Never none: a process that was suspended, and lost its lease on an object store, may still add the entry.
        """
        return max(timedelta(hours=self.quarantine_hours), _MIN_QUARANTINE)

    @property
    def blobs_url(self) -> str:
        """URL of the storage, with the default (below the data directory) filled in."""
        return self.blobs or self.data.absolute().as_uri()

    @property
    def further_blobs_urls(self) -> list[str]:
        """URLs of the further blob stores."""
        return _comma_list(self.blobs_also)

    @property
    def further_directories(self) -> list[Path]:
        """The directories of the further blob stores that are on this machine."""
        urls = map(urlsplit, self.further_blobs_urls)
        return [Path(unquote(url.path)) for url in urls if url.scheme == "file"]

    @property
    def object_storage(self) -> ObjectStorageSettings:
        """How object stores are used."""
        cache = self.blob_cache or self.data.absolute() / "blob-cache"
        return ObjectStorageSettings(cache, self.blob_cache_bytes, self.blob_storage_classes)

    @property
    def storage(self) -> "tuple[str, list[str], ObjectStorageSettings, dict[str, Path]]":
        """The URLs of the storage, how object stores are used, and the adopted folders."""
        return self.blobs_url, self.further_blobs_urls, self.object_storage, self.adopted_folders

    @property
    def audit_trail(self) -> AuditTrailSettings:
        """The settings of the audit trail."""
        secrets = keys_of(self.secret_key)
        return AuditTrailSettings(
            key_seed=derived_key(secrets[0], "audit trail") if secrets and not self.audit_key else b"",
            key_file=self.audit_key or self.data.absolute() / "audit-key.pem",
            retention=timedelta(days=self.audit_retention_days) if self.audit_retention_days else None,
            exports=("syslog",) if self.audit_syslog else (),
        )

    @field_validator("import_sources")
    @classmethod
    def _are_sources(cls, value: str) -> str:
        for entry in _comma_list(value):
            if not re.fullmatch(r"/.*|file:///.*|(s3|az|gs)://[^/?#@]+(/[^?#]*)?", entry):
                raise ValueError(f"{entry} is neither an absolute path nor s3://, az:// or gs:// with a bucket")
        return value

    @field_validator("adopted_folders")
    @classmethod
    def _are_folders(cls, folders: dict[str, Path]) -> dict[str, Path]:
        for name, folder in folders.items():
            if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name) or not folder.is_absolute():
                raise ValueError(f"{name} must be a name of letters, digits, and _.-, with an absolute path")
        return folders

    @property
    def permitted_sources(self) -> list[str]:
        """The entries of `import_sources`."""
        return _comma_list(self.import_sources)

    @property
    def webhook_exceptions(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks of `webhook_networks`."""
        return tuple(map(ip_network, _comma_list(self.webhook_networks)))

    @property
    def export_exceptions(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks of `export_networks`."""
        return tuple(map(ip_network, _comma_list(self.export_networks)))

    @property
    def export_paths(self) -> tuple[str, ...]:
        """The folders of `export_folders`."""
        return tuple(os.path.normpath(path) for path in _comma_list(self.export_folders))

    @field_validator("export_folders")
    @classmethod
    def _are_absolute(cls, value: str) -> str:
        if relative := [path for path in _comma_list(value) if not path.startswith("/")]:
            raise ValueError(f"not an absolute path: {', '.join(relative)}")
        return value

    @property
    def operation_keys(self) -> list[str]:
        """The keys for credentials of operations; the first one encrypts."""
        secrets = keys_of(self.secret_key)
        return keys_of(self.operation_key) or [derived_text(secret, "operations") for secret in secrets]

    @field_validator("trusted_facades", "webhook_networks", "export_networks")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        for entry in filter(None, map(str.strip, value.split(","))):
            ip_network(entry)
        return value

    def shown(self) -> dict[str, Any]:
        """Return the settings in effect as JSON values; URLs are complete, secrets masked."""
        urls = {
            "blobs": str(SecretUrl(self.blobs_url)),
            "blobs_also": ",".join(str(SecretUrl(url)) for url in self.further_blobs_urls),
            "database": str(SecretUrl(self.database_url)),
        }
        return {**self.model_dump(mode="json"), **urls}
