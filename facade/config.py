"""Settings of the facade: the only place that reads its environment and settings file."""

import os
import tomllib
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

TABLE = "facade"

_MOST_BY_DEFAULT = 4


class Settings(BaseSettings):
    """Each setting is a `DICOMSTORE_<NAME>` variable or a key of table `[facade]` in the settings file.

    Environment beats file beats default. The file is `dicomstore.toml` in the working directory,
    or what `DICOMSTORE_CONFIG` names. Lists are written with commas.
    """

    model_config = SettingsConfigDict(env_prefix="DICOMSTORE_", frozen=True, extra="ignore")

    http: str = Field(
        "127.0.0.1:8080",
        pattern=r"^[^\s/]+:\d{1,5}$",
        description="Address the facade listens on; port 0 takes a free one.",
    )
    core: str = Field("127.0.0.1:50051", description="Address of the core.")
    workers: int = Field(
        0, ge=0, description="Processes that serve; 0 is one for each CPU this program may use, at most 4."
    )
    share_ports: bool = Field(
        False, description="Let other processes listen on the same addresses; the system deals connections out."
    )
    public_url: str = Field(
        "",
        pattern=r"^(https?://[^\s?#]+)?$",
        description="Base of all URLs in answers, e.g. https://pacs.example/dicom; "
        "empty takes scheme and host from the request.",
    )
    trusted_proxies: str = Field(
        "127.0.0.1,::1",
        description="Addresses or networks whose Forwarded and X-Forwarded-* headers are believed; * is everybody.",
    )
    cors_origins: str = Field(
        "*",
        description="Web origins whose pages may call, e.g. https://viewer.example; * is all, empty none. See "
        "[security](security.md#browsers).",
    )
    cache_seconds: int = Field(
        0,
        ge=0,
        description="Time that a browser may show instances, frames, values and pictures it has without asking whether "
        "they are still there; 0 lets it ask each time, which is cheap.",
    )
    viewer: str = Field(
        "",
        description="Folder of a built web viewer (the `dist` of OHIF's npm package `@ohif/app`) to serve at `/`; "
        "empty serves none.",
    )
    call_seconds: float = Field(60, gt=0, description="Time the core has for an answer or for the start of a stream.")
    idle_seconds: float = Field(300, gt=0, description="Longest silence of a client or the core within a transfer.")
    max_requests: int = Field(500, gt=0, description="Requests at once in a process; more are answered 503.")
    shutdown_seconds: int = Field(10, ge=0, description="Time that requests in flight get to finish when stopping.")
    omit_bulk_data_in: str = Field(
        "",
        description="API versions, with commas, whose metadata leaves out every element of VR OB, OD, OF, OL, OV, OW "
        "and UN, as v1 of Azure's service does; empty leaves out nothing.",
    )
    metadata_cache_bytes: int = Field(
        32 << 20,
        ge=0,
        description="Memory of each process for answers to earlier requests for metadata of studies and series; "
        "0 keeps none.",
    )
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="debug, info, warning or error.")

    @property
    def processes(self) -> int:
        """How many processes `workers` means on this machine."""
        return self.workers or min(_MOST_BY_DEFAULT, len(os.sched_getaffinity(0)))

    def shown(self) -> dict[str, Any]:
        """Return the settings in effect as JSON values, with the number of processes that `workers` means."""
        return {**self.model_dump(mode="json"), "workers": self.processes}

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        for entry in comma_list(value):
            if entry != "*":
                ip_network(entry, strict=False)
        return value

    @field_validator("viewer")
    @classmethod
    def _has_a_page(cls, value: str) -> str:
        if value and not Path(value, "index.html").is_file():
            raise ValueError(f"{value} is no built viewer: it has no index.html")
        return value

    @field_validator("omit_bulk_data_in")
    @classmethod
    def _are_versions(cls, value: str) -> str:
        if unknown := set(comma_list(value)) - {"v1", "v2"}:
            raise ValueError(f"there is no API version {', '.join(sorted(unknown))}")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Constructor, environment, then the table of the settings file."""
        return init_settings, env_settings, InitSettingsSource(settings_cls, _file_table(set(cls.model_fields)))


def comma_list(text: str) -> list[str]:
    """Return the entries of a setting written with commas."""
    return [entry.strip() for entry in text.split(",") if entry.strip()]


def _file_table(known: set[str]) -> dict[str, Any]:
    """Return our table of the settings file, which need not exist unless `DICOMSTORE_CONFIG` names it.

    Raises:
        ValueError: the table has a key that is no setting; a misspelt limit must not be a silent default.
    """
    named = os.environ.get("DICOMSTORE_CONFIG")
    path = Path(named or "dicomstore.toml")
    if not named and not path.exists():
        return {}
    table: dict[str, Any] = tomllib.loads(path.read_text()).get(TABLE, {})
    if unknown := sorted(set(table) - known):
        raise ValueError(f"{path}: unknown settings in [{TABLE}]: {', '.join(unknown)}")
    return table
