"""The connection to the core: settings of its clients (the facade and the command line), and channels."""

from collections.abc import Sequence
from typing import Any

import grpc
from pydantic import Field, field_validator, model_validator

from common.settings import TableSettings
from common.tls import TlsFiles, TlsPaths

TLS = "https://"


class CoreSettings(TableSettings):
    """Settings of a client of the core."""

    core: str = Field(
        "127.0.0.1:50051",
        description="Address of the core: `HOST:PORT`, or `https://HOST:PORT` for TLS.",
    )
    core_ca: str = Field(
        "",
        description="PEM file with the certificates of the authorities that may have issued the core's certificate; "
        "empty means public authorities.",
    )
    core_certificate: str = Field(
        "", description="PEM file with the certificate chain with which this client authenticates itself to the core."
    )
    core_key: str = Field("", description="PEM file with the private key of `core_certificate`, not encrypted.")

    @field_validator("core")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        if "/" in value.removeprefix(TLS) and not value.startswith("unix:"):
            raise ValueError("write HOST:PORT, or https://HOST:PORT for TLS")
        return value

    @model_validator(mode="after")
    def _has_tls(self) -> "CoreSettings":
        if bool(self.core_certificate) != bool(self.core_key):
            raise ValueError("core_certificate and core_key belong together; set both or none")
        if (self.core_ca or self.core_key) and not self.core.startswith(TLS):
            raise ValueError("core_ca and core_certificate need a core with TLS: set core to https://HOST:PORT")
        return self

    @property
    def core_tls(self) -> TlsPaths:
        """The files for the connection to the core."""
        return TlsPaths(self.core_certificate, self.core_key, self.core_ca)


def address_of(core: str) -> str:
    """Return HOST:PORT of the setting `core`."""
    return core.removeprefix(TLS)


def core_tls_files(settings: CoreSettings) -> TlsFiles | None:
    """Return the loaded files for the connection to the core, or None without TLS.

    Raises:
        TlsError: they cannot be used.
    """
    return TlsFiles(settings.core_tls, "core") if settings.core.startswith(TLS) else None


def open_channel(core: str, tls: TlsFiles | None, options: Sequence[tuple[str, Any]]) -> grpc.aio.Channel:
    """Return a channel to the core; it connects on first use.

    Args:
        core: as the setting.
        tls: the files for a core with TLS.
    """
    if tls is None:
        return grpc.aio.insecure_channel(core, options=options)
    content = tls.content
    credentials = grpc.ssl_channel_credentials(content.ca or None, content.key or None, content.certificate or None)
    return grpc.aio.secure_channel(address_of(core), credentials, options=options)
