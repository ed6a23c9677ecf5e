"""The public keys of an identity provider (RFC 7517), and the algorithms with which they sign."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key
from joserfc.jws import JWSRegistry

ALGORITHMS = {
    name: JWSRegistry.algorithms[name]
    for name in (
        *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"),
        *("EdDSA", "Ed25519", "Ed448"),
    )
}
"""The accepted algorithms, all with public keys: neither `none` nor HMAC, whose key would have to be secret."""

MAX_KEYS = 100
_MIN_RSA_BITS = 2048
_FIELDS = ("kty", "use", "key_ops", "alg", "kid", "n", "e", "crv", "x", "y")

Key = RSAKey | ECKey | OKPKey


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of an issuer that can verify signatures."""

    keys: tuple[Key, ...] = ()

    def candidates(self, kid: str | None, algorithm: str) -> Sequence[Key]:
        """Return the keys with which a token may be signed, those with its key id first if it has one."""
        found = [key for key in self.keys if kid is None or key.kid in (kid, None)]
        found = [key for key in found if _fits(key, algorithm)]
        return sorted(found, key=lambda key: key.kid != kid)

    def fingerprints(self) -> frozenset[str]:
        """Return the RFC 7638 thumbprints of the keys."""
        return frozenset(key.thumbprint() for key in self.keys)


def parse_keys(document: Mapping[str, Any]) -> Keys:
    """Return the keys of a JWK set that can be used; others, such as symmetric or short ones, are ignored.

    Raises:
        ValueError: it is not a JWK set, has too many keys, or none that can be used.
    """
    listed = document.get("keys")
    if not isinstance(listed, list):
        raise ValueError("not a key set")
    if len(listed) > MAX_KEYS:
        raise ValueError(f"more than {MAX_KEYS} keys")
    keys = tuple(key for key in map(_parsed, listed) if key is not None)
    if not keys:
        raise ValueError("no usable key")
    return Keys(keys)


def verify(key: Key, algorithm: str, signed: bytes, signature: bytes) -> bool:
    """Return whether a signature is valid."""
    try:
        return ALGORITHMS[algorithm].verify(signed, signature, key)
    except (JoseError, ValueError, TypeError):
        return False


def _parsed(jwk: Any) -> Key | None:
    """Return a key that can verify signatures; None if it cannot, or is malformed or too short."""
    if not isinstance(jwk, dict) or jwk.get("use", "sig") != "sig" or jwk.get("kty") not in ("RSA", "EC", "OKP"):
        return None
    if jwk["kty"] == "RSA" and len(str(jwk.get("n"))) * 6 < _MIN_RSA_BITS:  # 6 bits for each character of base64
        return None
    try:
        key = import_key({name: jwk[name] for name in _FIELDS if name in jwk})
        public = key.public_key  # decodes it
    except (JoseError, UnsupportedAlgorithm, ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None
    if isinstance(public, RSAPublicKey):
        return key if isinstance(key, RSAKey) and public.key_size >= _MIN_RSA_BITS else None
    can_verify = isinstance(public, EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey)
    return key if can_verify and isinstance(key, ECKey | OKPKey) else None


def _fits(key: Key, algorithm: str) -> bool:
    """Return whether type, curve, use and declared algorithm of a key permit an algorithm."""
    try:
        ALGORITHMS[algorithm].check_key(key)
    except JoseError:
        return False
    return True
