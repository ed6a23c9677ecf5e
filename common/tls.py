"""TLS of the programs: certificate files that are loaded again when they change, and contexts that follow BCP 195."""

import asyncio
import logging
import os
import ssl
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from common.tls_revocation import RevocationLists

CHECK_SECONDS = 2.0
"""Interval between checks whether a file has changed. A change is loaded when a check finds the files unchanged."""

WARN_BEFORE_END = timedelta(days=14)
"""Remaining validity of a certificate below which the log and `dicomstore doctor` warn."""

WARN_BEFORE_END_OF_LISTS = timedelta(days=1)
"""The same for a revocation list, which is renewed more often."""

_WARN_EACH_SECONDS = 24 * 3600

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: those of RFC 9325 section 4.2 (forward secrecy, AEAD). Those of TLS 1.3 are all recommended."""

_NAME_KINDS = {"URI": "uri", "DNS": "dns", "email": "email"}

_log = logging.getLogger("dicomstore.tls")


class TlsError(ValueError):
    """Certificate files cannot be used; the message names the setting and the reason."""


@dataclass(frozen=True, slots=True)
class TlsPaths:
    """Paths of PEM files.

    certificate: the certificate chain, the own certificate first.
    key: its private key, not encrypted.
    ca: certificates of the authorities that issue the certificates of peers; empty for none.
    crl: revocation lists of these authorities; empty for none.
    """

    certificate: str = ""
    key: str = ""
    ca: str = ""
    crl: str = ""


@dataclass(frozen=True, slots=True)
class TlsContent:
    """Content of the files; empty for those that are not configured. It never appears in a text."""

    certificate: bytes = b""
    key: bytes = b""
    ca: bytes = b""
    crl: bytes = b""

    def __repr__(self) -> str:
        return "TlsContent(...)"


class TlsFiles:
    """The files of one listener or client, loaded and checked; `watch` loads them again when they have changed.

    A changed file that cannot be used is logged, and the previous content remains in use.

    Attributes:
        content: of the files.
        revocation: the revocation lists; None if none are configured.
    """

    def __init__(self, paths: TlsPaths, prefix: str) -> None:
        """Load the files.

        Args:
            prefix: of the names of the settings, for messages: `tls` for `tls_certificate`, `tls_key`.

        Raises:
            TlsError: they cannot be used.
        """
        self._paths = paths
        self._prefix = prefix
        self._seen = self._loaded = self._state()
        self.content, self.revocation = self._load()

    def warnings(self) -> list[str]:
        """Return what an operator should correct soon."""
        found = []
        if self.content.key and is_exposed(self._paths.key):
            found.append(f"other users can read the private key {self._paths.key}: set its mode to 0600")
        if self.content.certificate:
            end = end_of(self.content.certificate)
            if end - datetime.now(UTC) < WARN_BEFORE_END:
                verb = "expires" if end > datetime.now(UTC) else "expired"
                found.append(f"the certificate {self._paths.certificate} {verb} at {end.isoformat()}")
        end_of_lists = self.revocation.next_update if self.revocation is not None else None
        if end_of_lists is not None and end_of_lists - datetime.now(UTC) < WARN_BEFORE_END_OF_LISTS:
            verb = "expires" if end_of_lists > datetime.now(UTC) else "expired"
            found.append(f"a revocation list in {self._paths.crl} {verb} at {end_of_lists.isoformat()}")
        return found

    async def watch(self, on_change: Callable[[], None] = lambda: None) -> None:
        """Log warnings once a day, load changed files and call `on_change`, until cancelled."""
        warn_at = float("-inf")
        while True:
            if time.monotonic() >= warn_at:
                self._warn()
                warn_at = time.monotonic() + _WARN_EACH_SECONDS
            await asyncio.sleep(CHECK_SECONDS)
            if await asyncio.to_thread(self.refresh):
                warn_at = float("-inf")
                on_change()
                self.log_change()

    def log_change(self) -> None:
        """Log that connections use changed files from now on."""
        _log.info("loaded the changed files of %s_certificate", self._prefix)

    def refresh(self) -> bool:
        """Check the files; return whether there is new content to be used.

        Certificate and key are replaced one after the other, so new files are loaded when they have not changed since
        the previous check.
        """
        state, before = self._state(), self._seen
        self._seen = state
        if state in (self._loaded, ()) or state != before:
            return False
        self._loaded = state
        try:
            self.content, self.revocation = self._load()
        except TlsError as error:
            _log.error("changed certificate files are not used: %s", error)
            return False
        return True

    def _state(self) -> tuple[object, ...]:
        """Return what changes when a file is replaced or written; empty if one is missing."""
        try:
            found = [os.stat(path) for path in astuple(self._paths) if path]
        except OSError:
            return ()
        return tuple((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns) for status in found)

    def _load(self) -> tuple[TlsContent, RevocationLists | None]:
        content = TlsContent(
            *(
                self._read(name, path) if path else b""
                for name, path in (
                    ("certificate", self._paths.certificate),
                    ("key", self._paths.key),
                    ("ca", self._paths.ca),
                    ("crl", self._paths.crl),
                )
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if content.certificate:
            try:
                use_certificate(context, content)
            except (ssl.SSLError, ValueError) as error:
                raise TlsError(
                    f"{self._setting('certificate')} and {self._setting('key')} cannot be used: {_reason(error)}"
                ) from None
        if content.ca:
            try:
                context.load_verify_locations(cadata=content.ca.decode("ascii"))
            except (ssl.SSLError, ValueError) as error:
                raise TlsError(f"{self._setting('ca')} cannot be used: {_reason(error)}") from None
        if not content.crl:
            return content, None
        try:
            return content, RevocationLists(content.crl, content.ca)
        except ValueError as error:
            raise TlsError(f"{self._setting('crl')} cannot be used: {_reason(error)}") from None

    def _warn(self) -> None:
        for warning in self.warnings():
            _log.warning("%s", warning)

    def _read(self, name: str, path: str) -> bytes:
        try:
            with open(path, "rb") as file:
                return file.read()
        except OSError as error:
            raise TlsError(f"{self._setting(name)}: {path} cannot be read: {error.strerror}") from None

    def _setting(self, name: str) -> str:
        if name in ("ca", "crl") and self._prefix == "tls":
            return f"tls_client_{name}"
        return f"{self._prefix}_{name}"


def server_context(content: TlsContent, *, alpn: list[str], certificate_required: bool) -> ssl.SSLContext:
    """Return the context of a listener: TLS 1.2 or newer with the recommended cipher suites of BCP 195 (RFC 9325).

    Sessions of one context are not resumed by another, so certificates are checked against changed authorities.

    Args:
        content: with `ca`, clients are asked for a certificate; with `crl`, it must not be revoked.
        alpn: names of the supported application protocols.
        certificate_required: clients without a certificate are refused.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    # All suites are strong, and the client knows which of them its processor computes fastest.
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(alpn)
    use_certificate(context, content)
    if content.ca:
        context.verify_mode = ssl.CERT_REQUIRED if certificate_required else ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=content.ca.decode("ascii"))
    if content.crl:
        with _path_of(content.crl) as path:
            context.load_verify_locations(path)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return context


