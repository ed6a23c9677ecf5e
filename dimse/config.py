"""Settings of the DIMSE gateway. No other module of the gateway reads the environment or the settings file."""

import os
import re
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, ClassVar, Literal
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from common.core_channel import CoreSettings
from common.settings import SecretText, read_secret
from common.tls import TlsFiles, TlsPaths

_MAX_BY_DEFAULT = 4

_AE_TITLE = re.compile(r"[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?")
"""PS3.5 section 6.2, without spaces at both ends: they are not significant."""

_QUERY_OPTIONS = ("fuzzymatching", "emptyvaluematching")
_LABEL = "label."
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_RULE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_CERTIFICATE_NAME = re.compile(r"(uri|dns|email|cn):.+")


def _require_ae_title(value: str) -> str:
    if not _AE_TITLE.fullmatch(value):
        raise ValueError(f"{value!r} is not an AE title: 1 to 16 printable characters without backslash")
    return value


class RemoteSettings(BaseModel):
    """A table `[dimse.remotes.NAME]`: a remote application entity.

    ae_title: its AE title; empty means NAME.
    host, port: where it accepts associations; without host the archive cannot connect to it.
    tls: connect with TLS.
    addresses: addresses or networks from which it may connect; empty means those of `host`.
    certificate: name in its certificate, such as `dns:ct1.example`, that it must present.
    partition: data partition that it uses; empty means `dimse_partition`.
    token, token_file: access token of the core with which the gateway acts for it; empty means `dimse_token`.
    retrieve: how the archive retrieves from it: `move` or `get`.
    notify_availability: report to it that instances of its partition are available, when a study is stable.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    ae_title: str = ""
    host: str = ""
    port: int = Field(104, ge=1, le=65535)
    tls: bool = False
    addresses: tuple[str, ...] = ()
    certificate: str = ""
    partition: str = ""
    token: SecretText = SecretText("")
    token_file: str = ""
    retrieve: Literal["move", "get"] = "move"
    notify_availability: bool = False

    @field_validator("ae_title")
    @classmethod
    def _is_an_ae_title(cls, value: str) -> str:
        return _require_ae_title(value) if value else value

    @field_validator("addresses")
    @classmethod
    def _are_networks(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            ip_network(value, strict=False)
        return values

    @field_validator("certificate")
    @classmethod
    def _is_a_certificate_name(cls, value: str) -> str:
        if value and not _CERTIFICATE_NAME.fullmatch(value):
            raise ValueError(f"{value} is not a name in a certificate: write uri:…, dns:…, email:… or cn:…")
        return value

    @model_validator(mode="after")
    def _is_identifiable(self) -> "RemoteSettings":
        if not (self.host or self.addresses or self.certificate):
            raise ValueError("a remote needs host, addresses or certificate, so that others cannot use its AE title")
        if self.token.get_secret_value() and self.token_file:
            raise ValueError("token and token_file are both set; set only one")
        return self

    @cached_property
    def networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks of `addresses`."""
        return tuple(ip_network(value, strict=False) for value in self.addresses)


def search_terms(query: str) -> tuple[list[tuple[str, str]], dict[str, bool]]:
    """Return the search keys of a query string with their values, and its options.

    Raises:
        ValueError: it is no query for studies; the text has no values.
    """
    from pydicom.datadict import tag_for_keyword  # not by programs that only read settings without queries

    terms, options = [], {}
    for name, value in parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else ():
        if name.lower() in _QUERY_OPTIONS:
            if value not in ("true", "false"):
                raise ValueError(f"{name} must be true or false")
            options[name.lower()] = value == "true"
            continue
        if not name.startswith(_LABEL):
            for part in name.split("."):
                if tag_for_keyword(part) is None and not _TAG.fullmatch(part):
                    raise ValueError(f"{part} is neither a keyword nor a tag of an attribute")
        terms.append((name, value))
    return terms, options


