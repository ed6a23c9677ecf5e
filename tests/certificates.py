"""Certificates for tests: an authority, a server certificate for this machine, and certificates of clients."""

import datetime
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc
import trustme


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