def client_context(content: TlsContent | None) -> ssl.SSLContext:
    """Return the context of a client: as `server_context`, with verification of the server's name.

    Args:
        content: `ca` are the authorities of servers, empty for public ones; the certificate, if any, is presented.
    """
    context = ssl.create_default_context(cadata=content.ca.decode("ascii") if content and content.ca else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    if content and content.certificate:
        use_certificate(context, content)
    return context


def peer_names(certificate: Mapping[str, Any] | None) -> list[str]:
    """Return the names in the certificate of a peer, as `SSLSocket.getpeercert` returns it; none without certificate.

    These are its Subject Alternative Names of the kinds URI, DNS and e-mail, in this order, or else its common names:
    `dns:ct1.example`.
    """
    if not certificate:
        return []
    alternatives = certificate.get("subjectAltName", ())
    names = [f"{name}:{value}" for kind, name in _NAME_KINDS.items() for other, value in alternatives if other == kind]
    subject = [pair for part in certificate.get("subject", ()) for pair in part]
    return names or [f"cn:{value}" for kind, value in subject if kind == "commonName"]


def use_certificate(context: ssl.SSLContext, content: TlsContent) -> None:
    """Set certificate and private key of a context.

    Raises:
        ssl.SSLError, ValueError: they are damaged, do not belong together, or the key is encrypted.
    """
    with _path_of(content.certificate) as certificate, _path_of(content.key) as key:
        context.load_cert_chain(certificate, key, password=_no_password)


def is_exposed(key: str) -> bool:
    """Return whether more users than necessary can read a private key, or write it.

    A key of root may be readable by one group, because that is how a service of another user gets it.
    """
    try:
        status = os.stat(key)
    except OSError:
        return False
    permitted = stat.S_IRWXU | (stat.S_IRGRP if status.st_uid == 0 else 0)
    return bool(stat.S_IMODE(status.st_mode) & ~permitted)


def names_of(certificate: bytes) -> list[str]:
    """Return the host names and IP addresses of the first certificate of a PEM file.

    Raises:
        ValueError: it has no certificate.
    """
    from cryptography import x509  # not needed by clients

    extensions = x509.load_pem_x509_certificate(certificate).extensions
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]


def end_of(certificate: bytes) -> datetime:
    """Return the time at which the first certificate of a PEM file expires.

    Raises:
        ValueError: it has no certificate.
    """
    from cryptography.x509 import load_pem_x509_certificate  # not needed by clients

    return load_pem_x509_certificate(certificate).not_valid_after_utc


@contextmanager
def _path_of(content: bytes) -> Iterator[str]:
    """Yield a path with the content, which is in memory: OpenSSL reads keys from files only."""
    with os.fdopen(os.memfd_create("tls"), "wb") as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


def _no_password() -> str:
    raise ValueError("the private key is encrypted")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason and "PEM" not in error.reason:
        return error.reason.replace("_", " ").lower()
    if isinstance(error, ssl.SSLError | UnicodeError):
        return "not in PEM format"
    return str(error)