class ForwardSettings(BaseModel):
    """A table `[dimse.forward.NAME]`: studies that are sent to a remote when they are stable.

    remote: its name in `[dimse.remotes]`.
    query: the studies, as the query string of a search for studies; empty means all.
    partitions: their partitions; empty means all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    remote: str
    query: str = ""
    partitions: tuple[str, ...] = ()

    @field_validator("query")
    @classmethod
    def _is_a_query(cls, value: str) -> str:
        search_terms(value)
        return value


class Settings(CoreSettings):
    """Each setting is a `DICOMSTORE_<NAME>` variable or a key of table `[dimse]` in the settings file.

    Lists are written with commas.
    """

    table: ClassVar[str] = "dimse"

    dimse: str = Field(
        "127.0.0.1:11112",
        pattern=r"^[^\s/]+:\d{1,5}$",
        description="Address the DIMSE gateway listens on; port 0 selects a free one. On a loopback address every "
        "calling AE title is accepted, on others those of `remotes` only.",
    )
    ae_title: str = Field("DICOMSTORE", description="AE title of the archive.")
    ae_partitions: dict[str, str] = Field(
        {},
        description="Further AE titles of the archive, each for a data partition: a table `[dimse.ae_partitions]` with "
        'entries such as `RESEARCH = "research"`, or JSON in the variable. They take precedence over the partition of '
        "the remote.",
    )
    remotes: dict[str, RemoteSettings] = Field(
        {},
        description="Remote application entities, each a table `[dimse.remotes.NAME]`: see "
        "[remotes](dimse.md#remotes). The variable has them as JSON.",
    )
    forward: dict[str, ForwardSettings] = Field(
        {},
        description="Studies to send to remotes when they are stable, each a table `[dimse.forward.NAME]`: see "
        "[forward rules](dimse.md#forward-rules). The variable has them as JSON.",
    )
    transfers: int = Field(
        2,
        ge=0,
        description="Number of [transfers](dimse.md#transfers) that a gateway process performs at the same time; 0 "
        "means that it performs none and applies no forward rules.",
    )
    retrieve_seconds: float = Field(
        300, gt=0, description="Time for which a remote may be silent while it sends instances that were requested."
    )
    dimse_partition: str = Field(
        "", description="Data partition of remotes without one of their own; empty while partitions are disabled."
    )
    dimse_token: SecretText = Field(
        SecretText(""),
        description="Access token with which the gateway acts for remotes without one of their own; empty for a core "
        "without authentication.",
    )
    dimse_processes: int = Field(
        0, ge=0, description="Number of gateway processes; 0 means one for each CPU this program may use, at most 4."
    )
    dimse_tls_certificate: str = Field(
        "",
        description="PEM file with the certificate chain of the gateway, the own certificate first; empty means no "
        "TLS. With it, only TLS is accepted. It is also presented to remotes with TLS.",
    )
    dimse_tls_key: str = Field(
        "", description="PEM file with the private key of `dimse_tls_certificate`, not encrypted."
    )
    dimse_tls_ca: str = Field(
        "",
        description="PEM file with the authorities that issue certificates of remotes. With it, remotes need a "
        "certificate.",
    )
    storage_sop_classes: str = Field(
        "",
        description="SOP classes to store in addition to those of the standard, such as private ones: UIDs with commas "
        "between them.",
    )
    storage_transfer_syntaxes: str = Field(
        "",
        description="Transfer syntaxes to store in addition to those of the standard, such as private ones: UIDs with "
        "commas between them.",
    )
    max_associations: int = Field(
        100, gt=0, description="Maximum number of concurrent associations per process; more are rejected."
    )
    max_associations_per_address: int = Field(
        50, gt=0, description="Maximum number of concurrent associations per process from one address."
    )
    max_pdu_bytes: int = Field(
        131_072,
        ge=4096,
        le=1 << 20,
        description="Largest PDU that the gateway accepts (Maximum Length Received, PS3.8 Annex D.1).",
    )
    association_seconds: float = Field(
        30, gt=0, description="Time limit for the request of an association, and for its end (ARTIM timer, PS3.8)."
    )
    max_matches: int = Field(
        100_000, gt=0, description="Maximum number of matches of a C-FIND; the query fails after this number."
    )
    association_idle_seconds: float = Field(
        600, gt=0, description="Time without a request after which an association is aborted."
    )
    dimse_seconds: float = Field(
        60,
        gt=0,
        description="Time for which a peer may be silent within a message or before a response, and the core before an "
        "outcome.",
    )
    dimse_shutdown_seconds: float = Field(
        10, ge=0, description="Time that requests in progress have to finish when the gateway stops."
    )
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="debug, info, warning or error.")
    log_format: str = Field(
        "text",
        pattern="^(text|json)$",
        description="`text`, or `json`: one object for each line, with the ids of its trace "
        "([observability](observability.md#logs)).",
    )

    @property
    def processes(self) -> int:
        """Number of processes that `dimse_processes` means on this machine."""
        return self.dimse_processes or min(_MAX_BY_DEFAULT, len(os.sched_getaffinity(0)))

    def shown(self) -> dict[str, Any]:
        """Return the settings in effect as JSON values, with the number of processes."""
        return {**self.model_dump(mode="json"), "dimse_processes": self.processes}

    @field_validator("ae_title")
    @classmethod
    def _is_an_ae_title(cls, value: str) -> str:
        return _require_ae_title(value)

    @field_validator("ae_partitions")
    @classmethod
    def _are_ae_titles(cls, values: dict[str, str]) -> dict[str, str]:
        for title in values:
            _require_ae_title(title)
        return values

    @field_validator("remotes")
    @classmethod
    def _are_complete(cls, values: dict[str, RemoteSettings]) -> dict[str, RemoteSettings]:
        return {name: _complete(name, remote) for name, remote in values.items()}

    @field_validator("storage_sop_classes", "storage_transfer_syntaxes")
    @classmethod
    def _are_uids(cls, value: str) -> str:
        for uid in uids_of(value):
            if not _UID.fullmatch(uid) or len(uid) > 64:
                raise ValueError(f"{uid} is not a UID")
        return value

    @model_validator(mode="after")
    def _rules_can_be_applied(self) -> "Settings":
        notified = [name for name, remote in self.remotes.items() if remote.notify_availability]
        for name in (*self.forward, *notified):
            if not _RULE_NAME.fullmatch(name):
                raise ValueError(f"{name} must have 1 to 40 letters, digits, '.', '_' or '-', as it has forward rules")
        for name, rule in self.forward.items():
            if rule.remote not in self.remotes:
                raise ValueError(f"forward.{name} has an unknown remote: {rule.remote}")
        return self

    @model_validator(mode="after")
    def _tls_is_complete(self) -> "Settings":
        if bool(self.dimse_tls_certificate) != bool(self.dimse_tls_key):
            raise ValueError("dimse_tls_certificate and dimse_tls_key belong together; set both or none")
        return self

    @property
    def tls_paths(self) -> TlsPaths:
        """The files for TLS with remotes."""
        return TlsPaths(self.dimse_tls_certificate, self.dimse_tls_key, self.dimse_tls_ca)


def uids_of(text: str) -> list[str]:
    """Return the UIDs of a setting written with commas."""
    return [uid for uid in map(str.strip, text.split(",")) if uid]


def dimse_tls_files(settings: Settings) -> TlsFiles | None:
    """Return the loaded files for TLS with remotes, or None without any.

    Raises:
        TlsError: they cannot be used.
    """
    if not (settings.dimse_tls_certificate or settings.dimse_tls_ca):
        return None
    return TlsFiles(settings.tls_paths, "dimse_tls")


def _complete(name: str, remote: RemoteSettings) -> RemoteSettings:
    """Return a remote with its AE title and its token."""
    changes: dict[str, Any] = {"ae_title": remote.ae_title or _require_ae_title(name)}
    if remote.token_file:
        changes["token"] = SecretText(read_secret(remote.token_file, f"remotes.{name}.token_file"))
    return remote.model_copy(update=changes)
