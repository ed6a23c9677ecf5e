"""Certificates for tests: an authority, a server certificate for this machine, and certificates of clients."""

import datetime
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization


@dataclass(frozen=True, slots=True)
class Pair:
    """PEM files of a certificate chain and its private key."""

    certificate: Path
    key: Path

    def replace(self, other: "Pair") -> None:
        """Replace both files, as a program for renewals does."""
        for path, new in ((self.certificate, other.certificate), (self.key, other.key)):
            temporary = path.with_suffix(".new")
            temporary.write_bytes(new.read_bytes())
            temporary.chmod(0o600)
            temporary.rename(path)


class Authority:
    """An authority whose files are in a directory."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self._authority = trustme.CA()
        self._directory = directory
        self.certificate = directory / f"{name}.pem"
        self._authority.cert_pem.write_to_path(str(self.certificate))

    def issue(self, name: str, *identities: str, common_name: str | None = None, days: int | None = None) -> Pair:
        """Return a new certificate for host names, IP addresses or mail addresses, in files `name`."""
        end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days) if days else None
        issued = self._authority.issue_cert(*identities, common_name=common_name, not_after=end)
        pair = Pair(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        pair.certificate.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
        pair.key.write_bytes(issued.private_key_pem.bytes())
        pair.key.chmod(0o600)
        return pair

    def revoke(self, *revoked: Pair, days: float = 7, key_of: "Authority | None" = None) -> Path:
        """Write the revocation list with some certificates, and return its path.

        Args:
            days: from now until it expires.
            key_of: the authority whose key signs it, if not this one's.
        """
        signer = (key_of or self)._authority
        key = serialization.load_pem_private_key(signer.private_key_pem.bytes(), None)
        now = datetime.datetime.now(datetime.UTC)
        found = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        builder = x509.CertificateRevocationListBuilder().issuer_name(found.subject)
        builder = builder.last_update(now - datetime.timedelta(days=30)).next_update(
            now + datetime.timedelta(days=days)
        )
        for pair in revoked:
            serial = x509.load_pem_x509_certificate(pair.certificate.read_bytes()).serial_number
            one = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now)
            builder = builder.add_revoked_certificate(one.build())
        path = self._directory / f"{self.certificate.stem}.crl"
        signed = builder.sign(key, hashes.SHA256())  # type: ignore[arg-type] - trustme's keys can sign
        path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        return path

    def server(self, name: str = "server") -> Pair:
        """Return a certificate of this machine."""
        return self.issue(name, "localhost", "127.0.0.1", "::1")

    def context(self, client: Pair | None = None) -> ssl.SSLContext:
        """Return the context of a client that trusts this authority."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        if client:
            context.load_cert_chain(client.certificate, client.key)
        return context

    def credentials(self, client: Pair | None = None) -> grpc.ChannelCredentials:
        """Return the credentials of a gRPC client that trusts this authority."""
        root = self.certificate.read_bytes()
        if not client:
            return grpc.ssl_channel_credentials(root)
        return grpc.ssl_channel_credentials(root, client.key.read_bytes(), client.certificate.read_bytes())
