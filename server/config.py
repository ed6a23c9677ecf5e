"""Settings of the core: the only place that reads flags' effects, the environment and the settings file."""

import os
import re
import tomllib
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from pydantic import Field
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

TABLE = "server"

IdenticalInstances = Literal["accept", "reject"]


class Settings(BaseSettings):
    """Each setting is a `DICOMSTORE_<NAME>` variable or a key of table `[server]` in the settings file.

    Environment beats file beats default. The file is `dicomstore.toml` in the working directory,
    or what `DICOMSTORE_CONFIG` names.
    """

    model_config = SettingsConfigDict(env_prefix="DICOMSTORE_", frozen=True, extra="ignore")

    data: Path = Field(Path("data"), description="Directory of the blobs and of the embedded index.")
    database: str = Field(
        "",
        description="SQLAlchemy URL of the index, e.g. postgresql+psycopg://user@host/name; "
        "empty is SQLite in the data directory.",
    )
    database_wait_seconds: float = Field(
        30,
        ge=0,
        description="Time that a start waits for a PostgreSQL that can't be reached; the log tells of it meanwhile.",
    )
    grpc: str = Field("127.0.0.1:50051", description="Address the core listens on.")
    share_ports: bool = Field(
        False, description="Let other processes listen on the same addresses; the system deals connections out."
    )
    partitions: bool = Field(False, description="Data partitions; can't be switched off once a second one exists.")
    migrate: bool = Field(False, description="Bring the database up to date at start instead of refusing to serve.")
    reflection: bool = Field(True, description="Offer gRPC server reflection.")
    max_instance_bytes: int = Field(4 * 2**30, gt=0, description="Largest instance that can be stored.")
    max_header_bytes: int = Field(64 * 2**20, gt=0, description="Largest data set without bulk data.")
    identical_instances: IdenticalInstances = Field(
        "accept",
        description="Answer to storing an instance again, byte for byte: `accept` is a success that changes nothing, "
        "`reject` fails it as a duplicate. Other bytes under the same UIDs always fail.",
    )
    max_ingest_bytes: int = Field(
        32 * 2**20,
        ge=4 * 2**20,
        description="Memory for instances on their way to disk, of all uploads together; an open upload needs 1 MiB. "
        "With none left, uploads wait.",
    )
    max_answer_bytes: int = Field(
        16 * 2**20,
        gt=0,
        description="Memory for the pieces of all answers on their way; with more of them, they get smaller.",
    )
    pixel_workers: int = Field(
        0,
        ge=0,
        description="Most processes that decode, encode and render; they run while there is something to do. "
        "0 is one for each processor, or one alone if `share_ports` is on: then there are other cores beside this one.",
    )
    pixel_seconds: float = Field(
        30, gt=0, description="Longest time that one frame may take to be decoded, encoded or rendered."
    )
    max_frame_bytes: int = Field(
        128 * 2**20,
        gt=0,
        description="Largest frame that is decoded, encoded or rendered, in its uncompressed form. "
        "A process that does that may need eight times as much.",
    )
    frame_cache_bytes: int = Field(32 * 2**20, ge=0, description="Memory for re-encoded frames that are kept.")
    thumbnail_cache_bytes: int = Field(32 * 2**20, ge=0, description="Memory for thumbnails that are kept.")
    ingest_wait_seconds: float = Field(30, gt=0, description="Longest wait of an upload for that memory.")
    max_calls: int = Field(300, gt=0, description="Calls at once; more are refused.")
    max_watches: int = Field(50, ge=0, description="Watches of the change feed at once, which don't count as calls.")
    retention_hours: float = Field(72, ge=0, description="Time between deleting an instance and erasing its bytes.")
    quarantine_hours: float = Field(
        168,
        ge=0,
        description="Time that bytes are kept which the index does not know, as after a crash or with an index "
        "restored from a backup, before they are erased; at least as long as `retention_hours`.",
    )
    scrub_days: float = Field(
        30,
        ge=0,
        description="Time within which all stored bytes are read once and compared with their checksums, evenly "
        "spread; 0 switches it off.",
    )
    clock_jump_hours: float = Field(
        48,
        ge=0,
        description="How far the system's clock may be ahead of the last recorded time at start. If it is further "
        "ahead, nothing expires by it until `dicomstore accept-clock` confirms it.",
    )
    erase_interval_seconds: float = Field(180, gt=0, description="Time between two looks for bytes to erase.")
    warn_free_bytes: int = Field(
        10 * 10**9,
        ge=0,
        description="Free space of the data directory below which the log and `dicomstore doctor` warn; 0 never warns.",
    )
    operation_days: float = Field(7, gt=0, description="Time that operations are remembered after they are finished.")
    search_seconds: float = Field(30, gt=0, description="Time that the index may take to find something.")
    shutdown_seconds: float = Field(10, ge=0, description="Time that calls in flight get to finish when stopping.")
    log_level: str = Field("info", description="debug, info, warning or error.")

    @property
    def pixel_worker_count(self) -> int:
        """Most worker processes of this core."""
        return self.pixel_workers or (1 if self.share_ports else len(os.sched_getaffinity(0)))

    @property
    def operations_url(self) -> str:
        """Where the engine keeps how far operations have come: beside an SQLite index, inside a PostgreSQL one."""
        url = self.database_url
        return f"{url.partition('?')[0].removesuffix('.db')}-operations.db" if url.startswith("sqlite") else url

    @property
    def database_url(self) -> str:
        """The index to use, with the embedded default filled in."""
        return self.database or f"sqlite:///{quote(str(self.data.absolute() / 'index.db'))}"

    def shown(self) -> dict[str, Any]:
        """Return the settings in effect as JSON values; the database is complete and without password."""
        url = re.sub(r"(://[^:/@\s]*:)\S*@", r"\1***@", self.database_url)
        return {**self.model_dump(mode="json"), "database": re.sub(r"([?&]password=)[^&\s]*", r"\1***", url)}

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
