"""Settings of the facade. No other module of the facade reads the environment or the settings file."""

import os
import re
from ipaddress import ip_network
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, field_validator

from common.core_channel import CoreSettings
from common.derived_keys import session_keys_of
from common.issuers import listed, require_issuer
from common.settings import SecretText, keys_of
from common.tls_settings import TlsSettings

_MAX_BY_DEFAULT = 4

_HOST_NAME = re.compile(r"\*|(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")
_VIEWER_URL = re.compile(r"(?!(?:javascript|data|vbscript|blob):)(?:/(?!/)|[A-Za-z][A-Za-z0-9+.-]*:)\S+", re.IGNORECASE)
_WEB_ORIGIN = re.compile(r"\*|loopback|[A-Za-z][A-Za-z0-9+.-]*://[^\s/?#;'\"]+/?")


class Settings(CoreSettings, TlsSettings):
    """Each setting is a `DICOMSTORE_<NAME>` variable or a key of table `[facade]` in the settings file.

    Lists are written with commas.
    """

    table: ClassVar[str] = "facade"

    http: str = Field(
        "127.0.0.1:8080",
        pattern=r"^[^\s/]+:\d{1,5}$",
        description="Address the facade listens on; port 0 selects a free one.",
    )
    hsts_seconds: int = Field(
        31_536_000,
        ge=0,
        description="Time for which browsers that have used HTTPS refuse plain HTTP to the same host "
        "(Strict-Transport-Security, RFC 6797); 0 does not send it.",
    )
    insecure_without_authentication: bool = Field(
        False,
        description="Listen on any address although the core requires no authentication: everybody who reaches the "
        "facade can read, change and delete everything.",
    )
    workers: int = Field(
        0, ge=0, description="Number of serving processes; 0 means one for each CPU this program may use, at most 4."
    )
    share_ports: bool = Field(
        False, description="Let several processes listen on the same address; the kernel distributes connections."
    )
    public_url: str = Field(
        "",
        pattern=r"^(https?://[^\s?#]+)?$",
        description="Base of all URLs in responses, e.g. https://pacs.example/dicom; "
        "empty means scheme and host of the request.",
    )
    trusted_proxies: str = Field(
        "127.0.0.1,::1",
        description="Addresses or networks whose Forwarded and X-Forwarded-* headers are trusted; * trusts all.",
    )
    allowed_hosts: str = Field(
        "",
        description="Host names for which requests are answered, in addition to those of `http` and `public_url`, e.g. "
        "pacs.example or *.hospital.example; * allows all. IP addresses and localhost are always allowed. See "
        "[security](security.md#browsers).",
    )
    cors_origins: str = Field(
        "loopback",
        description="Web origins, in addition to the own one, whose pages may call from a browser, e.g. "
        "https://viewer.example; loopback stands for http and https on localhost, 127.0.0.1 and [::1] with any port, "
        "* allows all. See [security](security.md#browsers).",
    )
    cache_seconds: int = Field(
        0,
        ge=0,
        description="Time for which a browser may reuse cached instances, frames, bulk data and rendered images "
        "without revalidation; with 0 it revalidates each time, which is cheap.",
    )
    viewer: str = Field(
        "",
        description="Folder of a built web viewer (the `dist` of OHIF's npm package `@ohif/app`) to serve at "
        "`/viewer/`; empty serves none.",
    )
    explorer_viewers: str = Field(
        "",
        description="Viewers in which the explorer opens studies, in addition to that of `viewer`: a comma-separated "
        "list of `NAME=URL`. In the URL, `{study}` stands for the Study Instance UID, `{partition}` for the data "
        "partition, and `{dicomweb}` for the URL of DICOMweb, in that partition; a comma is written as %2C. See "
        "[explorer](explorer.md#viewers).",
    )
    auth_issuer: str = Field(
        "",
        description="URL of the identity provider at which people log in with a browser; of several, separated by "
        "commas as in the setting of the core, the first. Used with `auth_client_id`.",
    )
    auth_client_id: str = Field(
        "",
        description="Client id of the facade at `auth_issuer`, which must allow the redirect URI "
        "`<public_url>/login/callback`. Empty: people cannot log in at an identity provider.",
    )
    auth_client_secret: SecretText = Field(
        SecretText(""), description="Secret of this client; empty for a public client, which is protected by PKCE only."
    )
    auth_scope: str = Field(
        "openid", description="Scopes that a login requests, with spaces between them; at least `openid`."
    )
    secret_key: SecretText = Field(
        SecretText(""),
        description="Secret of the archive, at least 32 characters, from which `session_key` follows unless it is set: "
        "the same one as that of the core.",
    )
    session_key: SecretText = Field(
        SecretText(""),
        description="Key that encrypts the cookies of browser sessions, at least 32 characters. To change it, put the "
        "new key before the old one, with a comma between them. Empty means a key that follows from `secret_key`, or "
        "without that the content of `session.key` in the data directory with `dicomstore up`, and a random key for "
        "each start of a separate facade.",
    )
    session_idle_minutes: float = Field(60, gt=0, description="A browser session ends after this time without use.")
    session_hours: float = Field(12, gt=0, description="A browser session ends this time after its login.")
    call_seconds: float = Field(
        60, gt=0, description="Time limit for a unary response of the core, or for the first message of a stream."
    )
    idle_seconds: float = Field(300, gt=0, description="Idle timeout of a transfer, for the client and for the core.")
    event_heartbeat_seconds: float = Field(
        15,
        ge=1,
        description="Time after which a stream without events sends a comment, a WebSocket a ping, so that proxies "
        "keep the connection and clients detect a broken one.",
    )
    max_requests: int = Field(
        500, gt=0, description="Maximum number of concurrent requests per process; more receive status 503."
    )
    max_event_streams: int = Field(
        2000,
        gt=0,
        description="Maximum number of concurrent event streams of the worklist per process (WebSockets and "
        "Server-Sent Events), which do not count as requests; more receive status 503. A client gets at most four "
        "fifths of them.",
    )
    max_client_connections: int = Field(
        256,
        gt=0,
        description="Maximum number of connections per process of one client address, for IPv6 of one /64 network; "
        "more receive status 503. Trusted proxies have no limit.",
    )
    shutdown_seconds: int = Field(
        10, ge=0, description="Time that requests in progress have to finish when the facade stops."
    )
    omit_bulk_data_in: str = Field(
        "",
        description="Comma-separated API versions in which metadata omits every element of VR OB, OD, OF, OL, OV, OW "
        "and UN, as v1 of Azure's service does, and other bulk data; empty omits nothing.",
    )
    metadata_cache_bytes: int = Field(
        32 << 20,
        ge=0,
        description="Memory of each process for the cache of study and series metadata responses; 0 disables it.",
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
        """Number of processes that `workers` means on this machine."""
        return self.workers or min(_MAX_BY_DEFAULT, len(os.sched_getaffinity(0)))

    def shown(self) -> dict[str, Any]:
        """Return the settings in effect as JSON values, with the number of processes that `workers` means."""
        return {**self.model_dump(mode="json"), "workers": self.processes}

    @property
    def session_keys(self) -> list[str]:
        """The keys for cookies; the first one encrypts."""
        return keys_of(self.session_key) or session_keys_of(self.secret_key)

    @field_validator("session_key", "secret_key")
    @classmethod
    def _are_long_enough(cls, value: SecretText) -> SecretText:
        keys_of(value)
        return value

    @field_validator("auth_issuer")
    @classmethod
    def _are_issuers(cls, value: str) -> str:
        for url in listed(value):
            require_issuer(url)
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        for entry in comma_list(value):
            if entry != "*":
                ip_network(entry, strict=False)
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _are_hosts(cls, value: str) -> str:
        for entry in comma_list(value):
            if not _HOST_NAME.fullmatch(entry):
                raise ValueError(f"{entry} is not a host name without port")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: str) -> str:
        for entry in comma_list(value):
            if not _WEB_ORIGIN.fullmatch(entry):
                raise ValueError(f"{entry} is not an origin such as https://viewer.example")
        return value

    @field_validator("viewer")
    @classmethod
    def _has_a_page(cls, value: str) -> str:
        if value and not Path(value, "index.html").is_file():
            raise ValueError(f"{value} is not a built viewer: it has no index.html")
        return value

    @field_validator("explorer_viewers")
    @classmethod
    def _are_viewers(cls, value: str) -> str:
        viewers_of(value)
        return value

    @field_validator("omit_bulk_data_in")
    @classmethod
    def _are_versions(cls, value: str) -> str:
        if unknown := set(comma_list(value)) - {"v1", "v2"}:
            raise ValueError(f"there is no API version {', '.join(sorted(unknown))}")
        return value


def viewers_of(text: str) -> list[tuple[str, str]]:
    """Return the names and URL templates of `explorer_viewers`.

    Raises:
        ValueError: an entry is not NAME=URL, or the URL could execute a script.
    """
    found = []
    for entry in comma_list(text):
        name, separator, url = (part.strip() for part in entry.partition("="))
        if not (name and separator and _VIEWER_URL.fullmatch(url)):
            raise ValueError(f"{entry} is not NAME=URL with a URL such as https://viewer.example/?study={{study}}")
        found.append((name, url))
    return found


def comma_list(text: str) -> list[str]:
    """Return the entries of a setting written with commas."""
    return [entry.strip() for entry in text.split(",") if entry.strip()]
