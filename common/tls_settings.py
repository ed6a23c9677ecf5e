"""Settings of the programs that accept connections with TLS."""

from pydantic import Field, model_validator

from common.settings import TableSettings
from common.tls import TlsFiles, TlsPaths


class TlsSettings(TableSettings):
    """Certificates of a listener and of its clients."""

    tls_certificate: str = Field(
        "",
        description="PEM file with the certificate chain for TLS, the own certificate first; empty means no TLS. "
        "Changed files are loaded within seconds, without a restart; see [transport](security.md#transport).",
    )
    tls_key: str = Field(
        "", description="PEM file with the private key of `tls_certificate`, not encrypted; it should have mode 0600."
    )
    tls_client_ca: str = Field(
        "",
        description="PEM file with the certificates of the authorities that issue certificates of clients; empty means "
        "that no certificate is requested. See [certificates of clients](security.md#certificates-of-clients).",
    )
    tls_client_crl: str = Field(
        "",
        description="PEM file with the revocation lists of the authorities of `tls_client_ca`, one for each authority "
        "that issues certificates of clients; empty means that certificates are not checked for revocation. See "
        "[certificates of clients](security.md#certificates-of-clients).",
    )
    tls_client_required: bool = Field(
        False, description="Refuse connections of clients without a certificate of `tls_client_ca`."
    )

    @model_validator(mode="after")
    def _tls_is_complete(self) -> "TlsSettings":
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("tls_certificate and tls_key belong together; set both or none")
        if self.tls_client_ca and not self.tls_certificate:
            raise ValueError("tls_client_ca needs TLS: set tls_certificate and tls_key")
        if self.tls_client_required and not self.tls_client_ca:
            raise ValueError("tls_client_required needs tls_client_ca")
        if self.tls_client_crl and not self.tls_client_ca:
            raise ValueError("tls_client_crl needs tls_client_ca")
        return self


def listener_files(settings: TlsSettings) -> TlsFiles | None:
    """Return the loaded files of a listener, or None without TLS.

    Raises:
        TlsError: they cannot be used.
    """
    if not settings.tls_certificate:
        return None
    paths = TlsPaths(settings.tls_certificate, settings.tls_key, settings.tls_client_ca, settings.tls_client_crl)
    return TlsFiles(paths, "tls")
