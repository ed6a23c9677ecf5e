"""Revocation lists of certificates (RFC 5280 section 5), checked by the program itself.

OpenSSL checks them during the handshake, which the TLS of gRPC for Python does not.
"""

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, CertificateRevocationList

_LIST = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


class RevocationLists:
    """The lists of a PEM file.

    next_update: the earliest time at which one of them expires; None if none does.
    """

    def __init__(self, pem: bytes, authorities: bytes) -> None:
        """Read the lists; `authorities` is a PEM file with certificates.

        Raises:
            ValueError: there is none, or one cannot be read or is not signed by its authority.
        """
        from cryptography import x509  # not needed by clients

        found = [x509.load_pem_x509_crl(text) for text in _LIST.findall(pem)]
        if not found:
            raise ValueError("not in PEM format")
        known = {one.subject: one for one in map(x509.load_pem_x509_certificate, _CERTIFICATE.findall(authorities))}
        for one in found:
            authority = known.get(one.issuer)
            if authority is not None and not one.is_signature_valid(authority.public_key()):  # type: ignore[arg-type]
                raise ValueError("a list is not signed by its authority")
        self._lists = {one.issuer: one for one in found}
        ends = [one.next_update_utc for one in found if one.next_update_utc is not None]
        self.next_update = min(ends, default=None)

    def fault_of(self, certificate: bytes) -> str:
        """Return why the certificate of a peer (PEM) must not be accepted now; empty if it may be.

        As with OpenSSL, that of an authority without a list, or with an expired one, is not accepted either.
        """
        parsed = _parsed(certificate)
        found = self._lists.get(parsed.issuer)
        if found is None:
            return "there is no revocation list of its authority"
        if _has_expired(found):
            return "the revocation list of its authority has expired"
        if found.get_revoked_certificate_by_serial_number(parsed.serial_number) is not None:
            return "it is revoked"
        return ""


def _has_expired(found: "CertificateRevocationList") -> bool:
    return found.next_update_utc is not None and found.next_update_utc < datetime.now(UTC)


@lru_cache(maxsize=256)
def _parsed(certificate: bytes) -> "Certificate":
    from cryptography.x509 import load_pem_x509_certificate

    return load_pem_x509_certificate(certificate)
